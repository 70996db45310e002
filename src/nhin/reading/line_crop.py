"""Crop a detected line upright, and map the result back to the picture.

The detector was trained on scripts without tone marks: in some fonts its boxes cut ``Ẫ`` at the top and ``Ộ``
at the bottom, in others they are too large. So a line is cropped with a margin, then trimmed to its ink:
letters that cross the middle and marks apart from them, but no neighbors that enter from above or below.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from nhin.image.preprocess import ink_channel
from nhin.reading.detector import Quad, enlarge_box
from nhin.reading.result import Box, Char, Line, Recognition

TALL = 1.5
_HEIGHT_MARGIN = 0.22
_WIDTH_MARGIN = 0.16
_FALLBACK_MARGIN = 0.02
_RIM = 0.07
_WORK_HEIGHT = 48
_EDGE_COLUMNS = 10
_ABOVE, _BELOW = 0.75, 0.4
_MAX_SIDE = 32_000


@dataclass(frozen=True, slots=True)
class LineCrop:
    """One line, upright: its crop (H x W x 3) and the 3 x 3 transform from crop to picture pixels."""

    pixels: NDArray[np.uint8]
    to_picture: NDArray[np.float64]

    def box(self, left: float | None = None, right: float | None = None) -> Box:
        """Return the corners in the picture of the columns from ``left`` to ``right``; by default of all."""
        height, width = self.pixels.shape[:2]
        left, right = 0.0 if left is None else left, float(width) if right is None else right
        corners = np.array([[left, 0, 1], [right, 0, 1], [right, height, 1], [left, height, 1]], np.float64)
        mapped = corners @ self.to_picture.T
        points = np.round(mapped[:, :2] / mapped[:, 2:], 2).tolist()
        return tuple((x, y) for x, y in points)  # pyright: ignore[reportReturnType]

    def rotate(self, degrees: int) -> "LineCrop":
        """Return the crop rotated clockwise by 0, 90 or -90 degrees, with its transform."""
        height, width = self.pixels.shape[:2]
        if degrees == 0:
            return self
        back = [[0, 1, 0], [-1, 0, height]] if degrees == 90 else [[0, -1, width], [1, 0, 0]]
        transform = self.to_picture @ np.array([*back, [0, 0, 1]], np.float64)
        return LineCrop(np.rot90(self.pixels, -degrees // 90), transform)


def whole_picture(picture: NDArray[np.uint8]) -> LineCrop:
    """Return the whole picture as one line."""
    return LineCrop(picture, np.eye(3))


def crop_line(picture: NDArray[np.uint8], quad: Quad) -> LineCrop | None:
    """Crop the line in a box, upright and trimmed to its ink; None if the box has no pixels.

    A box taller than wide stays so: its text may be rotated, which the recognizer tries.
    """
    crop = _rectify(picture, enlarge_box(quad, _WIDTH_MARGIN, _HEIGHT_MARGIN))
    if crop is None:
        return None
    height, width = crop.pixels.shape[:2]
    is_tall = height > TALL * width
    box = tight_box(crop.pixels.swapaxes(0, 1) if is_tall else crop.pixels)
    if box is None:
        # No clear ink, as in a photograph's texture: the detector's box and a small margin.
        trim = (_HEIGHT_MARGIN - _FALLBACK_MARGIN) * min(height, width) / (1 + 2 * _HEIGHT_MARGIN)
        y, x = (0.0, trim) if is_tall else (trim, 0.0)
        top, bottom, left, right = round(y), round(height - y), round(x), round(width - x)
    else:
        top, bottom, left, right = (*box[2:], *box[:2]) if is_tall else box
    shift = np.array([[1, 0, left], [0, 1, top], [0, 0, 1]], np.float64)
    return LineCrop(np.ascontiguousarray(crop.pixels[top:bottom, left:right]), crop.to_picture @ shift)


def locate_line(crop: LineCrop, recognition: Recognition) -> Line:
    """Map the recognition of a crop to the picture; boxes begin at the top left of the text."""
    crop = crop.rotate(recognition.rotation)
    chars = tuple(Char(c.text, c.confidence, crop.box(c.left, c.right)) for c in recognition.chars)
    return Line(recognition.text, recognition.confidence, crop.box(), chars, recognition.alternatives)


def tight_box(crop: NDArray[np.uint8]) -> tuple[int, int, int, int] | None:
    """Return the box (top, bottom, left, right) of a line's ink and a thin rim; None if unclear."""
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
    return (
        *(max(0, int((top - rim) / scale)), min(height, int(np.ceil((bottom + rim) / scale)))),
        *(max(0, int((left - 1.5 * rim) * step)), min(width, int(np.ceil((right + 1.5 * rim) * step)))),
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


def _rectify(picture: NDArray[np.uint8], quad: Quad) -> LineCrop | None:
    """Warp a box to an upright crop at the picture's scale; outside the picture its edge is repeated."""
    low = np.clip(np.floor(quad.min(axis=0)).astype(int) - 2, 0, None)
    high = np.ceil(quad.max(axis=0)).astype(int) + 3
    window = picture[low[1] : high[1], low[0] : high[0]]
    sides = np.hypot(*(np.roll(quad, -1, axis=0) - quad).T)
    width, height = round(float(sides[0] + sides[2]) / 2), round(float(sides[1] + sides[3]) / 2)
    if window.size == 0 or min(width, height) < 2 or max(*window.shape, width, height) > _MAX_SIDE:
        return None
    target = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float32)
    transform = cv2.getPerspectiveTransform((quad - low).astype(np.float32), target)
    pixels = cv2.warpPerspective(window, transform, (width, height), borderMode=cv2.BORDER_REPLICATE)
    back = np.array([[1, 0, low[0]], [0, 1, low[1]], [0, 0, 1]], np.float64) @ np.linalg.inv(transform)
    return LineCrop(np.asarray(pixels, np.uint8), back)
