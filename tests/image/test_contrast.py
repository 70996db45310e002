"""Faint pictures are stretched, others are unchanged, and blank ones are detected."""

import numpy as np
import pytest

from nhin.image.contrast import is_blank, stretch_contrast


def ramp(low: int, high: int) -> np.ndarray:
    return np.repeat(np.linspace(low, high, 600).astype(np.uint8).reshape(20, 30, 1), 3, axis=2)


@pytest.mark.parametrize("tone", [0, 90, 255])
def test_one_color_is_blank_and_a_dot_is_not(tone):
    picture = np.full((50, 60, 3), tone, np.uint8)
    assert is_blank(picture)
    picture[20, 30] = 255 - tone
    assert not is_blank(picture)


def test_a_difference_of_hue_alone_is_not_blank():
    picture = np.full((10, 10, 3), (200, 40, 40), np.uint8)
    picture[:, 5:] = (40, 200, 40)
    assert not is_blank(picture)


def test_faint_pictures_are_stretched_to_the_full_range():
    picture = stretch_contrast(ramp(100, 140))
    assert picture.min() == 0
    assert picture.max() == 255


def test_clear_pictures_are_unchanged():
    picture = ramp(10, 240)
    assert stretch_contrast(picture) is picture


def test_a_blank_stays_blank():
    assert is_blank(stretch_contrast(ramp(100, 102)))
