"""Rows of a region, and the tables among them: rows next to each other whose cells leave common gaps."""

import re
from dataclasses import dataclass
from statistics import median

from nhin.reading.page_turn import PlacedLine
from nhin.reading.white_gaps import (
    Interval,
    Lines,
    find_gaps,
    group_alternate_bands,
    is_level,
    split_at,
    split_columns,
    subtract_lines,
    typical_height,
    white_between,
)

Row = list[Lines]
"""The cells of a row from the left, each with its lines."""

_WORD_GAP = 0.3
"""Gap over height up to which pieces of a row are one cell."""
_LONE_GAP = 1.5
"""The same outside a table."""
_MIN_GUTTER = 0.1
_TIGHT = 0.6
_MARKER = re.compile(r"[-–—•*+▪●○]|(\d{1,3}|[a-zA-ZđĐ])[.)]")
_LEADER = re.compile(r"[.…_·\-\s]{3,}|…+")


@dataclass(frozen=True, slots=True)
class RegionPart:
    """Rows of a region; those of a table have equally many cells, some without lines."""

    rows: list[Row]
    is_table: bool


def find_tables(region: Lines) -> list[RegionPart]:
    """Split a region into tables and the rows between them."""
    rows = group_rows(region)
    parts: list[RegionPart] = []
    start = 0
    while start < len(rows):
        stop = _table_end(rows, start)
        if stop:
            parts.append(RegionPart(_align_cells(rows[start:stop]), is_table=True))
            start = stop
            continue
        lone = _join_cells(rows[start], _LONE_GAP)
        if parts and not parts[-1].is_table:
            parts[-1].rows.append(lone)
        else:
            parts.append(RegionPart([lone], is_table=False))
        start += 1
    return parts


def group_rows(region: Lines) -> list[Row]:
    """Group the lines of a region into rows of cells, from the top."""
    rows: list[Row] = []
    for band in group_alternate_bands(region):
        levels = _group_level(band)
        if len(levels) > 1 and (columns := _tall_cells(band)):
            rows.append(columns)
        else:
            rows += [
                _join_cells([[line] for line in sorted(level, key=lambda line: line.left)], _WORD_GAP)
                for level in levels
            ]
    return rows


def row_lines(row: Row) -> Lines:
    """Return the lines of a row, cell by cell."""
    return [line for cell in row for line in cell]


def row_gap(above: Row, below: Row) -> float:
    """Return the height of the white between two rows."""
    return white_between(row_lines(above), row_lines(below))


def _group_level(band: Lines) -> list[Lines]:
    """Group lines that stand level and beside each other, from the top."""
    levels: list[Lines] = []
    for line in sorted(band, key=lambda line: line.middle):
        if levels and is_level(levels[-1][0], line) and not _covers(levels[-1], line):
            levels[-1].append(line)
        else:
            levels.append([line])
    return levels


def _covers(level: Lines, line: PlacedLine) -> bool:
    """Return whether a line lies over or under one of its supposed row by more than a third."""
    return any(
        min(other.right, line.right) - max(other.left, line.left) > 0.3 * min(other.width, line.width)
        for other in level
    )


def _tall_cells(band: Lines) -> Row | None:
    """Return the cells of a band that is one row: one has a single line, beside the middle of the others."""
    columns = split_columns(band, 0.4 * typical_height(band))
    sizes = [len(column) for column in columns]
    if len(columns) < 2 or min(sizes) > 1 or max(sizes) > 6:
        return None
    tallest = max(columns, key=len)
    middle = (min(line.top for line in tallest) + max(line.bottom for line in tallest)) / 2
    single = [column[0] for column in columns if len(column) == 1]
    if any(abs(line.middle - middle) > 0.5 * line.height for line in single):
        return None
    return [sorted(column, key=lambda line: line.middle) for column in columns]


def _join_cells(row: Row, gap: float) -> Row:
    """Join neighboring cells up to a gap, in heights; leaders and list markers also join further ones."""
    joined: Row = []
    for cell in row:
        if joined:
            white = min(line.left for line in cell) - max(line.right for line in joined[-1])
            height = min(typical_height(joined[-1]), typical_height(cell))
            limit = 2.0 if _MARKER.fullmatch(joined[-1][-1].line.text.strip()) else gap
            if white <= limit * height or _LEADER.fullmatch(cell[0].line.text.strip()):
                joined[-1] = joined[-1] + cell
                continue
        joined.append(cell)
    return joined


