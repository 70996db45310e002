"""What ``nhin evaluate``, ``sample`` and ``show alignment`` do with the run of an encoder-decoder model."""

import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from nhin.cli.output import make_table, print_tables, save_figures, show_progress, to_json
from nhin.errors import UsageError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from nhin.seq2seq.loading import Seq2SeqRun

GREEDY_WIDTH = 1


def evaluate_run(folder: Path, data: str, limit: int | None, threads: int, json: bool) -> int:
    """Measure a run by the lengths of its sources, and print a table or JSON."""
    import torch

    from nhin.seq2seq.evaluate import evaluate
    from nhin.seq2seq.loading import open_seq2seq_run
    from nhin.seq2seq.recipe import MARKS

    torch.set_num_threads(threads)
    run = open_seq2seq_run(folder)
    if run.recipe.data.task == MARKS:
        return _evaluate_marks(run, data, limit, json)
    with show_progress(2 * run.recipe.data.max_length, "measuring") as on_progress:
        result = evaluate(run, data, limit, on_progress)
    if json:
        sys.stdout.write(to_json({"step": run.step, "data": data, **result.to_dict()}))
        return 0
    table = make_table(
        "length of the source", "pairs", "exact", "tokens", "attends to its origin", "or beside"
    )
    rows = {str(length): scores for length, scores in result.by_length.items()}
    for name, scores in (rows | {"all": result.total}).items():
        near = (
            [ratio / scores.origins for ratio in (scores.on_origin, scores.aligned)] if scores.origins else []
        )
        cells = [f"{value:.2%}" for value in (scores.accuracy, scores.token_accuracy, *near)]
        table.add_row(name, str(scores.pairs), *cells)
    low, high = result.trained or (0, 0)
    print_tables(table, *([f"trained on lengths {low} to {high}"] if result.trained else []))
    return 0


def _evaluate_marks(run: "Seq2SeqRun", data: str, limit: int | None, json: bool) -> int:
    """Print how many words a run of marks gets right, beside what counts of its text do."""
    from nhin.seq2seq.evaluate_marks import evaluate_marks

    result = evaluate_marks(run, Path(data), limit)
    if json:
        sys.stdout.write(to_json({"step": run.step, "data": data, **asdict(result)}))
        return 0
    table = make_table("", "words right")
    rows = {
        "most frequent form": result.most_frequent,
        "pairs of words": result.bigram,
        "model": result.model,
    }
    for name, share in rows.items():
        if share is not None:
            table.add_row(name, f"{share:.2%}")
    print_tables(table, f"{result.words} words in sentences that were not learned from")
    return 0


def sample_run(folder: Path, prompt: str, beams: int | None, count: int, json: bool, threads: int) -> int:
    """Write the targets of a source, best first."""
    import torch

    from nhin.decoding.beam_search import BeamSearchConfig
    from nhin.seq2seq.loading import open_seq2seq_run
    from nhin.seq2seq.translate import MAX_SOURCE, translate

    width = beams or GREEDY_WIDTH
    if count > width:
        raise UsageError(f"--count is {count} and there are {width} beams; give --beams {count} or more")
    torch.set_num_threads(threads)
    run = open_seq2seq_run(folder)
    for tokens, one in translate(run, prompt, BeamSearchConfig(width, 2 * MAX_SOURCE))[:count]:
        text = run.separator.join(tokens)
        if json:
            tree = {"prompt": prompt, "text": text, "score": one.score, "log_prob": one.log_prob}
            sys.stdout.write(to_json(tree))
        else:
            sys.stdout.write(f"{text}\n")
    return 0


def show_alignment(folder: Path, text: str, out: Path) -> int:
    """Draw the alignment of a source and what the model writes for it, as in the first paper."""
    from nhin.decoding.beam_search import BeamSearchConfig
    from nhin.seq2seq.loading import open_seq2seq_run
    from nhin.seq2seq.translate import MAX_SOURCE, align, encode_source, translate
    from nhin.viz.alignment import draw_alignment

    run = open_seq2seq_run(folder)
    source, _ = encode_source(run, text)
    target, _ = translate(run, text, BeamSearchConfig(GREEDY_WIDTH, 2 * MAX_SOURCE))[0]
    weights = align(run, text, target)
    name = folder.resolve().name
    sys.stdout.write(f"{run.separator.join(target)}\n")

    def draw(_: str) -> "Figure":
        return draw_alignment(f"{name}, step {run.step}", weights, source, (*target, "⟨end⟩"))

    return save_figures(out, [name], draw, "-alignment")
