"""Lines found at two scales, each once; and marks that stand apart from their letters."""

import numpy as np
import pytest

from nhin.reading.ink_box import tight_box
from nhin.reading.line_cleanup import drop_marks, measure_skew, measure_turn, merge_scales
from nhin.reading.line_shape import LineShape


def line(x: float, y: float, length: float, height: float, score: float = 0.9, certainty: float = 0.9):
    center = np.array([[x, y], [x + length, y]], np.float32)
    return LineShape(center, height, score, certainty)


@pytest.mark.parametrize("certainty", [0.2, 0.9])
def test_two_rows_seen_as_one_large_letter_stay_two(certainty):
    rows = [line(480, y, 60, 18) for y in (368, 390)]
    large = line(478, 379, 62, 44, certainty=certainty)
    assert merge_scales(rows, [large], 56.0) == rows


def test_two_numbers_of_a_column_stay_two_though_they_fill_little_of_what_was_doubtfully_seen():
    rows = [line(975, y, 35, 19) for y in (868, 922)]
    assert merge_scales(rows, [line(956, 895, 71, 46, certainty=0.17)], 56.0) == rows


def test_a_large_line_replaces_the_pieces_of_its_letters():
    pieces = [line(x, 395, 14, 12, score=0.6) for x in (960, 1000)]
    large = line(940, 395, 200, 80)
    assert merge_scales(pieces, [large], 56.0) == [large]


@pytest.mark.parametrize("x_height", [12, 20, 30])
def test_a_dot_below_belongs_to_its_line_however_far_the_face_puts_it(x_height):
    crop = np.full((4 * x_height, 8 * x_height), 255, np.uint8)
    top = round(1.2 * x_height)
    for x in range(x_height, 7 * x_height, x_height):
        crop[top : top + x_height, x : x + x_height // 3] = 0
    side = max(2, x_height // 6)
    low = top + x_height + round(0.55 * x_height)
    crop[low - side : low, 3 * x_height : 3 * x_height + side] = 0
    box = tight_box(np.repeat(crop[:, :, None], 3, 2))
    assert box is not None and box[1] >= low


def turned(lines, degrees):
    angle = np.radians(degrees)
    matrix = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    return [LineShape((own.center @ matrix).astype(np.float32), own.height, 0.9, 0.9) for own in lines]


@pytest.mark.parametrize("turn", [0, 90, 180, 270])
@pytest.mark.parametrize("skew", [0, 8, -20, 40])
def test_the_turn_and_the_skew_of_a_page_add_up_to_the_direction_of_its_lines(turn, skew):
    lines = turned([line(10, 30 * y, 300 + y, 18) for y in range(5)], turn + skew)
    angle = measure_turn(lines) + measure_skew(lines)
    assert (angle - turn - skew + 180) % 360 - 180 == pytest.approx(0, abs=0.1)


def test_lines_that_read_both_ways_turn_no_page():
    lines = [line(10, 30 * y, 300, 18) for y in range(4)]
    assert measure_turn([*lines, *(own.reverse() for own in lines)]) == 0
    assert measure_turn([]) == 0


@pytest.mark.parametrize(("height", "score"), [(25, 0.9), (37, 0.7)])
def test_a_mark_above_a_large_letter_is_no_line(height, score):
    large = line(100, 230, 800, 57)
    assert drop_marks([large, line(612, 188, 31, height, score)]) == [large]


def test_a_sure_letter_of_nearly_the_same_height_is_no_mark():
    lines = [line(100, 230, 800, 57), line(612, 172, 31, 37)]
    assert drop_marks(lines) == lines


def test_a_figure_is_no_mark_of_a_larger_line_that_is_itself_in_doubt():
    """Two figures of a column, seen once more as one large letter that stands on its head, perhaps."""
    figure = line(104, 240, 15, 12.6, score=0.71)
    doubtful, sure = (line(90, 257, 28, 29.1, 0.62, certainty) for certainty in (0.18, 0.9))
    assert drop_marks([figure, doubtful]) == [figure, doubtful]
    assert drop_marks([figure, sure]) == [sure]
