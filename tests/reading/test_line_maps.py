"""Cores become lines: straight, curved, in any direction; two that touch are told apart."""

import numpy as np
import pytest

from nhin.image.detector_maps import CORE_SHARE, END_SHARE, UNIT_HEIGHT
from nhin.reading.line_maps import find_lines


def draw_maps(rows: list[np.ndarray], height: float, shape: tuple[int, int] = (200, 400)):
    """Maps of lines given as functions of x, from 40 to 360: a row of y for each column of the picture."""
    cores = np.zeros((shape[0] // 2, shape[1] // 2), np.float32)
    fields = np.zeros((4, shape[0] // 4, shape[1] // 4), np.float32)
    fields[0], fields[1] = np.log2(height / UNIT_HEIGHT), 1.0
    y = np.arange(shape[0] // 2)[:, None] * 2 + 1
    x = np.arange(shape[1] // 2) * 2 + 1
    inside = (x > 40 + END_SHARE * height) & (x < 360 - END_SHARE * height)
    for row in rows:
        band = np.abs(y - row[x]) < CORE_SHARE * height / 2
        cores[band & inside] = 0.95
    return cores, fields


X = np.arange(400)


@pytest.mark.parametrize("bend", [0.0, 12.0, 30.0])
def test_a_line_is_where_its_core_is(bend):
    row = 100 + bend * np.sin(X / 80)
    (line,) = find_lines(*draw_maps([row], 16))
    assert line.height == pytest.approx(16)
    assert line.turn == 0
    assert line.is_straight == (bend == 0)
    np.testing.assert_allclose(line.center[[0, -1], 0], [40, 360], atol=4)
    inner = line.center[1:-1] if bend else line.center
    np.testing.assert_allclose(inner[:, 1], np.interp(inner[:, 0], X, row), atol=2.5)


def test_two_lines_that_touch_are_two():
    cores, fields = draw_maps([np.full(400, 80.0), np.full(400, 110.0)], 16)
    cores[42:53, 90:94] = np.maximum(cores[42:53, 90:94], 0.6)  # a bridge
    lines = sorted(find_lines(cores, fields), key=lambda line: float(line.center[0, 1]))
    assert [round(float(line.center.mean(0)[1])) for line in lines] == [80, 110]
    assert all(line.length > 300 for line in lines)


def test_empty_maps_and_specks_have_no_lines():
    cores, fields = draw_maps([], 16)
    assert find_lines(cores, fields) == []
    cores[5, 5] = 1.0
    assert find_lines(cores, fields) == []
