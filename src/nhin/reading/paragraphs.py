"""Rows of text that are no table as headings, paragraphs and captions."""

import re
from collections.abc import Sequence

from nhin.reading.page_turn import PlacedLine
from nhin.reading.result import TextBlock
from nhin.reading.tables import Row, row_gap, row_lines

_LEVELS = (1.7, 1.3)
"""Height over that of body text from which a line is a heading of level 1, of level 2."""
_MAX_HEADING = 120
_TIGHT = 0.8
_RUNNING = 0.3
_SHORT = 8
_CAPTION = re.compile(r"(hình|ảnh|bảng|biểu đồ|sơ đồ|đồ thị|figure|fig\.|table)\s*\d[\d.]*\s*[:.\-–]", re.I)
_ITEM = re.compile(r"([-–•*+▪●○]|\d{1,3}[.)]|[a-zđ]\))\s|(điều|chương|mục|phần)\s+[\dIVX]+\b", re.I)
_SENTENCE_END = (".", "!", "?", ":", ";")


def body_height(lines: Sequence[PlacedLine]) -> float:
    """Return the height of the line that has the middle letter when all are sorted by height."""
    order = sorted(lines, key=lambda line: line.height)
    rest = sum(len(line.line.text) for line in order) / 2
    for line in order:
        rest -= len(line.line.text)
        if rest <= 0:
            return line.height
    return order[-1].height


def make_blocks(rows: Sequence[Row], body: float) -> list[TextBlock]:
    """Group rows into headings, paragraphs and captions, by their heights, gaps, edges and first letters."""
    right = max(line.right for row in rows for line in row_lines(row))
    if sum(_text(row)[:1].islower() for row in rows) < _RUNNING * len(rows):
        right = float("inf")  # a list: a full line says nothing about the next
    groups: list[tuple[int, list[Row]]] = []
    for row in rows:
        level = _heading_level(row, body)
        is_same = bool(groups) and groups[-1][0] == level and _is_near(groups[-1][1][-1], row)
        if is_same and (level or _goes_on(groups[-1][1][-1], row, right)):
            groups[-1][1].append(row)
        else:
            groups.append((level, [row]))
    return [_make_block(group, level) for level, group in groups]


def _make_block(rows: Sequence[Row], level: int) -> TextBlock:
    """Return a block without the positions on the page."""
    plain = tuple(tuple(tuple(line.line for line in cell) for cell in row) for row in rows)
    if level:
        return TextBlock("heading", plain, level)
    return TextBlock("caption" if _CAPTION.match(_text(rows[0])) else "paragraph", plain)


def _text(row: Row) -> str:
    """Return the text of a row, of which the first letters matter."""
    return " ".join(line.line.text.strip() for line in row_lines(row))


def _heading_level(row: Row, body: float) -> int:
    """Return the level of a heading by its height, 0 for other rows."""
    text = _text(row)
    if len(row) > 1 or len(text) > _MAX_HEADING or sum(char.isalpha() for char in text) < 2:
        return 0
    ratio = max(line.height for line in row_lines(row)) / max(body, 1e-6)
    return next((level for level, least in enumerate(_LEVELS, start=1) if ratio >= least), 0)


def _is_near(above: Row, row: Row) -> bool:
    """Return whether a row of one cell stands close below another, in letters of about its size."""
    if len(row) > 1 or len(above) > 1:
        return False
    heights = [max(line.height for line in row_lines(part)) for part in (above, row)]
    # A box is as high as its ink: that of a short word may be half of another's.
    limit = 1.35 if min(len(_text(above)), len(_text(row))) > _SHORT else 2.0
    is_under = _left(above) < _right(row) and _left(row) < _right(above)
    return is_under and max(heights) < limit * min(heights) and row_gap(above, row) < _TIGHT * max(heights)


def _goes_on(above: Row, row: Row, right: float) -> bool:
    """Return whether a near row continues a paragraph.

    One that begins with a small letter does; another only after a line that reaches the right edge, and
    unless it is indented.
    """
    text = _text(row)
    if _ITEM.match(text) or _CAPTION.match(text):
        return False
    if text[:1].islower() and not _text(above).endswith(_SENTENCE_END):
        return True
    height = max(line.height for line in row_lines(above))
    indent = _left(above) - _left(row)
    return _right(above) > right - 3.3 * height and -0.7 * height < indent < 4 * height


def _left(row: Row) -> float:
    """Return the left edge of a row."""
    return min(line.left for line in row_lines(row))


def _right(row: Row) -> float:
    """Return the right edge of a row."""
    return max(line.right for line in row_lines(row))
