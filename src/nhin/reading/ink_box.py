"""Find the box of a line's ink in its crop: letters that cross the middle, and marks apart from them.

A crop has room for the marks of Vietnamese letters, into which neighbors reach from above or below.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

from nhin.image.preprocess import ink_channel

_RIM = 0.07
_WORK_HEIGHT = 48
_EDGE_COLUMNS = 10
_BEFORE, _AFTER, _APART = 0.25, 0.35, 2.0
"""Room before and after a line, in heights of its ink; columns of the scaled crop to other ink."""
_ABOVE, _BELOW = 0.75, 0.6
_MAX_SIDE = 32_000

InkBox = tuple[int, int, int, int]


def tight_box(crop: NDArray[np.uint8]) -> InkBox | None:
    """Return the box (top, bottom, left, right) of a line's ink and a thin rim; None if unclear."""
    found = find_box_and_room(crop)
    return None if found is None else found[0]


def find_box_and_room(crop: NDArray[np.uint8]) -> tuple[InkBox, tuple[int, int]] | None:
    """Return the box of a line's ink, and the columns before and after it that no other ink stands in.

    They belong to the line: a full stop in a blurred picture is too faint to be told from paper here.
    """
    height, width = crop.shape[:2]
    found = find_ink(crop, _WORK_HEIGHT)
    if found is None:
        return None
    mask, components = found
    scale, columns = _WORK_HEIGHT / height, mask.shape[1]
    extent = _line_extent(components, columns)
    if extent is None or extent[3] - extent[1] < 0.3 * _WORK_HEIGHT:
        return None
    left, top, right, bottom = extent
    rim = _RIM * (bottom - top)
    step = width / columns
    first, last = max(0, int((left - 1.5 * rim) * step)), min(width, int(np.ceil((right + 1.5 * rim) * step)))
    begins, ends = components[:, 0], components[:, 0] + components[:, 2]
    before = max(left - _BEFORE * (bottom - top), ends[ends < left].max(initial=0) + _APART)
    after = min(right + _AFTER * (bottom - top), begins[begins > right].min(initial=columns) - _APART)
    return (
        (
            *(max(0, int((top - rim) / scale)), min(height, int(np.ceil((bottom + rim) / scale)))),
            *(first, last),
        ),
        (max(0, first - round(before * step)), max(0, round(after * step) - last)),
    )


def find_ink(crop: NDArray[np.uint8], work_height: int) -> tuple[NDArray[np.uint8], NDArray] | None:
    """Return the ink of a crop scaled to a height, and its connected components; None if unclear.

    The ink is 0 or 1; a component is left, top, width, height, area.
    """
    height, width = crop.shape[:2]
    scale = work_height / height
    size = (max(1, min(4 * _MAX_SIDE // _WORK_HEIGHT, round(width * scale))), work_height)
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    small = ink_channel(np.asarray(cv2.resize(crop, size, interpolation=method), np.uint8))
    _, mask = cv2.threshold(small, 0, 1, cv2.THRESH_BINARY | cv2.THRESH_OTSU)
    edge = np.concatenate([mask[:, 0], mask[:, -1], mask[0], mask[-1]])
    mask = np.asarray(mask if edge.mean() < 0.5 else 1 - mask, np.uint8)
    if not 0.02 < mask.mean() < 0.6:
        return None
    return mask, cv2.connectedComponentsWithStats(mask, connectivity=8)[2][1:]


def _line_extent(components: NDArray, width: int) -> tuple[int, int, int, int] | None:
    """Join the components (x, y, width, height, area) of the line; return left, top, right, bottom."""
    x, y, wide, high, area = components.T
    touches = (y == 0) | (y + high == _WORK_HEIGHT)
    # The border of a sign often runs through the margin beside the line.
    beside = touches & ((x + wide <= _EDGE_COLUMNS) | (x >= width - _EDGE_COLUMNS))
    crosses = (y < 0.6 * _WORK_HEIGHT) & (y + high > 0.4 * _WORK_HEIGHT) & ~beside
    if (crosses & touches).any():
        return None
    letters = (area >= 4) & crosses
    if not letters.any():
        return None
    core = np.median(high[letters])
    highest = y[letters].min() - _ABOVE * core
    lowest = (y + high)[letters].max() + _BELOW * core
    marks = (area >= 4) & ~touches & (y >= highest) & (y + high <= lowest)
    own = letters | marks
    x, y, wide, high = x[own], y[own], wide[own], high[own]
    return int(x.min()), int(y.min()), int((x + wide).max()), int((y + high).max())
