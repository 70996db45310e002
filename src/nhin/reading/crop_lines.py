"""The lines of a crop that a user gave as a word or a line: taken in to their ink, and two lines read as two.

A crop that its text fills is left as it is. It is cut only where clear rows without ink lie between bands of
several letters each: marks and dots above and below a line are bands too, but low ones.
"""

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from nhin.reading.ink_box import find_ink, tight_box
from nhin.reading.line_crop import LineCrop, whole_picture
from nhin.reading.rotation import is_tall

ROOMY_HEIGHT, ROOMY_WIDTH = 0.7, 0.7
"""Shares of a crop's height and width; a line that takes less of either is taken in to its ink."""
_WORK_HEIGHT = 120
_MARGIN = 0.3
_MIN_GAP = 0.04
_MIN_HEIGHT = 12  # in a smaller crop what seems to be space around the line may be part of its letters
_MIN_BAND = 0.5
_MIN_ASPECT = 1.5
_LETTER = 0.5
_MIN_LETTERS = 3
_FALSE_INK = 0.004

Band = tuple[int, int]
"""The first row and the one after the last."""


def split_crop(picture: NDArray[np.uint8]) -> list[LineCrop]:
    """Return the lines of an RGB crop, from the top; a tall one is returned whole, as it may be rotated."""
    if is_tall(picture):
        return [whole_picture(picture)]
    bands = find_bands(picture)
    if len(bands) < 2:
        top, bottom = bands[0] if bands else (0, picture.shape[0])
        margin = round(_MARGIN * (bottom - top))
        line = _take_in(picture, max(0, top - margin), min(picture.shape[0], bottom + margin))
        shares = np.array(line.pixels.shape[:2]) / picture.shape[:2]
        is_roomy = shares[0] <= ROOMY_HEIGHT or shares[1] <= ROOMY_WIDTH
        is_clear = line.pixels.shape[0] >= _MIN_HEIGHT
        return [line if is_roomy and is_clear else whole_picture(picture)]
    middles = [(above[1] + below[0]) // 2 for above, below in pairwise(bands)]
    return [_take_in(picture, *edges) for edges in pairwise([0, *middles, picture.shape[0]])]


def find_bands(picture: NDArray[np.uint8]) -> list[Band]:
    """Return the rows of each line of a crop: of one unless it clearly holds several, of none if unclear."""
    found = find_ink(picture, _WORK_HEIGHT)
    if found is None:
        return []
    mask, pieces = found
    bands = _join_marks(_find_runs(mask.mean(axis=1) > _FALSE_INK))
    gaps = [below[0] - above[1] for above, below in pairwise(bands)]
    is_clear = all(gap >= _MIN_GAP * _WORK_HEIGHT for gap in gaps)
    if len(bands) > 1 and not (is_clear and all(_has_letters(band, pieces) for band in bands)):
        bands = [(bands[0][0], bands[-1][1])]
    scale = picture.shape[0] / _WORK_HEIGHT
    return [(int(top * scale), int(np.ceil(bottom * scale))) for top, bottom in bands]


def _find_runs(rows: NDArray[np.bool_]) -> list[Band]:
    edges = np.flatnonzero(np.diff(np.concatenate(([0], rows.astype(np.int8), [0]))))
    return [(int(top), int(bottom)) for top, bottom in zip(edges[::2], edges[1::2], strict=True)]


def _join_marks(bands: list[Band]) -> list[Band]:
    """Join each band that is low beside the highest to the one nearest to it."""
    bands = list(bands)
    while len(bands) > 1:
        heights = [bottom - top for top, bottom in bands]
        lowest = int(np.argmin(heights))
        if heights[lowest] >= _MIN_BAND * max(heights):
            break
        others = [i for i in (lowest - 1, lowest + 1) if 0 <= i < len(bands)]
        nearest = min(
            others, key=lambda i: max(bands[i][0], bands[lowest][0]) - min(bands[i][1], bands[lowest][1])
        )
        first = min(nearest, lowest)
        bands[first : first + 2] = [(bands[first][0], bands[first + 1][1])]
    return bands


def _has_letters(band: Band, pieces: NDArray) -> bool:
    """Return whether a band is a line: wider than high, of several letters."""
    x, _, wide, high, _ = pieces[(pieces[:, 1] >= band[0]) & (pieces[:, 1] + pieces[:, 3] <= band[1])].T
    if not len(x):
        return False
    height = band[1] - band[0]
    is_letter = high >= _LETTER * height
    return bool(is_letter.sum() >= _MIN_LETTERS and (x + wide).max() - x.min() >= _MIN_ASPECT * height)


def _take_in(picture: NDArray[np.uint8], top: int, bottom: int) -> LineCrop:
    """Return the rows of a line, without the space around its ink."""
    rows = picture[top:bottom]
    upper, lower, left, right = tight_box(rows) or (0, rows.shape[0], 0, rows.shape[1])
    return whole_picture(picture).trim(top + upper, top + lower, left, right)