def _table_end(rows: list[Row], start: int) -> int:
    """Return the end of the table of two rows and columns or more that begins at a row; 0 without one."""
    if len(rows[start]) < 2:
        return 0
    gutters = find_gaps(row_lines(rows[start]), 0.0)
    stop, full = start + 1, 1
    gaps: list[float] = []
    for i in range(start + 1, len(rows)):
        row, gap = rows[i], row_gap(rows[i - 1], rows[i])
        height = typical_height(row_lines(row))
        if gap > 2.5 * max(height, median(gaps) if gaps else 0.0):
            break
        rest = [subtract_lines(gutter, row_lines(row)) for gutter in gutters]
        rest = [gutter for gutter in rest if gutter[1] - gutter[0] >= _MIN_GUTTER * height]
        if len(row) > 1 and any(_has_both_sides(row, gutter) for gutter in rest):
            gutters, stop, full = rest, i + 1, full + 1
            gaps.append(gap)
        elif len(row) > 1 or not rest or not _is_continuation(rows, i):
            break
        else:
            gutters = rest
    height = typical_height([line for row in rows[start:stop] for line in row_lines(row)])
    widest = max((right - left for left, right in gutters), default=0.0)
    return stop if full > 2 or (full == 2 and widest >= height) else 0


def _has_both_sides(row: Row, gutter: Interval) -> bool:
    """Return whether a row has cells on both sides of a gutter."""
    return all(split_at(row_lines(row), gutter))


def _is_continuation(rows: list[Row], i: int) -> bool:
    """Return whether a row of one cell goes on with a cell of the row above: close, below it, mid-sentence.

    Where the next row is further away than the one above, it need not begin with a small letter.
    """
    above, (cell, *_) = rows[i - 1], rows[i]
    height, gap = typical_height(cell), row_gap(above, rows[i])
    is_under = any(min(cell[0].right, line.right) > max(cell[0].left, line.left) for line in row_lines(above))
    if not is_under or gap > _TIGHT * height:
        return False
    starts = cell[0].line.text.lstrip()[:1]
    if starts.islower() or starts == "(":
        return True
    is_first = cell[0].left <= above[0][0].right
    after = row_gap(rows[i], rows[i + 1]) if i + 1 < len(rows) else float("inf")
    return not is_first and after > 2 * max(gap, 0.2 * height)


def _align_cells(rows: list[Row]) -> list[Row]:
    """Give every row of a table a cell for each column, and join rows that go on with the cells above."""
    sizes = [len(row) for row in rows]
    count = max((size for size in set(sizes) if sizes.count(size) > 1), default=max(sizes))
    full = [row for row in rows if len(row) == count]
    extents = [
        (
            min(line.left for row in full for line in row[k]),
            max(line.right for row in full for line in row[k]),
        )
        for k in range(count)
    ]
    aligned: list[Row] = []
    for i, row in enumerate(rows):
        cells = _place_cells(row, extents)
        if aligned and len(row) < count and _goes_on(cells, aligned[-1], row_gap(rows[i - 1], row)):
            aligned[-1] = [above + own for above, own in zip(aligned[-1], cells, strict=True)]
        else:
            aligned.append(cells)
    return aligned


def _place_cells(row: Row, extents: list[Interval]) -> Row:
    """Put the cells of a row into the first columns that they reach into."""
    if len(row) == len(extents):
        return row
    cells: Row = [[] for _ in extents]
    last = -1
    for cell in row:
        left, right = min(line.left for line in cell), max(line.right for line in cell)
        shared = [min(right, b) - max(left, a) for a, b in extents]
        column = next((k for k, part in enumerate(shared) if part > 0.3 * typical_height(cell)), None)
        column = max(range(len(extents)), key=lambda k: shared[k]) if column is None else column
        last = min(max(column, last + 1), len(extents) - 1)
        cells[last] = cells[last] + cell
    return cells


def _goes_on(cells: Row, above: Row, gap: float) -> bool:
    """Return whether a row has the rest of cells of the row above, and nothing in the first column."""
    own = [cell for cell in cells if cell]
    height = typical_height(row_lines(own))
    if (
        cells[0]
        or gap > _TIGHT * height
        or any(own and not top for own, top in zip(cells, above, strict=True))
    ):
        return False
    starts = [cell[0].line.text.lstrip()[:1] for cell in own]
    return len(own) == 1 or all(start.islower() or start == "(" for start in starts)
