"""Crop a detected line: upright, straightened, and taken in to its ink; and map the result back."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from nhin.reading.ink_box import find_box_and_room
from nhin.reading.line_shape import LineShape, Points
from nhin.reading.result import Box, Char, Line, Recognition

_ABOVE, _BELOW, _BEYOND = 1.12, 1.0, 0.6
"""Reach of a crop from the center line and beyond its ends, in heights of capitals: room for marks."""
_PLAIN_ABOVE, _PLAIN_BELOW, _PLAIN_BEYOND = 0.85, 0.8, 0.15
"""The same where the ink cannot be told from what is behind it."""
_MAX_HEIGHT = 72.0
"""Height of capitals, in pixels of the crop, to which larger ones are reduced."""
_LEVEL = 0.12  # heights that a line may rise or fall in a crop that is cut without turning it
_MAX_SIDE = 32_000


@dataclass(frozen=True, slots=True)
class LineCrop:
    """One line, upright.

    Args:
        pixels: Its crop, H x W x 3.
        columns: Some columns of it, rising, the first 0 and the last W.
        top: Where their top ends are in the picture, n x 2.
        bottom: Where their bottom ends are.
        score: How sure the detector is that this is text, 0 to 1.
        ink: The columns between which the line's ink is, if there is room beside it.
    """

    pixels: NDArray[np.uint8]
    columns: NDArray[np.float64]
    top: NDArray[np.float64]
    bottom: NDArray[np.float64]
    score: float = 1.0
    ink: tuple[float, float] | None = None

    def box(self) -> Box:
        """Return the corners of the line in the picture."""
        return self.boxes([self.ink or (0.0, float(self.pixels.shape[1]))])[0]

    def boxes(self, spans: Sequence[tuple[float, float]]) -> list[Box]:
        """Return the corners in the picture of the columns of each span, from its left to its right."""
        ends = np.array(spans, np.float64).reshape(-1)
        high, low = (self._find(ends, edge).reshape(-1, 2, 2) for edge in (self.top, self.bottom))
        corners = np.round(np.concatenate([high, low[:, ::-1]], 1), 2).tolist()
        return [(tuple(a), tuple(b), tuple(c), tuple(d)) for a, b, c, d in corners]

    def trim(self, top: int, bottom: int, left: int, right: int) -> "LineCrop":
        """Return a part of the crop."""
        height = self.pixels.shape[0]
        inner = self.columns[(self.columns > left) & (self.columns < right)]
        columns = np.array([left, *inner, right], np.float64)
        high, low = (self._find(columns, edge) for edge in (self.top, self.bottom))
        first, last = (high + (low - high) * (at / height) for at in (top, bottom))
        pixels = np.ascontiguousarray(self.pixels[top:bottom, left:right])
        return LineCrop(pixels, columns - left, first, last, self.score)

    def rotate(self, degrees: int) -> "LineCrop":
        """Return the crop rotated clockwise by a multiple of 90 degrees; a curved one by 0 or 180."""
        if degrees % 360 == 0:
            return self
        width = self.pixels.shape[1]
        pixels = np.ascontiguousarray(np.rot90(self.pixels, -degrees // 90))
        if degrees % 360 == 180:
            ink = None if self.ink is None else (width - self.ink[1], width - self.ink[0])
            columns = (width - self.columns)[::-1]
            return LineCrop(pixels, columns, self.bottom[::-1], self.top[::-1], self.score, ink)
        corners = np.stack([self.top[0], self.top[-1], self.bottom[-1], self.bottom[0]])
        first, second, third, fourth = np.roll(corners, degrees // 90, axis=0)
        columns = np.array([0, pixels.shape[1]], np.float64)
        return LineCrop(pixels, columns, np.stack([first, second]), np.stack([fourth, third]), self.score)

    def _find(self, columns: NDArray | list[float], edge: NDArray) -> NDArray[np.float64]:
        return np.stack([np.interp(columns, self.columns, edge[:, axis]) for axis in (0, 1)], 1)


def locate_line(crop: LineCrop, recognition: Recognition) -> Line:
    """Map the recognition of a crop to the picture; boxes begin at the top left of the text."""
    if crop.ink and recognition.rotation:
        # The characters are measured along the other side.
        left, right = (round(end) for end in crop.ink)
        crop = crop.trim(0, crop.pixels.shape[0], left, right)
    crop = crop.rotate(recognition.rotation)
    boxes = crop.boxes([(char.left, char.right) for char in recognition.chars])
    chars = tuple(
        Char(char.text, char.confidence, box) for char, box in zip(recognition.chars, boxes, strict=True)
    )
    return Line(recognition.text, recognition.confidence, crop.box(), chars, recognition.alternatives)


def whole_picture(picture: NDArray[np.uint8]) -> LineCrop:
    """Return the whole picture as one line."""
    height, width = picture.shape[:2]
    top = np.array([[0, 0], [width, 0]], np.float64)
    return LineCrop(picture, np.array([0, width], np.float64), top, top + np.array([0, height]))


def crop_line(picture: NDArray[np.uint8], line: LineShape) -> LineCrop | None:
    """Cut out a line, taken in to its ink; None if it has no pixels."""
    cut = _straighten(picture, line)
    if cut is None:
        return None
    box, room = find_box_and_room(cut.pixels) or (None, (0, 0))
    if box is None:
        # No clear ink, as in a photograph's texture: the detector's line and a small margin.
        height, width = cut.pixels.shape[:2]
        unit = height / (_ABOVE + _BELOW)
        ends = round((_BEYOND - _PLAIN_BEYOND) * unit)
        middle = _ABOVE * unit
        box = round(middle - _PLAIN_ABOVE * unit), round(middle + _PLAIN_BELOW * unit), ends, width - ends
    if box[1] - box[0] < 2 or box[3] - box[2] < 2:
        return None
    top, bottom, left, right = box
    crop = cut.trim(top, bottom, left - room[0], right + room[1])
    return replace(crop, score=line.score, ink=(float(room[0]), float(room[0] + right - left)))


def _straighten(picture: NDArray[np.uint8], line: LineShape) -> LineCrop | None:
    """Return a line with the room around it that marks need, at the picture's scale or reduced."""
    scale = min(1.0, _MAX_HEIGHT / line.height)
    high = round((_ABOVE + _BELOW) * line.height * scale)
    wide = round((line.length + 2 * _BEYOND * line.height) * scale)
    if min(high, wide) < 3 or max(high, wide) > _MAX_SIDE:
        return None
    outline = line.outline(_ABOVE, _BELOW, _BEYOND)
    count = len(line.center)
    top, bottom = outline[:count], outline[count:][::-1]
    low = np.floor(outline.min(0)).astype(int) - 2
    high_end = np.ceil(outline.max(0)).astype(int) + 3
    low = np.maximum(low, 0)
    window = picture[low[1] : high_end[1], low[0] : high_end[0]]
    if window.size == 0 or max(window.shape) > _MAX_SIDE:
        return None
    if np.ptp(top[:, (line.turn // 90 + 1) % 2]) < _LEVEL * line.height:
        return _cut_turned(picture, line.turn, (top, bottom), (high, wide))
    if scale < 1:
        size = max(1, round(window.shape[1] * scale)), max(1, round(window.shape[0] * scale))
        reduced = np.asarray(cv2.resize(window, size, interpolation=cv2.INTER_AREA), np.uint8)
        ratio = np.array([size[0] / window.shape[1], size[1] / window.shape[0]])
    else:
        reduced, ratio = window, np.ones(2)
    columns = _measure(line, wide)
    # At a crop as large as the window: at least as many pixels as there are.
    source_top, source_bottom = ((edge - low) * ratio - 0.5 for edge in (top, bottom))
    at = np.arange(wide) + 0.5
    x1, y1, x2, y2 = (
        np.interp(at, columns, edge[:, axis]) for edge in (source_top, source_bottom) for axis in (0, 1)
    )
    share = ((np.arange(high) + 0.5) / high)[:, None]
    map_x = (x1 + (x2 - x1) * share).astype(np.float32)
    map_y = (y1 + (y2 - y1) * share).astype(np.float32)
    pixels = cv2.remap(reduced, map_x, map_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return LineCrop(np.asarray(pixels, np.uint8), columns, top.astype(np.float64), bottom.astype(np.float64))


def _measure(line: LineShape, wide: int) -> NDArray[np.float64]:
    """Return the columns of a crop at which the points of a line's center stand."""
    steps = np.hypot(*np.diff(line.center, axis=0).T).astype(np.float64)
    steps[0] += _BEYOND * line.height
    steps[-1] += _BEYOND * line.height
    total = np.concatenate([[0.0], steps.cumsum()])
    return total / total[-1] * wide


def _cut_turned(
    picture: NDArray[np.uint8], turn: int, edges: tuple[Points, Points], shape: tuple[int, int]
) -> LineCrop | None:
    """Cut out a line that is level once its picture is turned back by a multiple of 90 degrees."""
    height, width = picture.shape[:2]
    # From the turned picture to the given one: x, y = turned @ axes + origin.
    axes, origin = {
        0: (((1, 0), (0, 1)), (0, 0)),
        90: (((0, 1), (-1, 0)), (width, 0)),
        180: (((-1, 0), (0, -1)), (width, height)),
        270: (((0, -1), (1, 0)), (0, height)),
    }[turn]
    back = np.array(axes, np.float64)
    top, bottom = (((edge - origin) @ back.T).astype(np.float32) for edge in edges)
    cut = _cut_level(np.rot90(picture, turn // 90), top, bottom, shape)
    if cut is None or turn == 0:
        return cut
    return replace(cut, top=cut.top @ back + origin, bottom=cut.bottom @ back + origin)


def _cut_level(
    picture: NDArray[np.uint8], top: Points, bottom: Points, shape: tuple[int, int]
) -> LineCrop | None:
    """Cut out a level line as a part of the picture, whose pixels stay as they are."""
    height, width = picture.shape[:2]
    left, right = (int(np.clip(round(float(x)), 0, width)) for x in (top[:, 0].min(), top[:, 0].max()))
    high, low = (int(np.clip(round(float(edge[:, 1].mean())), 0, height)) for edge in (top, bottom))
    pixels = picture[high:low, left:right]
    if min(pixels.shape[:2]) < 3:
        return None
    corners = np.array([[left, high], [right, high]], np.float64)
    if shape[0] < 0.75 * (low - high):
        ratio = shape[0] / (low - high)
        size = max(3, round((right - left) * ratio)), max(3, shape[0])
        pixels = np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), np.uint8)
    columns = np.array([0, pixels.shape[1]], np.float64)
    return LineCrop(np.ascontiguousarray(pixels), columns, corners, corners + np.array([0, low - high]))
