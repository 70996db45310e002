"""Reading order and structure of a page, from lines that are already read: pure geometry, and their texts.

The page is turned upright and level (``page_turn``), cut into regions (``columns``), and each region into
tables (``tables``), headings, paragraphs and captions. What stands in ruled cells or boxes (``cells``) stays
together. Lines that stand turned otherwise come last.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from nhin.reading.cells import PageCell, Surroundings
from nhin.reading.columns import are_columns, cut_regions
from nhin.reading.page_turn import PlacedLine, split_by_turn
from nhin.reading.paragraphs import body_height, make_blocks
from nhin.reading.result import Line, TextBlock
from nhin.reading.tables import Row, find_tables
from nhin.reading.white_gaps import Lines, group_bands

_STEP = 0.3  # heights that a line keeps from a rule
_TALL = 4  # lines of a cell that may be rows of a table whose columns alone are ruled
_MOST_IN_CELL = 8
"""Lines of a cell of a table; larger cells hold paragraphs."""


@dataclass(frozen=True, slots=True)
class PageLayout:
    """The blocks of a page in reading order.

    ``turn`` is how far the text stands turned clockwise: 0, 90, 180 or 270 degrees.
    """

    turn: int
    blocks: tuple[TextBlock, ...]

    @property
    def lines(self) -> tuple[Line, ...]:
        """All lines in reading order."""
        return tuple(line for block in self.blocks for line in block.lines)


def arrange_lines(lines: Sequence[Line], around: Sequence[Surroundings] = ()) -> PageLayout:
    """Arrange the lines of a page in reading order, as headings, paragraphs, tables and captions.

    Args:
        lines: Lines in any order; their boxes begin at the top left of the text itself, from which each
            line's own direction is known.
        around: What stands around each line; nothing by default.

    Returns:
        Blocks that hold every line once.
    """
    groups = split_by_turn(lines)
    known = {id(line): found for line, found in zip(lines, around, strict=False)}
    blocks: list[TextBlock] = []
    for n, (_, own) in enumerate(groups):
        stacked = [line for line in own if line.line.is_stacked]
        body, cells = body_height([line for line in own if not line.line.is_stacked] or own), {}
        if n == 0 and known:
            own = [_step_back(line, known[id(line.line)]) for line in own]
            cells = _choose_cells(own, known)
        # Letters below each other stand beside many lines, and are a piece of the page of their own.
        cells |= {id(line.line): PageCell(-1 - i, 0, 0) for i, line in enumerate(stacked)}
        blocks += _arrange(own, body, cells)
    return PageLayout(groups[0][0] if groups else 0, tuple(blocks))


def _step_back(line: PlacedLine, around: Surroundings) -> PlacedLine:
    """Return a line that keeps away from a rule: a gutter with a rule in it may be narrow."""
    step = min(_STEP * line.height, line.width / 4)
    return replace(
        line, left=line.left + step * around.is_rule_before, right=line.right - step * around.is_rule_after
    )


def _choose_cells(lines: Lines, around: Mapping[int, Surroundings]) -> dict[int, PageCell]:
    """Return the cells of lines, without those of tables whose columns alone are ruled."""
    tables: dict[int, dict[PageCell, Lines]] = {}
    for line in lines:
        if cell := around[id(line.line)].cell:
            tables.setdefault(cell.group, {}).setdefault(cell, []).append(line)
    return {
        id(line.line): cell
        for table in tables.values()
        if not _has_open_rows(table)
        for cell, own in table.items()
        for line in own
    }


def _has_open_rows(table: Mapping[PageCell, Lines]) -> bool:
    """Return whether cells beside each other hold rows of a table: many lines, level, and no prose."""
    tall = [(cell.row, own) for cell, own in sorted(table.items(), key=_place) if len(own) >= _TALL]
    return any(
        row == other and not are_columns(left, right) for (row, left), (other, right) in pairwise(tall)
    )


def _place(item: tuple[PageCell, Lines]) -> tuple[int, int]:
    return item[0].row, item[0].column


def _arrange(lines: Lines, body: float, cells: Mapping[int, PageCell]) -> list[TextBlock]:
    """Arrange lines; those of a ruled table or a box are one piece among the others."""
    free = [line for line in lines if id(line.line) not in cells]
    boxed: dict[int, Lines] = {}
    for line in lines:
        if id(line.line) in cells:
            boxed.setdefault(cells[id(line.line)].group, []).append(line)
    covers = [_cover(own) for own in boxed.values()]
    pieces = {id(cover): own for cover, own in zip(covers, boxed.values(), strict=True)}
    blocks: list[TextBlock] = []
    for region in cut_regions(free + covers):
        rest = [line for line in region if id(line) not in pieces]
        for band in group_bands([line for line in region if id(line) in pieces]):
            for piece in sorted(band, key=lambda piece: piece.left):
                above = [line for line in rest if _is_before(line, piece)]
                rest = [line for line in rest if not _is_before(line, piece)]
                blocks += _make_blocks(above, body) + _arrange_boxed(pieces[id(piece)], body, cells)
        blocks += _make_blocks(rest, body)
    return blocks


def _is_before(line: PlacedLine, piece: PlacedLine) -> bool:
    """Return whether a line stands above a piece, or beside it to the left."""
    return line.middle < piece.top or (line.middle < piece.bottom and line.right < piece.right)


def _cover(lines: Lines) -> PlacedLine:
    """Return a line without text in place of others."""
    left, top = min(line.left for line in lines), min(line.top for line in lines)
    right, bottom = max(line.right for line in lines), max(line.bottom for line in lines)
    box = (left, top), (right, top), (right, bottom), (left, bottom)
    return PlacedLine(Line("", 1.0, box), left, top, right, bottom)


def _arrange_boxed(lines: Lines, body: float, cells: Mapping[int, PageCell]) -> list[TextBlock]:
    """Return a ruled table as one; the blocks of a box, of boxes below each other and of large cells."""
    rows: dict[int, dict[int, Lines]] = {}
    for line in lines:
        cell = cells[id(line.line)]
        rows.setdefault(cell.row, {}).setdefault(cell.column, []).append(line)
    inside = [
        [(column, _arrange(row[column], body, {})) for column in sorted(row)]
        for _, row in sorted(rows.items())
    ]
    sizes = [len(own) for row in rows.values() for own in row.values()]
    if max(map(len, inside)) < 2 or max(sizes) > _MOST_IN_CELL:
        return [block for row in inside for _, blocks in row for block in blocks]
    columns = sorted({column for row in inside for column, _ in row})
    return [
        TextBlock(
            "table",
            tuple(
                tuple(
                    tuple(line for block in dict(row).get(column, ()) for line in block.lines)
                    for column in columns
                )
                for row in inside
            ),
        )
    ]


def _make_blocks(region: Lines, body: float) -> list[TextBlock]:
    """Make blocks of a region without columns."""
    blocks: list[TextBlock] = []
    for part in find_tables(region) if region else ():
        blocks += [_make_table(part.rows)] if part.is_table else make_blocks(part.rows, body)
    return blocks


def _make_table(rows: list[Row]) -> TextBlock:
    """Return a table without the positions on the page."""
    return TextBlock("table", tuple(tuple(tuple(line.line for line in cell) for cell in row) for row in rows))
