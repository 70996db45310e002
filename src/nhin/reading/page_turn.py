"""How a page stands turned, from the directions of its lines; and its lines' boxes on the upright page."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nhin.reading.result import Line

_BINS = 72
_NEAR = 22.5
_SHORT = 1.5
_FEW_LETTERS = 2


@dataclass(frozen=True, slots=True)
class PlacedLine:
    """A line and its extent on the upright page, in pixels."""

    line: Line
    left: float
    top: float
    right: float
    bottom: float

    @property
    def height(self) -> float:
        """The height of the box."""
        return self.bottom - self.top

    @property
    def width(self) -> float:
        """The width of the box."""
        return self.right - self.left

    @property
    def middle(self) -> float:
        """Where the middle of the box lies, from the top of the page."""
        return (self.top + self.bottom) / 2


def split_by_turn(lines: Sequence[Line]) -> list[tuple[int, list[PlacedLine]]]:
    """Return turns (0, 90, 180, 270 degrees clockwise), each with its lines upright and level.

    The first is the page's: the direction that the most letters have. Lines in other directions follow,
    those with more letters first; each group is leveled by its own median angle.
    """
    if not lines:
        return []
    boxes = np.array([line.box for line in lines], np.float64)
    letters = np.array([sum(not char.isspace() for char in line.text) for line in lines])
    angles, weights = _measure_directions(boxes, letters)
    page = _dominant_angle(angles, weights)
    quarters = np.round(_wrap(angles - page) / 90).astype(int) % 4
    # The direction of a letter or two is often misjudged: they stand as the page does.
    for i in np.flatnonzero(letters <= _FEW_LETTERS):
        boxes[i], quarters[i] = np.roll(boxes[i], quarters[i], axis=0), 0
    angles, weights = _measure_directions(boxes, letters)
    votes = {quarter: weights[quarters == quarter].sum() for quarter in range(4)}
    groups = []
    for quarter in sorted(range(4), key=lambda q: (q > 0, -votes[q])):
        own = np.flatnonzero(quarters == quarter).tolist()
        if own:
            start = page + 90 * quarter
            angle = start + weighted_median(_wrap(angles[own] - start), weights[own])
            turn = round(angle / 90) * 90 % 360
            groups.append((turn, _place(boxes[own], angle, [lines[i] for i in own])))
    return groups


def _measure_directions(
    boxes: NDArray[np.float64], letters: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return each line's direction in degrees, clockwise from rightwards, and its vote, its letters.

    A letter or two, or a box hardly longer than high, tell little of the direction: they count a hundredth.
    """
    across = boxes[:, 1] - boxes[:, 0] + boxes[:, 2] - boxes[:, 3]
    down = boxes[:, 3] - boxes[:, 0] + boxes[:, 2] - boxes[:, 1]
    angles = np.degrees(np.arctan2(across[:, 1], across[:, 0]))
    is_short = (np.hypot(*across.T) < _SHORT * np.hypot(*down.T)) | (letters <= _FEW_LETTERS)
    return angles, np.maximum(letters, 0.01) * np.where(is_short, 0.01, 1.0)


def _dominant_angle(angles: NDArray[np.float64], weights: NDArray[np.float64]) -> float:
    """Return the weighted median of the angles near the direction with the most weight."""
    width = 360 / _BINS
    bins = (np.floor(angles / width).astype(int)) % _BINS
    votes = np.bincount(bins, weights, _BINS)
    near = int(_NEAR // width)
    window = sum(np.roll(votes, shift) for shift in range(-near, near + 1))
    center = (int(np.argmax(window)) + 0.5) * width
    offsets = _wrap(angles - center)
    own = np.abs(offsets) <= 45
    return center + weighted_median(offsets[own], weights[own])


def weighted_median(values: NDArray[np.float64], weights: NDArray[np.float64]) -> float:
    """Return the value with half of the weight on either side."""
    order = np.argsort(values, kind="stable")
    total = np.cumsum(weights[order])
    return float(values[order][np.searchsorted(total, total[-1] / 2)])


def _wrap(degrees: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return angles from -180 up to 180 degrees."""
    return (degrees + 180) % 360 - 180


def _place(boxes: NDArray[np.float64], angle: float, lines: Sequence[Line]) -> list[PlacedLine]:
    """Turn boxes back by an angle; a line that is still askew keeps its own height around its center."""
    cos, sin = np.cos(np.radians(angle)), np.sin(np.radians(angle))
    level = boxes @ np.array([[cos, -sin], [sin, cos]])
    sides = np.hypot(*np.moveaxis(np.roll(level, -1, axis=1) - level, 2, 0))
    half = np.stack([sides[:, 0] + sides[:, 2], sides[:, 1] + sides[:, 3]], axis=1) / 4
    half, center = np.maximum(half, 1e-3), level.mean(axis=1)
    extents = np.concatenate([center - half, center + half], axis=1).tolist()
    return [PlacedLine(line, *extent) for line, extent in zip(lines, extents, strict=True)]
