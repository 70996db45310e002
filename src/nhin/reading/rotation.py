"""Crops that are not wide may hold text rotated by 90 degrees: they are read in all three directions.

The most confident result is kept. The crop alone decides.
"""

from collections.abc import Sequence
from math import prod

import numpy as np

from nhin.image.preprocess import Pixels
from nhin.reading.result import Recognition

TALL = 1.1
"""Height over width above which a crop is taller than a word."""
NOT_WIDE = 0.6
"""Height over width above which a crop may hold rotated text: a short word and its room are a square."""
ROTATIONS = (90, -90)
"""Clockwise degrees by which such a crop is also read."""
MIN_UPRIGHT_CONFIDENCE = 0.8
"""Mean confidence of two letters or more from which only the upright reading is used."""
ROTATION_BIAS = 0.2
"""How much more confident a rotated reading must be than such an upright one."""
MIN_ROTATED_CONFIDENCE = 0.8
"""Mean confidence that a rotated reading needs where the upright one has one letter, or none."""


def is_tall(crop: Pixels) -> bool:
    """Return whether a crop is too tall for one word."""
    return crop.shape[0] > TALL * crop.shape[1]


def may_be_rotated(crop: Pixels, upright: Recognition) -> bool:
    """Return whether a crop should be read rotated as well.

    A word on its side looks like one letter, of which the network is often sure: ``TOÁN`` is a ``g``.
    """
    is_sure = len(upright.text) > 1 and mean_confidence(upright) >= MIN_UPRIGHT_CONFIDENCE
    return crop.shape[0] > NOT_WIDE * crop.shape[1] and not is_sure


def rotate(crop: Pixels, degrees: int) -> Pixels:
    """Rotate a crop clockwise by a multiple of 90 degrees."""
    return np.ascontiguousarray(np.rot90(crop, -degrees // 90))


def most_confident(upright: Recognition, rotated: Sequence[Recognition]) -> Recognition:
    """Choose between the upright and the rotated readings by the mean confidence of their letters.

    A rotated reading without two letters or digits is never chosen: an upright ``I`` looks like a dash, and
    an ``Ở`` like ``Q.``.
    """
    own = mean_confidence(upright)
    best, mean = upright, own + ROTATION_BIAS if len(upright.text) > 1 else max(own, MIN_ROTATED_CONFIDENCE)
    for other in rotated:
        if sum(map(str.isalnum, other.text)) > 1 and mean_confidence(other) > mean:
            best, mean = other, mean_confidence(other)
    return best


def mean_confidence(reading: Recognition) -> float:
    """Return the geometric mean of the letters' confidences; 0 without letters."""
    if not reading.chars:
        return 0.0
    return prod(char.confidence for char in reading.chars) ** (1 / len(reading.chars))
