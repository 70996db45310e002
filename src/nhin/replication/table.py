"""Results as a tidy table: one row for each point, one text for each number."""

from collections.abc import Iterable, Mapping

Cell = str | int | float | None
Row = Mapping[str, Cell]


def csv(rows: Iterable[Row]) -> str:
    """Return rows as CSV; columns stand in the order they first come, what a row lacks is empty.

    The same numbers give the same text: fractions are written with 12 digits, which hides the last bits that
    a processor's own exponential may round otherwise.
    """
    rows = list(rows)
    columns = list(dict.fromkeys(name for row in rows for name in row))
    lines = [",".join(columns)]
    lines += [",".join(_text(row.get(name)) for name in columns) for row in rows]
    return "\n".join(lines) + "\n"


def markdown(header: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """Return a table as Markdown."""
    header = list(header)
    lines = [header, ["---"] * len(header), *map(list, rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def _text(value: Cell) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return format(0.0 if abs(value) < 1e-15 else value, ".12g")
    text = str(value)
    assert "," not in text and '"' not in text and "\n" not in text, text
    return text
