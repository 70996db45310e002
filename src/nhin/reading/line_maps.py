"""From the maps of the detector to the shapes of lines.

Each connected core is one line. Its pixels, weighted by their probability, give the center line: straight,
or through the means of pieces as long as the line is high.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

from nhin.image.detector_maps import CORE_STRIDE, END_SHARE, UNIT_HEIGHT
from nhin.reading.line_shape import LineShape

MIN_SCORE = 0.6
_CORE, _MIN_AREA = 0.5, 4
_STRAIGHT = 0.1  # heights that the means of pieces of a straight line stray from it
_MAX_PIECES = 64
_MERGED, _STEP = 0.27, 0.12
"""Spread across a core, in heights, of two lines that touch (one has 0.17); steps of the threshold."""

Maps = NDArray[np.float32]


def find_lines(cores: Maps, fields: Maps) -> list[LineShape]:
    """Return the lines in the maps of a picture, in pixels of the picture.

    Args:
        cores: Probability that a pixel belongs to the middle of a line, rows x columns, at ``CORE_STRIDE``.
        fields: log2 of the height in ``UNIT_HEIGHT``, direction (x, y), probability of text too small to be
            read; 4 x rows x columns, at ``FIELD_STRIDE``.
    """
    return _find_in(cores > _CORE, (0, 0), (cores, fields), _CORE)


def _find_in(
    mask: NDArray[np.bool_], origin: tuple[int, int], maps: tuple[Maps, Maps], threshold: float
) -> list[LineShape]:
    """Return the lines in a part of the maps that begins at a row and a column.

    A core that is much too high is two lines that touch: it is looked at again above a higher threshold.
    """
    cores, fields = maps
    count, labels, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=4)
    lines: list[LineShape] = []
    for number in range(1, count):
        left, top, wide, high, area = stats[number].tolist()
        if area < _MIN_AREA:
            continue
        own = labels[top : top + high, left : left + wide] == number
        top, left = top + origin[0], left + origin[1]
        window = cores[top : top + high, left : left + wide]
        y, x = np.nonzero(own)
        weights = window[y, x].astype(np.float64)
        if weights.mean() < MIN_SCORE:
            continue
        values = fields[:3, (y + top) // 2, (x + left) // 2] @ (weights / weights.sum())
        points = np.stack([x + left + 0.5, y + top + 0.5], 1) * CORE_STRIDE
        line, spread = _trace_line(points, weights, values)
        higher = threshold + _STEP
        if line is not None and spread > _MERGED * line.height and higher < 1:
            parts = _find_in(own & (window > higher), (top, left), maps, higher)
            if len(parts) > 1:
                lines += parts
                continue
        if line is not None:
            lines.append(line)
    return lines


def _trace_line(points: NDArray, weights: NDArray, values: NDArray) -> tuple[LineShape | None, float]:
    """Return the line of one core from its pixels (n x 2), their weights and its mean fields.

    The second value is the standard deviation of the pixels across the line, in pixels of the picture.
    """
    height = float(UNIT_HEIGHT * 2.0 ** float(np.clip(values[0], -4, 6)))
    certainty = float(np.hypot(values[1], values[2]))
    if certainty < 1e-3:
        return None, 0.0
    along = values[1:3] / certainty
    middle = weights @ points / weights.sum()
    along = _fit_axis(points - middle, weights, along, height)
    down = np.array([-along[1], along[0]])
    t, n = (points - middle) @ along, (points - middle) @ down
    ends = np.array([t.min() - CORE_STRIDE / 2, t.max() + CORE_STRIDE / 2])
    beyond = END_SHARE * height
    pieces = int(np.clip((ends[1] - ends[0]) / height, 1, _MAX_PIECES))
    bins = np.minimum((pieces * (t - ends[0]) / (ends[1] - ends[0])).astype(int), pieces - 1)
    mass = np.bincount(bins, weights, pieces)
    is_known = pieces >= 3 and bool(mass.all())
    bent = np.bincount(bins, weights * n, pieces) / mass if is_known else np.zeros(pieces)
    spread = float(np.sqrt(weights @ (n - bent[bins]) ** 2 / weights.sum()))
    at, offset = ends + np.array([-beyond, beyond]), np.zeros(2)
    if np.abs(bent).max() > max(_STRAIGHT * height, 1.25 * CORE_STRIDE):
        at, offset = _bend(ends, at, bent)
    center = middle + at[:, None] * along + offset[:, None] * down
    return LineShape(center.astype(np.float32), height, float(weights.mean()), min(1.0, certainty)), spread


def _bend(ends: NDArray, at: NDArray, bent: NDArray) -> tuple[NDArray, NDArray]:
    """Return the places along a curved line, and how far it strays there from a straight one.

    Args:
        ends: Where the core begins and ends.
        at: Where the line does, somewhat beyond.
        bent: How far pieces of the core stray.
    """
    steps = (np.arange(len(bent)) + 0.5) / len(bent) * (ends[1] - ends[0]) + ends[0]
    smooth = np.convolve(np.pad(bent, 1, mode="reflect", reflect_type="odd"), [0.25, 0.5, 0.25], "valid")
    slopes = np.diff(smooth)[[0, -1]] / (steps[1] - steps[0])
    outer = smooth[[0, -1]] + slopes * (at - steps[[0, -1]])
    return np.concatenate([at[:1], steps, at[1:]]), np.concatenate([outer[:1], smooth, outer[1:]])


def _fit_axis(points: NDArray, weights: NDArray, along: NDArray, height: float) -> NDArray:
    """Return the axis along which the pixels of a core lie, in the direction of ``along``; or ``along``."""
    covariance = (points * weights[:, None]).T @ points / weights.sum()
    values, vectors = np.linalg.eigh(covariance)
    axis = vectors[:, 1]
    dot = float(axis @ along)
    if values[1] < max(4 * values[0], (0.6 * height) ** 2) or abs(dot) < 0.5:
        return along
    return axis if dot > 0 else -axis
