"""Lines that run across two columns are cut where several have the same gap, and nowhere else."""

import numpy as np
import pytest

from nhin.reading.gutter_split import split_at_gutters
from nhin.reading.line_crop import crop_line
from nhin.reading.line_shape import LineShape
from nhin.reading.page_edges import PageEdges

HEIGHT = 16


def draw_columns(gaps: list[float], turn: int = 0) -> tuple[np.ndarray, list[LineShape]]:
    """Rows of bars from 20 to 580; a gap of 20 pixels in each, beginning at the column given (0: none)."""
    picture = np.full((40 * len(gaps) + 40, 600, 3), 245, np.uint8)
    lines = []
    for row, gap in enumerate(gaps):
        y = 40 * row + 30
        for x in range(20, 580, 8):
            if not gap or not gap - 8 < x < gap + 20:
                picture[y : y + HEIGHT, x : x + 5] = 30
        lines.append(np.array([[20, y + HEIGHT / 2], [577, y + HEIGHT / 2]]))
    turned = np.ascontiguousarray(np.rot90(picture, -turn // 90))
    height, width = picture.shape[:2]
    moved = {
        0: lambda p: p,
        90: lambda p: np.stack([height - p[:, 1], p[:, 0]], 1),
        180: lambda p: np.array([width, height]) - p,
    }[turn]
    return turned, [LineShape(moved(line).astype(np.float32), HEIGHT) for line in lines]


def split(picture: np.ndarray, lines: list[LineShape]) -> list[LineShape]:
    return split_at_gutters(lines, [crop_line(picture, line) for line in lines])


@pytest.mark.parametrize("turn", [0, 90, 180])
def test_a_gap_that_three_lines_share_is_a_gutter(turn):
    picture, lines = draw_columns([300, 304, 298, 302], turn)
    parts = split(picture, lines)
    assert len(parts) == 8
    assert sum(part.length for part in parts) < sum(line.length for line in lines) - 4 * 15
    assert {part.turn for part in parts} == {turn}


@pytest.mark.parametrize(
    "gaps",
    [[0, 0, 0, 0], [300], [300, 304], [100, 200, 300, 400], [300, 0, 100, 0], [300, 0, 300, 0, 300, 0]],
)
def test_other_spaces_are_no_gutters(gaps):
    picture, lines = draw_columns([float(gap) for gap in gaps])
    assert split(picture, lines) == lines


@pytest.mark.parametrize(("length", "parts"), [(200, 2), (40, 1)])
def test_a_long_rule_in_a_narrow_gap_parts_even_one_line(length, parts):
    picture, lines = draw_columns([0.0, 0.0, 300.0, 0.0, 0.0])
    picture[:, 299:301] = 245
    line, top = lines[2], int(lines[2].center[0, 1])
    picture[top - 8 : top + 8, 306:308] = 30  # the rule
    edge = np.array([[307.0, top - length / 2, 307.0, top + length / 2]])
    edges = PageEdges(np.eye(3)[:2], edge, np.zeros((0, 4)))
    assert len(split_at_gutters([line], [crop_line(picture, line)], edges)) == parts
    assert len(split_at_gutters([line], [crop_line(picture, line)])) == 1


def test_a_line_without_a_crop_stays():
    _, lines = draw_columns([300.0])
    assert split_at_gutters(lines, [None]) == lines
