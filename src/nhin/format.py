"""Format and parse durations and sizes; format Markdown tables and CSV."""

import re
from collections.abc import Iterable, Mapping

from nhin.errors import UsageError

Cell = str | int | float | None
_NUMBER = r"(\d{1,9}(?:\.\d{1,9})?)"
_SIZE = re.compile(rf"{_NUMBER}\s*([KMGT])i?B?", re.ASCII | re.IGNORECASE)
_DURATION = re.compile(rf"(?:{_NUMBER}h)?(?:{_NUMBER}m)?(?:{_NUMBER}s)?", re.ASCII)


def format_duration(seconds: float) -> str:
    """Format a time span: 45s, 3m20s or 2h05m."""
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 1:
        return f"{rest}s"
    return f"{minutes // 60}h{minutes % 60:02d}m" if minutes >= 60 else f"{minutes}m{rest:02d}s"


def parse_duration(name: str, text: str) -> float:
    """Parse a time span such as 90s, 30m, 2h or 1h30m into seconds.

    Raises:
        UsageError: It is not one; the message calls it ``name``.
    """
    match = _DURATION.fullmatch(text.strip())
    if match is None or not any(match.groups()):
        raise UsageError(f"a {name} looks like 90s, 30m or 2h, not {text[:40]!r}")
    hours, minutes, seconds = (float(part or 0) for part in match.groups())
    return 3600 * hours + 60 * minutes + seconds


def parse_size(name: str, text: str) -> int:
    """Parse a number of bytes such as 500MB, 8GB or 1.5GiB; a thousand and 1,024 are one here.

    Raises:
        UsageError: It is not one; the message calls it ``name``.
    """
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise UsageError(f"a {name} looks like 500MB or 8GB, not {text[:40]!r}")
    return int(float(match[1]) * 1024 ** "KMGT".index(match[2].upper()) * 1024)


def format_bytes(size: float) -> str:
    """Format a number of bytes in KB, or in MB from 1 MB on."""
    return f"{size / 2**10:,.0f} KB" if abs(size) < 2**20 else f"{size / 2**20:,.1f} MB"


def count_noun(count: int, noun: str) -> str:
    """Format a count with its noun: 1 seed, 3 seeds."""
    return f"{count} {noun}{'s' * (count != 1)}"


def markdown_table(header: Iterable[str], rows: Iterable[Iterable[str]], numeric: bool = False) -> str:
    """Format a Markdown table that ends in a newline; ``numeric`` aligns all columns but the first right."""
    header = list(header)
    rule = ["---", *["---:" if numeric else "---"] * (len(header) - 1)]
    body = [f"| {' | '.join(row)} |" for row in (header, *rows)]
    body.insert(1, f"|{'|'.join(rule)}|" if numeric else f"| {' | '.join(rule)} |")
    return "\n".join(body) + "\n"


def format_csv(rows: Iterable[Mapping[str, Cell]]) -> str:
    """Format rows as CSV; columns keep the order of first appearance, a missing value is empty.

    Floats have 12 digits: their last bits differ between processors.
    """
    rows = list(rows)
    columns = list(dict.fromkeys(name for row in rows for name in row))
    lines = [columns, *([_csv_cell(row.get(name)) for name in columns] for row in rows)]
    return "\n".join(map(",".join, lines)) + "\n"


def _csv_cell(value: Cell) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return format(0.0 if abs(value) < 1e-15 else value, ".12g")
    text = str(value)
    assert "," not in text and '"' not in text and "\n" not in text, text
    return text
