"""Print of dots: found where it is read badly, joined into strokes; solid letters are left alone."""

from pathlib import Path

import cv2
import numpy as np

import nhin
from nhin.reading.dotted_print import join_dots

LABEL = Path(__file__).parent / "pictures" / "look_dots.png"


def draw_dots(pitch=4, dark=0, light=255):
    """Draw bars of dots two pixels wide."""
    picture = np.full((120, 400, 3), light, np.uint8)
    for left in range(20, 380, 40):
        for x in range(left, left + 4 * pitch, pitch):
            for y in range(20, 100, pitch):
                picture[y : y + 2, x : x + 2] = dark
    return picture


def count_parts(picture):
    gray = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
    _, ink = cv2.threshold(gray, 0, 1, cv2.THRESH_BINARY_INV | cv2.THRESH_OTSU)
    return cv2.connectedComponents(np.asarray(ink, np.uint8))[0] - 1


def test_dots_become_strokes_dark_or_light():
    for pitch in (4, 6):
        dots = draw_dots(pitch)
        smooth = join_dots(dots)
        assert smooth is not None
        assert smooth.shape == dots.shape
        assert count_parts(smooth) == 9 < count_parts(dots)
    assert join_dots(draw_dots(4, 240, 30)) is not None


def test_bars_blanks_and_a_few_dots_are_not_print_of_dots():
    bars = np.full((120, 400, 3), 255, np.uint8)
    bars[20:100, 20:380:40] = 0
    bars[20:100, 21:381:40] = 0
    few = np.full((120, 400, 3), 255, np.uint8)
    few[30:80:10, 30:80:10] = 0
    for picture in (bars, few, np.full((50, 50, 3), 7, np.uint8), np.zeros((6, 6, 3), np.uint8)):
        assert join_dots(picture) is None


def test_dots_far_from_each_other_are_no_strokes():
    sky = np.zeros((600, 1000, 3), np.uint8)
    sky[10::40, 10::40] = 255
    assert join_dots(sky) is None


def test_a_label_of_a_needle_printer_is_read():
    assert nhin.read(LABEL).text.startswith("PHIẾU GỬI HÀNG\n")
