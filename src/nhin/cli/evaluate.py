"""``nhin evaluate``: measure a reader on crops, or a language model on text."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from nhin.cli.output import make_table, print_tables, refuse_options, show_progress, to_json
from nhin.cli.seq2seq_runs import evaluate_run
from nhin.ranges import THREADS, Range

if TYPE_CHECKING:
    from rich.table import Table

    from nhin.lm.evaluate import LMEvalResult
    from nhin.metrics.calibration import CalibrationFigures
    from nhin.ocr.evaluate import OCREvalResult
    from nhin.reading.recognizer import Recognizer

_COSTS = ("nats", "bits_per_byte", "perplexity", "nats_per_character")
_FORMS = {"strict": "", "ignoring case": "_no_case", "ignoring marks": "_no_marks"}
_MAX_CONFUSIONS = 6


def evaluate(  # noqa: PLR0913  # every option is one word of the command line
    model: str,
    data: Path,
    /,
    *,
    digest: str | None = None,
    json: bool = False,
    limit: Annotated[int | None, Range(1, 10**9)] = None,
    mode: Literal["beam", "both", "exact", "fast"] | None = None,
    prior: Path | None = None,
    split: Literal["train", "validation", "test"] | None = None,
    stride: Annotated[int | None, Range(1, 2**22)] = None,
    threads: Annotated[int, THREADS] = 2,
) -> int:
    """Measure a reader on labeled crops, a language model on text, an encoder-decoder model on pairs.

    Args:
        model: A reader (a name of shipped weights, a folder with an ONNX pair, or a checkpoint), or the run
            of another model.
        data: For a reader a folder, a zip or a TSV file of labeled crops, or VinText in VinAI's folders; for
            a language model a folder that nhin prepare made, or a text file; for an encoder-decoder model
            the name of its task (numbers), for fresh pairs, or a file of lines SOURCE, tab, TARGET, for marks
            a text.
        digest: Readers: the digest that exported weights must have, as nhin inspect prints it; 16 digits are
            enough.
        json: Write one JSON object instead of tables.
        limit: Readers: read only this many crops, taken evenly from all. Encoder-decoder models: pairs of
            each length, or the first pairs of a file.
        mode: Readers: fast takes the draft of the CTC head; exact lets the decoder verify it; both takes the
            one that the two heads together score higher; beam, the default, does the same, and reads a
            doubtful crop again from several sides with many candidates.
        prior: Readers: a file of scripts/make_prior.py, in place of the bundled one.
        split: Language models: split of a prepared text; validation when not given.
        stride: Language models: tokens from window to window. Less than the context gives tokens more
            context, and takes longer; the context when not given.
        threads: CPU threads.
    """
    from nhin.lm.run_dir import is_run
    from nhin.seq2seq.run_dir import is_seq2seq_run

    if is_seq2seq_run(Path(model)):
        kind, other = "an encoder-decoder model", "other models"
        refuse_options(model, kind, other, mode=mode, digest=digest, prior=prior, split=split, stride=stride)
        return evaluate_run(Path(model), str(data), limit, threads, json)
    if is_run(Path(model)):
        refuse_options(
            model, "a language model", "a reader", limit=limit, mode=mode, digest=digest, prior=prior
        )
        return _measure_lm(Path(model), data, split, stride, threads, json)
    refuse_options(model, "a reader", "a language model", split=split, stride=stride)
    from nhin.ocr.evaluate import open_reader
    from nhin.reading.onnx_model import read_prior
    from nhin.reading.recognizer import DEFAULT_MODE

    texts = None if prior is None else read_prior(str(prior))
    return _measure_reader(
        open_reader(model, mode or DEFAULT_MODE, threads, digest, texts), data, limit, json
    )


def _measure_lm(
    folder: Path, data: Path, split: str | None, stride: int | None, threads: int, json: bool
) -> int:
    """Measure a language model and an n-gram baseline."""
    import torch

    from nhin.lm.eval_data import list_data_folders, open_eval_split
    from nhin.lm.evaluate import build_ngram_baseline
    from nhin.lm.evaluate import evaluate as measure
    from nhin.lm.loading import open_any_run

    torch.set_num_threads(threads)
    run = open_any_run(folder)
    text = open_eval_split(data, run.tokenizer, split, list_data_folders(folder, run.recipe))
    with show_progress(len(text.tokens) - 1, "measuring") as on_progress:
        result = measure(run, text.tokens, stride=stride, on_progress=on_progress)
    tree = {"step": run.step, "data": text.name, **result.to_dict(), "ngram": None}
    rows = [(folder.resolve().name, result)]
    if text.corpus is not None:
        baseline, count = build_ngram_baseline(text.corpus)
        ngram_result = measure(baseline, text.tokens)
        order = baseline.model.order
        tree["ngram"] = {"order": order, "counted": count, **ngram_result.to_dict()}
        rows.append((f"{order}-gram", ngram_result))
    if json:
        sys.stdout.write(to_json(tree))
    else:
        caption = f"{result.cost.tokens} tokens: {text.name}, {result.seconds:.1f} s"
        print_tables(_costs_table(rows), caption)
    return 0


def _costs_table(rows: "list[tuple[str, LMEvalResult]]") -> "Table":
    from rich.markup import escape

    table = make_table("", *(name.replace("_", " ") for name in _COSTS))
    for name, result in rows:
        figures = result.cost.figures()
        table.add_row(escape(name), *(f"{figures[column]:.4f}" for column in _COSTS))
    return table


def _measure_reader(reader: "Recognizer", data: Path, limit: int | None, json: bool) -> int:
    from nhin.data.images.datasets import open_crops
    from nhin.ocr.evaluate import evaluate as measure

    crops = open_crops(data)
    if limit is not None and limit < len(crops):
        crops = [crops[i * len(crops) // limit] for i in range(limit)]
    with show_progress(len(crops), "reading") as on_progress:
        result = measure(reader, crops, on_progress)
    if json:
        sys.stdout.write(to_json(result.to_dict()))
    else:
        caption = (
            f"words right {result.interval[0]:.1%} to {result.interval[1]:.1%} (95%, by blocks); "
            f"{result.count} crops, {1000 * result.seconds_per_crop:.1f} ms each; "
            f"mean confidence {result.lines.confidence:.1%}, calibration error {result.lines.ece:.1%} "
            f"({result.lines.ece_by_chance:.1%} by chance alone), of characters {result.chars.ece:.1%}"
        )
        rates, errors = _rates_table(result), _char_errors_table(result.breakdown)
        print_tables(rates, errors, make_answers_table({"": result.lines}), caption)
    return 0


def _rates_table(result: "OCREvalResult") -> "Table":
    from nhin.metrics.error_rates import FIGURES

    table = make_table("", *_FORMS)
    for name in FIGURES:
        values = [result.figures[name + ending] for ending in _FORMS.values()]
        shown = [f"{value:.2f}" if name == "mean_edit_distance" else f"{value:.2%}" for value in values]
        label = name.upper() if name in ("cer", "wer") else name.replace("_", " ")
        table.add_row(label, *shown)
    return table


def _char_errors_table(breakdown: dict[str, Any]) -> "Table":
    """Tabulate which part of wrong letters is wrong, and the most frequent confusions."""
    table = make_table(
        "wrong in a letter", "letters", "of all", "nothing else wrong", "most often (true → read)"
    )
    table.columns[-1].justify = "left"
    for part, count in breakdown["wrong"].items():
        rows = breakdown.get(f"{part}s", [])[:_MAX_CONFUSIONS]
        confusions = ", ".join(f"{row['true']} → {row['read']} {row['count']}" for row in rows)
        share, only = breakdown["share"][part], breakdown["only"][part]
        table.add_row(part, str(count), f"{share:.2%}", str(only), confusions)
    total = max(1, breakdown["characters"])
    for kind in ("missing", "extra"):
        table.add_row(f"{kind} altogether", str(breakdown[kind]), f"{breakdown[kind] / total:.2%}", "", "")
    return table


def make_answers_table(columns: "Mapping[str, CalibrationFigures]") -> "Table":
    """Tabulate how much is answered above each confidence and how much of that is right, for each column."""
    names = ("share answered", "share right", "wrong")
    heads = [f"{column} {name}".strip() for column in columns for name in names]
    table = make_table("confidence above", *heads)
    for rows in zip(*(figures.answers for figures in columns.values()), strict=True):
        cells = ((f"{row.answered:.1%}", f"{row.accuracy:.2%}", str(row.wrong)) for row in rows)
        table.add_row(f"{rows[0].threshold:g}", *(cell for row in cells for cell in row))
    return table
