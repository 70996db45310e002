"""A page as values for JSON, and back: exact, for a process or a run of the same nhin."""

from dataclasses import asdict
from typing import Any

from nhin.reading.reading import Reading
from nhin.reading.result import Char, Line, ReadingWarning, TextBlock


def make_tree(reading: Reading) -> dict[str, Any]:
    """Return a page for JSON: its lines, and its blocks by the number of lines in each cell."""
    return {
        "page": reading.page,
        "size": [reading.width, reading.height, reading.turn],
        "source": reading.source,
        "lines": [_list_line(line) for line in reading.lines],
        "blocks": [
            [block.kind, block.level, [[len(cell) for cell in row] for row in block.rows]]
            for block in reading.blocks
        ],
        "warnings": [asdict(warning) for warning in reading.warnings],
    }


def _list_line(line: Line) -> list[Any]:
    chars = [[char.text, char.confidence, char.box] for char in line.chars]
    return [line.text, line.confidence, line.box, chars, line.alternatives]


def parse_tree(tree: Any) -> Reading:
    """Return the page that ``make_tree`` was given.

    Raises:
        ValueError, KeyError, TypeError, RuntimeError: It is something else.
    """
    lines = tuple(map(_parse_line, tree["lines"]))
    rest, blocks = iter(lines), []
    for kind, level, rows in tree["blocks"]:
        cells = tuple(tuple(tuple(next(rest) for _ in range(count)) for count in row) for row in rows)
        blocks.append(TextBlock(kind, cells, level))
    width, height, turn = tree["size"]
    warnings = tuple(ReadingWarning(**warning) for warning in tree["warnings"])
    return Reading(lines, width, height, tree["page"], warnings, turn, tuple(blocks), tree["source"])


def _parse_line(parts: Any) -> Line:
    text, confidence, box, chars, alternatives = parts
    return Line(
        text,
        confidence,
        _parse_box(box),
        tuple(Char(own, sure, _parse_box(corners)) for own, sure, corners in chars),
        tuple((other, probability) for other, probability in alternatives),
    )


def _parse_box(corners: Any) -> Any:
    return tuple((x, y) for x, y in corners)
