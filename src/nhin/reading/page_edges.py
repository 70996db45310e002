"""Long straight edges of a page: rules, the borders of cells and boxes, the sides of colored cards.

They are looked for on the page turned upright and level, and reduced until capitals are 10 pixels high. An
edge is a step of brightness or color that goes on straight for several letters; rows and stems of letters
have gaps. A rule has two edges, which count as one.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from nhin.reading.level_picture import level_picture
from nhin.reading.line_shape import LineShape
from nhin.reading.page_turn import weighted_median

_UNIT, _LEAST_UNIT = 10.0, 4.0  # pixels, height of capitals
_MAX_PIXELS = 4e6
_STEP = 10  # least difference of brightness or of a color
_TALL, _WIDE = 3.5, 4.0  # least length of vertical and horizontal edges, in heights of capitals
_TEXT, _LARGE = 0.62, 1.8
"""Reach of letters, in heights, where no horizontal edge is looked for; and from which height of letters, in
those of most, their stems might be taken for edges."""
_DOUBTFUL = 0.25  # certainty of a line and its direction
_CROSSING = 0.2  # thickness of rules, in heights of capitals
_SAME, _BROKEN = 0.6, 0.35  # distance of two edges that are one, across and along it
_MAX_EDGES = 400
_BESIDE = 1.5  # heights of a line between its end and an edge at which it ends
_SPARE, _PER_LINE = 8, 3  # vertical edges beyond that are a pattern behind the text
_LEVEL = 0.25  # degrees that count as level

Segments = NDArray[np.float64]
"""n x 4, where edges begin and end: x and y of the top, x and y of the bottom; of horizontal ones y and x of
the left end, y and x of the right end."""


@dataclass(frozen=True, slots=True)
class PageEdges:
    """The edges of a page, in pixels of the page upright, level and reduced.

    Args:
        matrix: From pixels of the picture to these, 2 x 3.
        vertical: See ``Segments``.
        horizontal: See ``Segments``.
    """

    matrix: NDArray[np.float64]
    vertical: Segments
    horizontal: Segments

    def place(self, points: NDArray) -> NDArray[np.float64]:
        """Return points (... x 2) of the picture on the upright page."""
        return points @ self.matrix[:, :2].T + self.matrix[:, 2]


def find_edges(picture: NDArray[np.uint8], lines: Sequence[LineShape]) -> PageEdges | None:
    """Find the edges of a picture (H x W x 3) with lines of text; None without lines, or of tiny ones."""
    if not lines:
        return None
    lengths = np.array([line.length for line in lines])
    unit = weighted_median(np.array([line.height for line in lines]), lengths)
    scale = min(1.0, _UNIT / unit, (_MAX_PIXELS / (picture.shape[0] * picture.shape[1])) ** 0.5)
    if scale * unit < _LEAST_UNIT:
        return None
    level, matrix = _level(picture, scale, _measure_angle(lines))
    unit *= float(np.hypot(*matrix[0, :2]))
    steps = [
        np.abs(level[2:].astype(np.int16) - level[:-2]).max(-1) > _STEP,
        np.abs(level[:, 2:].astype(np.int16) - level[:, :-2]).max(-1) > _STEP,
    ]
    across, along = (
        np.pad(s, p).astype(np.uint8)
        for s, p in zip(steps, ([(1, 1), (0, 0)], [(0, 0), (1, 1)]), strict=True)
    )
    edges = PageEdges(matrix, np.zeros((0, 4)), np.zeros((0, 4)))
    for line in lines:
        if line.score * line.certainty < _DOUBTFUL:
            continue  # perhaps no text: it may cover a rule
        tall = line.height * float(np.hypot(*matrix[0, :2]))
        _clear(across, edges.place(line.outline(_TEXT, _TEXT, 0.3)))
        if tall > _LARGE * unit:
            _clear(along, edges.place(line.outline(1.0, 1.0, 0.3)))
    vertical, horizontal = _trace(along, _TALL * unit, unit), _trace(across.T, _WIDE * unit, unit)
    if len(vertical) > _SPARE + _PER_LINE * len(lines):
        return edges
    return PageEdges(matrix, _drop_stems(vertical, edges, lines), horizontal)


def _drop_stems(vertical: Segments, edges: PageEdges, lines: Sequence[LineShape]) -> Segments:
    """Leave out edges that run through several lines, more than end at them: stems of letters, and noise."""
    ends = np.array([edges.place(line.center[[0, -1]].astype(np.float64)) for line in lines])
    heights = np.array([line.height for line in lines]) * float(np.hypot(*edges.matrix[0, :2]))
    left, right, y = ends[:, :, 0].min(1), ends[:, :, 0].max(1), ends[:, :, 1].mean(1)
    at = locate(vertical[:, None], y)  # edges x lines
    is_beside = (vertical[:, 1:2] < y) & (y < vertical[:, 3:4])
    is_through = is_beside & (left + heights < at) & (at < right - heights)
    reach = _BESIDE * heights
    is_end = is_beside & ~is_through & ((np.abs(at - left) < reach) | (np.abs(at - right) < reach))
    return vertical[is_through.sum(1) <= np.maximum(1, is_end.sum(1))]


def _measure_angle(lines: Sequence[LineShape]) -> float:
    """Return by how many degrees the page is turned clockwise: the direction of most of its text."""
    lengths = np.array([line.length for line in lines])
    turns = np.array([line.turn for line in lines])
    turn = max((0, 90, 180, 270), key=lambda turn: lengths[turns == turn].sum())
    own = [line for line in lines if line.turn == turn]
    tilts = np.array([(line.angle - turn + 180) % 360 - 180 for line in own])
    return turn + weighted_median(tilts, lengths[turns == turn])


def _level(
    picture: NDArray[np.uint8], scale: float, angle: float
) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
    """Return a picture reduced, upright and level, and the matrix from its pixels."""
    height, width = picture.shape[:2]
    size = max(3, round(width * scale)), max(3, round(height * scale))
    small = np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), np.uint8)
    level, turn = level_picture(small, angle, _LEVEL)
    return level, turn @ np.diag([size[0] / width, size[1] / height, 1.0])


def _clear(mask: NDArray[np.uint8], outline: NDArray[np.float64]) -> None:
    cv2.fillPoly(mask, [np.rint(outline).astype(np.int32)], (0,))


def _trace(mask: NDArray[np.uint8], least: float, unit: float) -> Segments:
    """Return the vertical edges of a map of steps (uint8, H x W), the longest first."""
    wide = cv2.dilate(np.ascontiguousarray(mask), np.ones((1, 3), np.uint8))
    # Where a rule crosses another there is no step.
    whole = cv2.morphologyEx(wide, cv2.MORPH_CLOSE, np.ones((1 + round(_CROSSING * unit), 1), np.uint8))
    long = cv2.morphologyEx(whole, cv2.MORPH_OPEN, np.ones((round(least), 1), np.uint8))
    count, labels, stats, _ = cv2.connectedComponentsWithStats(np.asarray(long, np.uint8), connectivity=8)
    found = []
    for number in sorted(range(1, count), key=lambda i: -int(stats[i, 3]))[: 3 * _MAX_EDGES]:
        left, top, width, height, _ = stats[number].tolist()
        own = labels[top : top + height, left : left + width] == number
        part = max(1, round(0.1 * height))
        ends = [float(np.nonzero(rows)[1].mean()) + left + 0.5 for rows in (own[:part], own[-part:])]
        if abs(ends[1] - ends[0]) < 0.15 * height and own.sum() < 1.5 * unit * height:
            found.append((ends[0], float(top), ends[1], float(top + height)))
    return np.array(_join(found, unit)[:_MAX_EDGES]).reshape(-1, 4)


def _join(edges: Sequence[tuple[float, ...]], unit: float) -> list[tuple[float, ...]]:
    """Join the two edges of a rule, and the pieces of a broken one; the longest come first."""
    out: list[tuple[float, ...]] = []
    for edge in sorted(edges, key=lambda edge: edge[1] - edge[3]):
        x, y = (edge[0] + edge[2]) / 2, (edge[1] + edge[3]) / 2
        for i, other in enumerate(out):
            apart = max(other[1], edge[1]) - min(other[3], edge[3])
            if apart <= _BROKEN * unit and abs(locate(np.array(other), y) - x) <= _SAME * unit:
                ends = sorted((other[:2], other[2:], edge[:2], edge[2:]), key=lambda end: end[1])
                out[i] = (*ends[0], *ends[-1])
                break
        else:
            out.append(edge)
    return sorted(out, key=lambda edge: edge[1] - edge[3])


def locate(edges: Segments, along: float) -> NDArray[np.float64]:
    """Return where edges (... x 4) are, across their direction, at a place along it."""
    begin, end = edges[..., 1], edges[..., 3]
    return edges[..., 0] + (edges[..., 2] - edges[..., 0]) * (along - begin) / np.maximum(end - begin, 1e-6)
