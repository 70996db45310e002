"""Reading order and structure of a page, from lines that are already read: pure geometry, and their texts.

The page is turned upright and level (``page_turn``), cut into regions (``columns``), and each region into
tables (``tables``), headings, paragraphs and captions. Lines that stand turned otherwise come last.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from nhin.reading.columns import cut_regions
from nhin.reading.page_turn import split_by_turn
from nhin.reading.paragraphs import body_height, make_blocks
from nhin.reading.result import Line, TextBlock
from nhin.reading.tables import Row, find_tables


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


def arrange_lines(lines: Sequence[Line]) -> PageLayout:
    """Arrange the lines of a page in reading order, as headings, paragraphs, tables and captions.

    Args:
        lines: Lines in any order; their boxes begin at the top left of the text itself, from which each
            line's own direction is known.

    Returns:
        Blocks that hold every line once.
    """
    groups = split_by_turn(lines)
    blocks: list[TextBlock] = []
    for _, own in groups:
        body = body_height(own)
        for part in (part for region in cut_regions(own) for part in find_tables(region)):
            blocks += [_make_table(part.rows)] if part.is_table else make_blocks(part.rows, body)
    return PageLayout(groups[0][0] if groups else 0, tuple(blocks))


def _make_table(rows: list[Row]) -> TextBlock:
    """Return a table without the positions on the page."""
    return TextBlock("table", tuple(tuple(tuple(line.line for line in cell) for cell in row) for row in rows))
