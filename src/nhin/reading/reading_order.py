"""The order a person reads lines in: columns, then rows from the top, then left to right.

The recursive X-Y cut (Nagy & Seth 1984), on boxes turned level first, so that a page photographed at an
angle still falls apart along its gaps. A gap between columns is one only when the lines beside it
are paragraphs: a menu's dishes and prices, level with each other, are read across.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from nhin.reading.detector import Quad

_SAME_ROW = 0.5
_COLUMN_GAP = 0.8
_MIN_LINE_ASPECT = 6.0
_ALIGNED_SHARE = 0.7

Extents = NDArray[np.float64]
"""Boxes, N x 4: left, top, right, bottom."""


def reading_order(quads: Sequence[Quad]) -> list[int]:
    """Return the indices of line boxes (each 4 x 2, clockwise from top left) in reading order."""
    if not len(quads):
        return []
    boxes = _deskew(np.stack([np.asarray(quad, np.float64) for quad in quads]))
    return _xy_cut(boxes, np.arange(len(boxes)))


def _deskew(quads: NDArray[np.float64]) -> Extents:
    """Turn the boxes by the slope that long lines share, then keep their extents."""
    across = quads[:, 1] - quads[:, 0]
    long = np.hypot(*across.T) > 2 * np.hypot(*(quads[:, 3] - quads[:, 0]).T)
    slopes = np.arctan2(across[:, 1], across[:, 0])[long]
    angle = float(np.median(slopes)) if len(slopes) else 0.0
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    level = quads @ turn
    return np.concatenate([level.min(axis=1), level.max(axis=1)], axis=1)


def _xy_cut(boxes: Extents, indices: NDArray[np.int64]) -> list[int]:
    """Split at a gap between columns, else at the widest gap between rows, else read row by row."""
    if len(indices) < 2:
        return indices.tolist()
    here = boxes[indices]
    height = float(np.median(here[:, 3] - here[:, 1]))
    for at in _find_gaps(here[:, 0], here[:, 2], _COLUMN_GAP * height):
        left = here[:, 2] <= at
        if _are_columns(here[left], here[~left]):
            return _xy_cut(boxes, indices[left]) + _xy_cut(boxes, indices[~left])
    for at in _find_gaps(here[:, 1], here[:, 3], 0.0)[:1]:
        above = here[:, 3] <= at
        return _xy_cut(boxes, indices[above]) + _xy_cut(boxes, indices[~above])
    return [int(indices[i]) for row in _group_rows(here) for i in row]


def _find_gaps(starts: NDArray[np.float64], ends: NDArray[np.float64], min_width: float) -> list[float]:
    """List places no box covers, the widest first; each is the end of the boxes before it."""
    order = np.argsort(starts)
    reach = np.maximum.accumulate(ends[order])[:-1]
    width = starts[order][1:] - reach
    wide = np.flatnonzero(width > min_width)
    return [float(reach[i]) for i in wide[np.argsort(-width[wide], kind="stable")]]


def _are_columns(left: Extents, right: Extents) -> bool:
    """Tell whether two sides are columns, each read to its end, and not cells of the same rows."""
    few, many = sorted((left, right), key=len)
    if len(few) < 2:
        return False
    overlap = np.minimum(few[:, None, 3], many[None, :, 3]) - np.maximum(few[:, None, 1], many[None, :, 1])
    low = np.minimum((few[:, 3] - few[:, 1])[:, None], (many[:, 3] - many[:, 1])[None, :])
    level = ((overlap / low).max(axis=1) > _ALIGNED_SHARE).mean()
    if level <= 0.5:
        return True
    return min(_median_aspect(left), _median_aspect(right)) >= _MIN_LINE_ASPECT and len(few) >= 3


def _median_aspect(boxes: Extents) -> float:
    """Return how long the lines are for their height, in the middle of them all."""
    return float(np.median((boxes[:, 2] - boxes[:, 0]) / np.maximum(boxes[:, 3] - boxes[:, 1], 1e-6)))


def _group_rows(boxes: Extents) -> list[list[int]]:
    """Group boxes that stand beside each other; rows from the top, each from the left."""
    rows: list[list[int]] = []
    for i in np.argsort((boxes[:, 1] + boxes[:, 3]) / 2, kind="stable").tolist():
        if rows and _is_in_row(boxes[rows[-1]], boxes[i]):
            rows[-1].append(i)
        else:
            rows.append([i])
    return [sorted(row, key=lambda i: (boxes[i, 0], i)) for row in rows]


def _is_in_row(row: Extents, box: NDArray[np.float64]) -> bool:
    """Tell whether a box shares half its height with the row, and no place with any of it."""
    middle = (float(np.median(row[:, 1])), float(np.median(row[:, 3])))
    shared = min(middle[1], box[3]) - max(middle[0], box[1])
    apart = (row[:, 2] <= box[0] + 0.3 * (box[2] - box[0])) | (row[:, 0] >= box[2] - 0.3 * (box[2] - box[0]))
    return bool(shared > _SAME_ROW * min(middle[1] - middle[0], box[3] - box[1]) and apart.all())
