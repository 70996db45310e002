"""The order a person reads lines in: columns, then rows from the top, then left to right.

The recursive X-Y cut (Nagy & Seth 1984), on boxes turned level first, so that a page photographed at an
angle still falls apart along its gaps. A gap between columns is one only when the lines beside it
are paragraphs: a menu's dishes and prices, level with each other, are read across.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from nhin.reading.detect import Quad

_SAME_ROW = 0.5
_COLUMN_GAP = 0.8
_LONG = 6.0
_LEVEL = 0.7

Extents = NDArray[np.float64]
"""Boxes, N x 4: left, top, right, bottom."""


def reading_order(quads: Sequence[Quad]) -> list[int]:
    """Return the indices of line boxes (each 4 x 2, clockwise from top left) in reading order."""
    if not len(quads):
        return []
    boxes = _level(np.stack([np.asarray(quad, np.float64) for quad in quads]))
    return _cut(boxes, np.arange(len(boxes)))


def _level(quads: NDArray[np.float64]) -> Extents:
    """Turn the boxes by the slope that long lines share, then keep their extents."""
    across = quads[:, 1] - quads[:, 0]
    long = np.hypot(*across.T) > 2 * np.hypot(*(quads[:, 3] - quads[:, 0]).T)
    slopes = np.arctan2(across[:, 1], across[:, 0])[long]
    angle = float(np.median(slopes)) if len(slopes) else 0.0
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    level = quads @ turn
    return np.concatenate([level.min(axis=1), level.max(axis=1)], axis=1)


def _cut(boxes: Extents, chosen: NDArray[np.int64]) -> list[int]:
    """Split at a gap between columns, else at the widest gap between rows, else read row by row."""
    if len(chosen) < 2:
        return chosen.tolist()
    here = boxes[chosen]
    height = float(np.median(here[:, 3] - here[:, 1]))
    for at in _gaps(here[:, 0], here[:, 2], _COLUMN_GAP * height):
        left = here[:, 2] <= at
        if _columns(here[left], here[~left]):
            return _cut(boxes, chosen[left]) + _cut(boxes, chosen[~left])
    for at in _gaps(here[:, 1], here[:, 3], 0.0)[:1]:
        above = here[:, 3] <= at
        return _cut(boxes, chosen[above]) + _cut(boxes, chosen[~above])
    return [int(chosen[i]) for row in _rows(here) for i in row]


def _gaps(starts: NDArray[np.float64], ends: NDArray[np.float64], least: float) -> list[float]:
    """List places no box covers, the widest first; each is the end of the boxes before it."""
    order = np.argsort(starts)
    reach = np.maximum.accumulate(ends[order])[:-1]
    width = starts[order][1:] - reach
    wide = np.flatnonzero(width > least)
    return [float(reach[i]) for i in wide[np.argsort(-width[wide], kind="stable")]]


def _columns(left: Extents, right: Extents) -> bool:
    """Tell whether two sides are columns, each read to its end, and not cells of the same rows."""
    few, many = sorted((left, right), key=len)
    if len(few) < 2:
        return False
    overlap = np.minimum(few[:, None, 3], many[None, :, 3]) - np.maximum(few[:, None, 1], many[None, :, 1])
    low = np.minimum((few[:, 3] - few[:, 1])[:, None], (many[:, 3] - many[:, 1])[None, :])
    level = ((overlap / low).max(axis=1) > _LEVEL).mean()
    if level <= 0.5:
        return True
    return min(_length(left), _length(right)) >= _LONG and len(few) >= 3


def _length(boxes: Extents) -> float:
    """Return how long the lines are for their height, in the middle of them all."""
    return float(np.median((boxes[:, 2] - boxes[:, 0]) / np.maximum(boxes[:, 3] - boxes[:, 1], 1e-6)))


def _rows(boxes: Extents) -> list[list[int]]:
    """Group boxes that stand beside each other; rows from the top, each from the left."""
    rows: list[list[int]] = []
    for i in np.argsort((boxes[:, 1] + boxes[:, 3]) / 2, kind="stable").tolist():
        if rows and _beside(boxes[rows[-1]], boxes[i]):
            rows[-1].append(i)
        else:
            rows.append([i])
    return [sorted(row, key=lambda i: (boxes[i, 0], i)) for row in rows]


def _beside(row: Extents, box: NDArray[np.float64]) -> bool:
    """Tell whether a box shares half its height with the row, and no place with any of it."""
    middle = (float(np.median(row[:, 1])), float(np.median(row[:, 3])))
    shared = min(middle[1], box[3]) - max(middle[0], box[1])
    apart = (row[:, 2] <= box[0] + 0.3 * (box[2] - box[0])) | (row[:, 0] >= box[2] - 0.3 * (box[2] - box[0]))
    return bool(shared > _SAME_ROW * min(middle[1] - middle[0], box[3] - box[1]) and apart.all())
