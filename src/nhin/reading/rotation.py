"""Tall crops often hold text rotated by 90 degrees: they are read in all three directions.

The most confident result is kept. The crop alone decides.
"""

from collections.abc import Sequence
from math import prod

import numpy as np

from nhin.image.preprocess import Pixels
from nhin.reading.result import Recognition

TALL = 1.1
"""Height over width above which a crop may hold rotated text."""
ROTATIONS = (90, -90)
"""Clockwise degrees by which a tall crop is also read."""
MIN_UPRIGHT_CONFIDENCE = 0.8
"""Mean confidence of the letters from which only the upright reading is used."""
ROTATION_BIAS = 0.2
"""How much more confident a rotated reading must be."""


def is_tall(crop: Pixels) -> bool:
    """Return whether a crop is so tall that its text may be rotated."""
    return crop.shape[0] > TALL * crop.shape[1]


def rotate(crop: Pixels, degrees: int) -> Pixels:
    """Rotate a crop clockwise by a multiple of 90 degrees."""
    return np.ascontiguousarray(np.rot90(crop, -degrees // 90))


def most_confident(upright: Recognition, rotated: Sequence[Recognition]) -> Recognition:
    """Choose between the upright and the rotated readings by the mean confidence of their letters.

    A rotated reading of one letter is never chosen: an upright ``I`` looks like a dash.
    """
    best, mean = upright, mean_confidence(upright) + ROTATION_BIAS
    for other in rotated:
        if len(other.text) > 1 and mean_confidence(other) > mean:
            best, mean = other, mean_confidence(other)
    return best


def mean_confidence(reading: Recognition) -> float:
    """Return the geometric mean of the letters' confidences; 0 without letters."""
    if not reading.chars:
        return 0.0
    return prod(char.confidence for char in reading.chars) ** (1 / len(reading.chars))
