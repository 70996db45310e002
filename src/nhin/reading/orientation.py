"""One orientation for the lines of a page, before they are read.

The detector tells the direction of every line, but small letters look much alike upside down. So lines along
one axis take the direction that most of them have; and where the longest of them read badly, the other one is
tried.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from nhin.reading.line_shape import LineShape
from nhin.reading.result import Recognition
from nhin.reading.rotation import mean_confidence

_SHORT = 2.2  # heights: of a letter or two, the direction cannot be told
_LETTER = 0.3  # weight of a letter's direction
_PROBES, _MIN_PROBE = 4, 3.0  # lines that are tried, and their least length in heights
_SURE = 0.95  # mean confidence of a letter from which the direction is right
_BETTER = 0.02

ReadLines = Callable[[Sequence[LineShape]], list[Recognition]]
"""Reads lines as they are directed."""


def is_upright_axis(line: LineShape) -> bool:
    """Return whether a line runs down or up the picture."""
    return line.turn in (90, 270)


def align_directions(lines: Sequence[LineShape]) -> list[LineShape]:
    """Give the lines along each axis one direction; a letter or two stand as the page does."""
    if not lines:
        return []
    lengths = np.array([line.length for line in lines])
    across = np.array([is_upright_axis(line) for line in lines], bool)
    is_long = np.array([line.length >= _SHORT * line.height for line in lines])
    weights = lengths * [line.certainty for line in lines] * np.where(is_long, 1.0, _LETTER)
    page_runs_down = bool(weights[across].sum() > weights[~across].sum())
    out = list(lines)
    for axis in (False, True):
        own = [i for i in range(len(out)) if across[i] == axis and is_long[i]]
        forward = sum(weights[i] * (1 if out[i].turn in (0, 90) else -1) for i in own) >= 0
        for i in own:
            if (out[i].turn in (0, 90)) != forward:
                out[i] = out[i].reverse()
        if axis == page_runs_down:
            tilts = [out[i].angle for i in own]
            angle = _median_angle(tilts) if own else 90.0 * page_runs_down
            for i in np.flatnonzero(~is_long):
                out[i] = _point(out[i], angle)
    return out


def _median_angle(angles: Sequence[float]) -> float:
    """Return the median of angles in degrees that differ by less than a half turn."""
    return angles[0] + float(np.median([(angle - angles[0] + 180) % 360 - 180 for angle in angles]))


def _point(line: LineShape, degrees: float) -> LineShape:
    """Turn a short line about its middle into a direction."""
    middle, angle = (line.center[0] + line.center[-1]) / 2, np.radians(degrees)
    half = line.length / 2 * np.array([np.cos(angle), np.sin(angle)])
    return replace(line, center=np.stack([middle - half, middle + half]).astype(np.float32))


def settle_orientation(lines: Sequence[LineShape], read: ReadLines) -> list[LineShape]:
    """Return lines in the direction in which they read best, all along one axis the same.

    Args:
        lines: As ``align_directions`` gives them.
        read: Reads a few of them.
    """
    out = list(lines)
    for axis in (False, True):
        own = [i for i, line in enumerate(out) if is_upright_axis(line) == axis]
        long = [i for i in own if out[i].length >= _MIN_PROBE * out[i].height]
        probes = sorted(long, key=lambda i: -out[i].length / out[i].height)[:_PROBES]
        if not probes:
            continue
        first = _mean(read([out[i] for i in probes]))
        if first >= _SURE:
            continue
        if _mean(read([out[i].reverse() for i in probes])) > first + _BETTER:
            for i in own:
                out[i] = out[i].reverse()
    return out


def _mean(recognitions: Sequence[Recognition]) -> float:
    """Return the mean confidence of a letter, over all of them."""
    letters = sum(len(recognition.chars) for recognition in recognitions)
    total = sum(mean_confidence(recognition) * len(recognition.chars) for recognition in recognitions)
    return total / letters if letters else 0.0
