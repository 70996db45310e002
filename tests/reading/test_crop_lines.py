"""A roomy crop is taken in to its ink, and two lines in a crop are read as two; others are left alone."""

import numpy as np
import pytest

from nhin.reading.crop_lines import find_bands, split_crop

WORD = tuple((x, 0, x + 10, 30) for x in range(0, 200, 18))


def paper(height: int, width: int, *words: tuple[int, int]) -> np.ndarray:
    """Return white paper with words of eleven letters, 30 pixels high, at (left, top)."""
    picture = np.full((height, width, 3), 245, np.uint8)
    for left, top in words:
        for a, b, c, d in WORD:
            picture[top + b : top + d, left + a : left + c] = (20, 20, 70)
    return picture


def corners(picture: np.ndarray) -> list[tuple[float, float, float, float]]:
    boxes = [np.array(line.box()) for line in split_crop(picture)]
    return [(*box.min(axis=0), *box.max(axis=0)) for box in boxes]


@pytest.mark.parametrize(
    ("left", "top", "height", "width"), [(150, 5, 40, 500), (10, 40, 110, 230), (10, 100, 150, 260)]
)
def test_a_roomy_crop_is_taken_in_to_its_ink(left, top, height, width):
    ((a, b, c, d),) = corners(paper(height, width, (left, top)))
    assert left - 12 <= a <= left
    assert top - 8 <= b <= top
    assert left + 190 <= c <= left + 220
    assert top + 30 <= d <= top + 38


def test_a_crop_that_its_text_fills_is_left_as_it_is():
    picture = paper(36, 200, (4, 3))
    (line,) = split_crop(picture)
    np.testing.assert_array_equal(line.pixels, picture)


def test_two_lines_are_two_and_each_is_taken_in():
    first, second = corners(paper(90, 240, (10, 8), (30, 52)))
    assert first[1] <= 8 and 38 <= first[3] <= 46
    assert 44 <= second[1] <= 52 and second[3] >= 82
    assert second[0] > first[0]
    assert len(split_crop(255 - paper(90, 240, (10, 8), (30, 52)))) == 2
    assert len(split_crop(paper(130, 240, (10, 8), (30, 50), (5, 92)))) == 3


def test_marks_above_and_below_a_line_are_no_lines():
    picture = paper(80, 240, (10, 28))
    picture[8:18, 12:200:18] = 20
    picture[8:18, 13:200:18] = 20
    picture[8:18, 14:200:18] = 20
    picture[66:71, 30:36] = 20
    assert len(find_bands(picture)) == 1
    assert len(split_crop(picture)) == 1


def test_letters_that_stand_on_each_other_are_no_lines():
    """A stacked sign: one letter to a row."""
    picture = np.full((90, 85, 3), 245, np.uint8)
    for top in (6, 50):
        picture[top : top + 32, 30:34] = 10
        picture[top : top + 32, 50:54] = 10
        picture[top + 14 : top + 18, 30:54] = 10
    assert len(split_crop(picture)) == 1


def test_lines_that_touch_are_not_cut():
    picture = paper(90, 240, (10, 8), (30, 52))
    picture[38:52, 100:104] = 20
    assert len(split_crop(picture)) == 1


def test_a_tall_crop_is_left_whole():
    picture = np.ascontiguousarray(paper(90, 240, (10, 8), (30, 52)).swapaxes(0, 1))
    (line,) = split_crop(picture)
    np.testing.assert_array_equal(line.pixels, picture)


def test_a_tiny_crop_is_left_whole():
    picture = np.full((20, 60, 3), 245, np.uint8)
    picture[7:14, 10:50:4] = 20
    (line,) = split_crop(picture)
    np.testing.assert_array_equal(line.pixels, picture)
