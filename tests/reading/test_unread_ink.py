"""Ink that looks like text and is in no line is counted; textures, codes, rules and read lines are not."""

import numpy as np
import pytest

from nhin.data.images.textless import draw_textless
from nhin.reading.unread_ink import count_unread_lines

WIDTHS = (9, 14, 8, 12, 10, 15, 9, 13)


def page(rows: int) -> np.ndarray:
    """Return a white page with rows of eight letters, 60 pixels apart."""
    picture = np.full((60 * rows + 60, 600, 3), 250, np.uint8)
    for top in range(50, 60 * rows + 50, 60):
        for i, wide in enumerate(WIDTHS):
            left = 60 + 25 * i
            picture[top : top + 22, left : left + 3] = 20
            picture[top : top + 3, left : left + wide] = 20
    return picture


def box(row: int) -> tuple:
    top = 45 + 60 * row
    return ((20, top), (500, top), (500, top + 33), (20, top + 33))


@pytest.mark.parametrize("invert", [False, True])
def test_lines_of_letters_are_counted(invert):
    picture = page(3)
    assert count_unread_lines(255 - picture if invert else picture, []) == 3


def test_lines_that_were_read_are_not_counted():
    picture = page(3)
    assert count_unread_lines(picture, [box(0), box(2)]) == 1
    assert count_unread_lines(picture, [box(0), box(1), box(2)]) == 0


def test_what_is_no_text_is_not_counted():
    frames = np.full((400, 600, 3), 255, np.uint8)
    frames[::40] = frames[:, ::60] = 0
    bars = np.full((200, 600, 3), 255, np.uint8)
    bars[40:160, 40:560] = np.where(np.random.default_rng(0).random(520) < 0.5, 0, 255)[None, :, None]
    dots = np.full((200, 600, 3), 255, np.uint8)
    dots[100:109, 40:560:18] = 0
    for offset in range(9):
        dots[100:109, 40 + offset : 560 : 18] = 0
    noise = np.random.default_rng(0).integers(0, 256, (300, 500, 3), dtype=np.uint8)
    for picture in (frames, bars, dots, noise, np.full((3, 4000, 3), 9, np.uint8)):
        assert count_unread_lines(picture, []) == 0


def test_pictures_without_text_are_quiet():
    """Blanks, textures, codes and noises as reading is tested on: less than one in fifty may be counted."""
    counts = [count_unread_lines(np.ascontiguousarray(draw_textless(3, i)[0]), []) for i in range(100)]
    assert sum(count > 0 for count in counts) < 2
