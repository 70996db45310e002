"""Tell prose and lists of figures by their lines."""

from collections.abc import Sequence
from itertools import pairwise
from statistics import median

from nhin.reading.page_turn import PlacedLine
from nhin.reading.white_gaps import group_bands, split_columns, typical_height, white_between

_HEADING = 1.3  # times as high as most lines


def is_figure(text: str) -> bool:
    """Return whether most letters of a text are digits."""
    letters = [char for char in text if char.isalnum()]
    return bool(letters) and sum(char.isdigit() for char in letters) >= 0.6 * len(letters)


def is_prose(lines: Sequence[PlacedLine]) -> bool:
    """Return whether the lines of every column run on from one to the next, as prose does."""
    return all(_is_running(column) for column in split_columns(lines, 0.0))


def _is_running(lines: Sequence[PlacedLine]) -> bool:
    """Return whether lines stand close together, and most begin in mid-sentence or fill the column.

    Headings between them do not count.
    """
    height = typical_height(lines)
    lines = [line for line in lines if line.height < _HEADING * height]
    rows = group_bands(lines)
    if len(rows) < 3 or len(rows) < 0.8 * len(lines):
        return False
    gaps = [white_between(above, below) for above, below in pairwise(rows)]
    if median(gaps) > 0.8 * typical_height(lines):
        return False
    texts = [line.line.text.lstrip() for line in lines]
    letters = median(len(text) for text in texts)
    running = sum(text[:1].islower() for text in texts) / len(texts)
    extent = max(line.right for line in lines) - min(line.left for line in lines)
    filled = sum(line.width > 0.8 * extent for line in lines) / len(lines)
    return letters >= 8 and (running >= 0.4 or (filled >= 0.6 and letters >= 18))


def is_price_list(lines: Sequence[PlacedLine]) -> bool:
    """Return whether most rows begin with words and end with figures."""
    rows = [sorted(row, key=lambda line: line.left) for row in group_bands(lines)]
    pairs = [row for row in rows if len(row) > 1]
    fit = [row for row in pairs if is_figure(row[-1].line.text) and not is_figure(row[0].line.text)]
    return len(pairs) > 1 and len(fit) >= 0.7 * len(pairs) and len(pairs) >= 0.5 * len(rows)
