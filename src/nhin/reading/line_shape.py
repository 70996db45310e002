"""The shape of a detected line: a center line that may be curved, and the height of its capitals."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.float32]
"""n x 2, x and y in pixels."""


@dataclass(frozen=True, slots=True)
class LineShape:
    """A line of text.

    Args:
        center: At least two points along the middle of its capitals, n x 2, in the direction of reading.
        height: The height of capitals in pixels; marks and descenders reach beyond it.
        score: How sure the detector is that this is text, 0 to 1.
        certainty: How sure it is of the direction of reading, 0 to 1.
    """

    center: Points
    height: float
    score: float = 1.0
    certainty: float = 1.0

    @property
    def length(self) -> float:
        """The length along the center line, in pixels."""
        return float(np.hypot(*np.diff(self.center, axis=0).T).sum())

    @property
    def angle(self) -> float:
        """The direction of reading in degrees, clockwise from left to right, -180 to 180."""
        x, y = self.center[-1] - self.center[0]
        return float(np.degrees(np.arctan2(y, x)))

    @property
    def turn(self) -> int:
        """The nearest of 0, 90, 180 and 270 degrees clockwise."""
        return round(self.angle / 90) % 4 * 90

    @property
    def is_straight(self) -> bool:
        """Whether the center line has no bends."""
        return len(self.center) == 2

    def reverse(self) -> "LineShape":
        """Return the line read from its other end."""
        return replace(self, center=self.center[::-1].copy())

    def transform(self, scale: float, offset: Sequence[float] = (0.0, 0.0)) -> "LineShape":
        """Return the line in a picture that is ``scale`` times as large, moved by an offset."""
        center = self.center * np.float32(scale) + np.array(offset, np.float32)
        return replace(self, center=center.astype(np.float32), height=self.height * scale)

    def outline(self, above: float = 0.5, below: float = 0.5, beyond: float = 0.0) -> Points:
        """Return the outline (2n x 2, clockwise from the beginning of the top edge).

        Args:
            above: Reach above the center line, in heights.
            below: Reach below it.
            beyond: Reach beyond both ends.
        """
        steps = np.diff(self.center, axis=0)
        along = steps / np.maximum(np.hypot(*steps.T), 1e-6)[:, None]
        center = self.center.copy()
        center[0] -= along[0] * beyond * self.height
        center[-1] += along[-1] * beyond * self.height
        # At an inner point, the mean of both sides.
        sides = np.concatenate([along[:1], (along[:-1] + along[1:]) / 2, along[-1:]])
        down = np.stack([-sides[:, 1], sides[:, 0]], 1) * self.height
        return np.concatenate([center - above * down, (center + below * down)[::-1]]).astype(np.float32)


@dataclass(frozen=True, slots=True)
class Detection:
    """The lines of a picture, unordered, and whether some of it with small text was not searched."""

    lines: tuple[LineShape, ...]
    is_partial: bool = False
