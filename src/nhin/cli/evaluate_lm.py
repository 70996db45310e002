"""How a language model is measured: its costs, and those of the n-grams beside it."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from nhin.cli.files import as_json, progress
from nhin.errors import UsageError

if TYPE_CHECKING:
    from rich.table import Table

    from nhin.lm.evaluate import Measured

_COLUMNS = ("nats", "bits_per_byte", "perplexity", "nats_per_character")


def measure_lm(
    place: Path, data: Path, split: str | None, stride: int | None, threads: int, json: bool
) -> int:
    """Measure a language model on text; see ``cli.evaluate``."""
    if threads < 1:
        raise UsageError(f"--threads must be at least 1, not {threads}")
    import torch

    from nhin.lm.evaluate import control, evaluate
    from nhin.lm.heldout import held_out, own_data
    from nhin.lm.run import open_any

    torch.set_num_threads(threads)
    run = open_any(place)
    held = held_out(data, run.tokenizer, split, own_data(place, run.recipe))
    with progress(len(held.tokens) - 1, "measuring") as seen:
        measured = evaluate(run, held.tokens, stride=stride, seen=seen)
    tree = {"step": run.step, "data": held.name, **measured.as_tree(), "ngram": None}
    rows = [(place.resolve().name, measured)]
    if held.corpus is not None:
        counted, taken = control(held.corpus)
        beside = evaluate(counted, held.tokens)
        order = counted.model.order
        tree["ngram"] = {"order": order, "counted": taken, **beside.as_tree()}
        rows.append((f"{order}-gram", beside))
    sys.stdout.write(as_json(tree) if json else "")
    if not json:
        _show(rows, f"{measured.cost.tokens} tokens: {held.name}, {measured.seconds:.1f} s")
    return 0


def _show(rows: "list[tuple[str, Measured]]", under: str) -> None:
    from rich.console import Console

    console = Console(file=sys.stdout, highlight=False)
    console.print(_table(rows))
    console.print(under, markup=False, soft_wrap=True)


def _table(rows: "list[tuple[str, Measured]]") -> "Table":
    from rich.markup import escape
    from rich.table import Table

    table = Table("", *(name.replace("_", " ") for name in _COLUMNS))
    for column in table.columns[1:]:
        column.justify = "right"
    for name, measured in rows:
        figures = measured.cost.figures()
        table.add_row(escape(name), *(f"{figures[column]:.4f}" for column in _COLUMNS))
    return table
