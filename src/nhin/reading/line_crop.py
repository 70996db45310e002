"""From a box found in a picture to the upright crop of one line, and back.

The detector learned from scripts without tone marks: its boxes cut ``Ẫ`` above and ``Ộ`` below in
some fonts and stand far off in others. So a line is cut out with room to spare, then taken in to the
ink that belongs to it: letters that cross the middle, marks that float free, not the neighbours that
enter through the upper or lower edge.
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
    """One line, upright: its crop (H x W x 3) and the 3 x 3 map from crop to picture pixels."""

    pixels: NDArray[np.uint8]
    to_picture: NDArray[np.float64]

    def box(self, left: float | None = None, right: float | None = None) -> Box:
        """Return the corners, in the picture, of the columns from left to right; all by default."""
        height, width = self.pixels.shape[:2]
        left, right = 0.0 if left is None else left, float(width) if right is None else right
        corners = np.array([[left, 0, 1], [right, 0, 1], [right, height, 1], [left, height, 1]], np.float64)
        mapped = corners @ self.to_picture.T
        points = np.round(mapped[:, :2] / mapped[:, 2:], 2).tolist()
        return tuple((x, y) for x, y in points)  # pyright: ignore[reportReturnType]

    def rotate(self, degrees: int) -> "LineCrop":
        """Return the strip turned clockwise by 0, 90 or -90 degrees, still knowing where it came from."""
        height, width = self.pixels.shape[:2]
        if degrees == 90:
            turn = np.array([[0, 1, 0], [-1, 0, height], [0, 0, 1]], np.float64)
        elif degrees == -90:
            turn = np.array([[0, -1, width], [1, 0, 0], [0, 0, 1]], np.float64)
        else:
            return self
        return LineCrop(np.rot90(self.pixels, -degrees // 90), self.to_picture @ turn)


def whole_picture(picture: NDArray[np.uint8]) -> LineCrop:
    """Take the whole picture as one line."""
    return LineCrop(picture, np.eye(3))


def crop_line(picture: NDArray[np.uint8], quad: Quad) -> LineCrop | None:
    """Cut the line in a box out of a picture, straightened and taken in to its ink.

    A box taller than wide stays upright: its text may be turned, and the recogniser tries its views.

    Returns:
        The strip, or None where the box has no pixels of the picture.
    """
    strip = _rectify(picture, enlarge_box(quad, _WIDTH_MARGIN, _HEIGHT_MARGIN))
    if strip is None:
        return None
    height, width = strip.pixels.shape[:2]
    frame = (
        tight_box(strip.pixels)
        if height <= TALL * width
        else _swap_axes(tight_box(strip.pixels.swapaxes(0, 1)))
    )
    if frame is None:
        # No clear ink: a photograph's texture. Fall back to what the detector says, and a little more.
        spare = (_HEIGHT_MARGIN - _FALLBACK_MARGIN) * min(height, width) / (1 + 2 * _HEIGHT_MARGIN)
        down, across = (spare, 0.0) if height <= TALL * width else (0.0, spare)
        frame = (round(down), round(height - down), round(across), round(width - across))
    top, bottom, left, right = frame
    shift = np.array([[1, 0, left], [0, 1, top], [0, 0, 1]], np.float64)
    return LineCrop(np.ascontiguousarray(strip.pixels[top:bottom, left:right]), strip.to_picture @ shift)


def locate_line(crop: LineCrop, recognition: Recognition) -> Line:
    """Put what was read in a strip where it stood in the picture; boxes begin at the text's top left."""
    crop = crop.rotate(recognition.rotation)
    chars = tuple(Char(c.text, c.confidence, crop.box(c.left, c.right)) for c in recognition.chars)
    return Line(recognition.text, recognition.confidence, crop.box(), chars)


def tight_box(crop: NDArray[np.uint8]) -> tuple[int, int, int, int] | None:
    """Find the rows and columns (top, bottom, left, right) of the ink of the line in a crop.

    Returns:
        The frame with a thin rim around the ink, or None where ink and paper cannot be told apart.
    """
    height, width = crop.shape[:2]
    scale = _WORK_HEIGHT / height
    seen = (max(1, min(4 * _MAX_SIDE // _WORK_HEIGHT, round(width * scale))), _WORK_HEIGHT)
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    small = ink_channel(np.asarray(cv2.resize(crop, seen, interpolation=method), np.uint8))
    _, mask = cv2.threshold(small, 0, 1, cv2.THRESH_BINARY | cv2.THRESH_OTSU)
    edge = np.concatenate([mask[:, 0], mask[:, -1], mask[0], mask[-1]])
    mask = mask if edge.mean() < 0.5 else 1 - mask
    if not 0.02 < mask.mean() < 0.6:
        return None
    own = _line_extent(
        cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)[2][1:], seen[0]
    )
    if own is None:
        return None
    left, top, right, bottom = own
    if bottom - top < 0.3 * _WORK_HEIGHT:
        return None
    rim = _RIM * (bottom - top)
    step = width / seen[0]
    return (
        *(max(0, int((top - rim) / scale)), min(height, int(np.ceil((bottom + rim) / scale)))),
        *(max(0, int((left - 1.5 * rim) * step)), min(width, int(np.ceil((right + 1.5 * rim) * step)))),
    )


def _line_extent(parts: NDArray, width: int) -> tuple[int, int, int, int] | None:
    """Join the parts (x, y, width, height, area) that belong to the line: left, top, right, bottom."""
    x, y, wide, high, area = parts.T
    touches = (y == 0) | (y + high == _WORK_HEIGHT)
    # The rim of a sign often runs through the room beside the line.
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


def _swap_axes(frame: tuple[int, int, int, int] | None) -> tuple[int, int, int, int] | None:
    return None if frame is None else (frame[2], frame[3], frame[0], frame[1])


def _rectify(picture: NDArray[np.uint8], quad: Quad) -> LineCrop | None:
    """Warp a box to an upright crop at the picture's own scale; the edge repeats beyond the picture."""
    low = np.clip(np.floor(quad.min(axis=0)).astype(int) - 2, 0, None)
    high = np.ceil(quad.max(axis=0)).astype(int) + 3
    window = picture[low[1] : high[1], low[0] : high[0]]
    sides = np.hypot(*(np.roll(quad, -1, axis=0) - quad).T)
    width, height = round(float(sides[0] + sides[2]) / 2), round(float(sides[1] + sides[3]) / 2)
    if window.size == 0 or min(width, height) < 2 or max(*window.shape, width, height) > _MAX_SIDE:
        return None
    target = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float32)
    there = cv2.getPerspectiveTransform((quad - low).astype(np.float32), target)
    pixels = cv2.warpPerspective(window, there, (width, height), borderMode=cv2.BORDER_REPLICATE)
    back = np.array([[1, 0, low[0]], [0, 1, low[1]], [0, 0, 1]], np.float64) @ np.linalg.inv(there)
    return LineCrop(np.asarray(pixels, np.uint8), back)
