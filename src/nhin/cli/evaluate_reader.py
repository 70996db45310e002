"""How a reader is measured: figures and tables."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nhin.cli.output import show_progress, to_json
from nhin.errors import UsageError

if TYPE_CHECKING:
    from rich.table import Table

    from nhin.ocr.evaluate import OCREvalResult
    from nhin.reading.recognizer import Mode

_FORMS = {"strict": "", "ignoring case": "_no_case", "ignoring marks": "_no_marks"}
_MOST_CONFUSIONS = 6


def measure_reader(
    weights: str, data: Path, limit: int | None, mode: "Mode", threads: int, json: bool
) -> int:
    """Measure a reader on labelled crops; see ``cli.evaluate``."""
    if limit is not None and limit < 1:
        raise UsageError(f"--limit must be at least 1, not {limit}")
    from nhin.data.images.datasets import open_crops
    from nhin.ocr.evaluate import evaluate as measure
    from nhin.ocr.evaluate import open_reader

    reader, crops = open_reader(weights, mode, threads), open_crops(data)
    if limit is not None and limit < len(crops):
        crops = [crops[i * len(crops) // limit] for i in range(limit)]
    with show_progress(len(crops), "reading") as seen:
        measured = measure(reader, crops, seen)
    sys.stdout.write(to_json(measured.to_dict()) if json else "")
    if not json:
        _print_tables(measured)
    return 0


def _print_tables(measured: "OCREvalResult") -> None:
    """Draw the tables."""
    from rich.console import Console

    console = Console(file=sys.stdout, highlight=False)
    console.print(_rates_table(measured))
    console.print(_char_errors_table(measured.breakdown))
    console.print(
        f"{measured.count} crops, {1000 * measured.seconds_per_crop:.1f} ms each; "
        f"mean confidence {measured.confidence:.1%}, calibration error {measured.ece:.1%}"
    )


def _rates_table(measured: "OCREvalResult") -> "Table":
    from rich.table import Table

    from nhin.metrics.error_rates import FIGURES

    table = Table("", *_FORMS)
    for column in table.columns[1:]:
        column.justify = "right"
    for name in FIGURES:
        values = [measured.figures[name + ending] for ending in _FORMS.values()]
        shown = [f"{value:.2f}" if name == "mean_edit_distance" else f"{value:.2%}" for value in values]
        label = name.upper() if name in ("cer", "wer") else name.replace("_", " ")
        table.add_row(label, *shown)
    return table


def _char_errors_table(breakdown: dict[str, Any]) -> "Table":
    """Tabulate what is wrong in wrong letters, and the commonest confusions."""
    from rich.table import Table

    table = Table("wrong in a letter", "letters", "of all", "nothing else wrong", "most often (true → read)")
    for column in table.columns[1:4]:
        column.justify = "right"
    for part, count in breakdown["wrong"].items():
        rows = breakdown.get(f"{part}s", [])[:_MOST_CONFUSIONS]
        often = ", ".join(f"{row['true']} → {row['read']} {row['count']}" for row in rows)
        share, only = breakdown["share"][part], breakdown["only"][part]
        table.add_row(part, str(count), f"{share:.2%}", str(only), often)
    total = max(1, breakdown["characters"])
    for kind in ("missing", "extra"):
        table.add_row(f"{kind} altogether", str(breakdown[kind]), f"{breakdown[kind] / total:.2%}", "", "")
    return table
