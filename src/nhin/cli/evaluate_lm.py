"""How a language model is measured: its costs, and those of the n-grams beside it."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from nhin.cli.output import show_progress, to_json
from nhin.errors import UsageError

if TYPE_CHECKING:
    from rich.table import Table

    from nhin.lm.evaluate import LMEvalResult

_COLUMNS = ("nats", "bits_per_byte", "perplexity", "nats_per_character")


def measure_lm(
    folder: Path, data: Path, split: str | None, stride: int | None, threads: int, json: bool
) -> int:
    """Measure a language model on text; see ``cli.evaluate``."""
    if threads < 1:
        raise UsageError(f"--threads must be at least 1, not {threads}")
    import torch

    from nhin.lm.eval_data import list_data_folders, open_eval_split
    from nhin.lm.evaluate import build_ngram_baseline, evaluate
    from nhin.lm.loading import open_any_run

    torch.set_num_threads(threads)
    run = open_any_run(folder)
    held = open_eval_split(data, run.tokenizer, split, list_data_folders(folder, run.recipe))
    with show_progress(len(held.tokens) - 1, "measuring") as seen:
        measured = evaluate(run, held.tokens, stride=stride, on_progress=seen)
    tree = {"step": run.step, "data": held.name, **measured.to_dict(), "ngram": None}
    rows = [(folder.resolve().name, measured)]
    if held.corpus is not None:
        counted, taken = build_ngram_baseline(held.corpus)
        beside = evaluate(counted, held.tokens)
        order = counted.model.order
        tree["ngram"] = {"order": order, "counted": taken, **beside.to_dict()}
        rows.append((f"{order}-gram", beside))
    sys.stdout.write(to_json(tree) if json else "")
    if not json:
        _print_table(rows, f"{measured.cost.tokens} tokens: {held.name}, {measured.seconds:.1f} s")
    return 0


def _print_table(rows: "list[tuple[str, LMEvalResult]]", caption: str) -> None:
    from rich.console import Console

    console = Console(file=sys.stdout, highlight=False)
    console.print(_make_table(rows))
    console.print(caption, markup=False, soft_wrap=True)


def _make_table(rows: "list[tuple[str, LMEvalResult]]") -> "Table":
    from rich.markup import escape
    from rich.table import Table

    table = Table("", *(name.replace("_", " ") for name in _COLUMNS))
    for column in table.columns[1:]:
        column.justify = "right"
    for name, measured in rows:
        figures = measured.cost.figures()
        table.add_row(escape(name), *(f"{figures[column]:.4f}" for column in _COLUMNS))
    return table
