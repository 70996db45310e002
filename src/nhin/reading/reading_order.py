"""Reading order of lines: columns, then rows from the top, then left to right.

The recursive X-Y cut (Nagy & Seth 1984) on deskewed boxes, so that it also works on a page photographed at
an angle. A vertical gap separates columns only between paragraphs: the dishes and prices of a menu, which
are level with each other, are read across.
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
    """Rotate the boxes by the median slope of long lines; return their extents."""
    across = quads[:, 1] - quads[:, 0]
    long = np.hypot(*across.T) > 2 * np.hypot(*(quads[:, 3] - quads[:, 0]).T)
    slopes = np.arctan2(across[:, 1], across[:, 0])[long]
    angle = float(np.median(slopes)) if len(slopes) else 0.0
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    level = quads @ turn
    return np.concatenate([level.min(axis=1), level.max(axis=1)], axis=1)


def _xy_cut(boxes: Extents, indices: NDArray[np.int64]) -> list[int]:
    """Split at a gap between columns, else at the widest gap between rows, else order row by row."""
    if len(indices) < 2:
        return indices.tolist()
    own = boxes[indices]
    height = float(np.median(own[:, 3] - own[:, 1]))
    for at in _find_gaps(own[:, 0], own[:, 2], _COLUMN_GAP * height):
        left = own[:, 2] <= at
        if _are_columns(own[left], own[~left]):
            return _xy_cut(boxes, indices[left]) + _xy_cut(boxes, indices[~left])
    for at in _find_gaps(own[:, 1], own[:, 3], 0.0)[:1]:
        above = own[:, 3] <= at
        return _xy_cut(boxes, indices[above]) + _xy_cut(boxes, indices[~above])
    return [int(indices[i]) for row in _group_rows(own) for i in row]


def _find_gaps(starts: NDArray[np.float64], ends: NDArray[np.float64], min_width: float) -> list[float]:
    """Return the gaps that no box covers, widest first, each as the end of the boxes before it."""
    order = np.argsort(starts)
    reach = np.maximum.accumulate(ends[order])[:-1]
    width = starts[order][1:] - reach
    wide = np.flatnonzero(width > min_width)
    return [float(reach[i]) for i in wide[np.argsort(-width[wide], kind="stable")]]


def _are_columns(left: Extents, right: Extents) -> bool:
    """Return whether two sides are columns of text rather than cells of the same rows."""
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
    """Return the median ratio of width to height."""
    return float(np.median((boxes[:, 2] - boxes[:, 0]) / np.maximum(boxes[:, 3] - boxes[:, 1], 1e-6)))


def _group_rows(boxes: Extents) -> list[list[int]]:
    """Group boxes into rows, sorted from the top, each from the left."""
    rows: list[list[int]] = []
    for i in np.argsort((boxes[:, 1] + boxes[:, 3]) / 2, kind="stable").tolist():
        if rows and _is_in_row(boxes[rows[-1]], boxes[i]):
            rows[-1].append(i)
        else:
            rows.append([i])
    return [sorted(row, key=lambda i: (boxes[i, 0], i)) for row in rows]


def _is_in_row(row: Extents, box: NDArray[np.float64]) -> bool:
    """Return whether a box shares half its height with a row, and overlaps none of its boxes."""
    top, bottom = float(np.median(row[:, 1])), float(np.median(row[:, 3]))
    shared = min(bottom, box[3]) - max(top, box[1])
    slack = 0.3 * (box[2] - box[0])
    apart = (row[:, 2] <= box[0] + slack) | (row[:, 0] >= box[2] - slack)
    return bool(shared > _SAME_ROW * min(bottom - top, box[3] - box[1]) and apart.all())
