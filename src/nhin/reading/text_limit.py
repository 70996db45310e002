"""How much text of one picture is read: what takes many seconds or gigabytes is left out, and counted."""

from collections.abc import Sequence

from nhin.image.preprocess import HEIGHT

MAX_COLUMNS = 240_000
"""Width of all lines of one picture at the recognizer's height: about 120 lines of a printed page."""
MAX_CROP_PIXELS = 64_000_000
"""Pixels of all lines of one picture: boxes may overlap, and each is cropped."""
_LEAST_ASPECT = 1.0


def choose_within_limit(sides: Sequence[tuple[float, float]]) -> list[int]:
    """Return the indices of the lines (height, width) that are read, in order.

    A line costs its columns at the recognizer's height, and a tall one is also read rotated, both ways. One
    that exceeds what the lines before it left is passed over, a shorter one after it is not.
    """
    columns = area = 0.0
    chosen = []
    for i, (height, width) in enumerate(sides):
        cost = HEIGHT * (max(width / height, _LEAST_ASPECT) + 2 * height / width * (height > width))
        if columns + cost <= MAX_COLUMNS and area + height * width <= MAX_CROP_PIXELS:
            columns, area = columns + cost, area + height * width
            chosen.append(i)
    return chosen
