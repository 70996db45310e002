"""Clean the lines of a picture: each once, none across another, no marks or pieces of a line as lines."""

from collections.abc import Sequence
from dataclasses import replace

import cv2
import numpy as np
from numpy.typing import NDArray

from nhin.reading.line_shape import LineShape

_SURE = 0.75  # score of a line that is real
_SMALLER, _REACH = 0.7, 0.6  # ratio of heights; reach above and below the center line, in heights
_FILLED, _FILLED_IN_DOUBT, _DIRECTED = 0.2, 0.1, 0.5
"""Share of a line's place that smaller ones fill: of a line whose direction is told, and of another one; the
certainty of a direction that is told."""
_AGREEMENT = 0.7  # length of the mean of unit vectors
_WORD = 2.5  # heights: longer than any stroke of a letter
_MIDDLE = slice(2, 5)  # of the points along a center line
_ACROSS = 30.0  # degrees between lines that cannot both be there
_LARGER, _LARGER_THAN_DOUBTFUL = 1.8, 1.3  # times as high as what may be one of its marks
_TRUSTED = 0.5  # part of the certainty of a line that may be a mark, which the larger one has at least
_MARKS = 1.2, 1.0  # reach of marks above and below the center line, in heights
_MAX_GAP, _OFFSET, _RATIO = 0.3, 0.25, 1.35
"""Gap and offset, in heights, and ratio of heights of two pieces of one line."""


def clean_lines(lines: Sequence[LineShape]) -> list[LineShape]:
    """Join the pieces of lines; leave out marks of letters, and lines that run across surer ones."""
    return drop_crossing(drop_doubles(drop_marks(join_pieces(lines))))


def join_pieces(lines: Sequence[LineShape]) -> list[LineShape]:
    """Join lines that continue each other: level, of one height, closer than two words are."""
    out = sorted(lines, key=lambda line: -line.length)
    i = 0
    while i < len(out):
        near = _find_beside(out[i], out[i + 1 :])
        piece = next((other for other in near if _continues(out[i], other)), None)
        if piece is None:
            i += 1
            continue
        out = [line for line in out if line is not piece]
        out[i] = _join(out[i], piece)
    return out


def _continues(line: LineShape, other: LineShape) -> bool:
    """Return whether another line is a piece of the same one."""
    if not 1 / _RATIO < other.height / line.height < _RATIO:
        return False
    first = (line.center[1] - line.center[0]), (line.center[-1] - line.center[-2])
    for end, step, sign in ((line.center[0], first[0], -1), (line.center[-1], first[1], 1)):
        along = step / max(float(np.hypot(*step)), 1e-6)
        offsets = (other.center[[0, -1]] - end) @ np.stack([sign * along, [-along[1], along[0]]], 1)
        beyond, across = offsets.T / line.height
        if np.abs(across).max() < _OFFSET and -1.5 < beyond.min() < _MAX_GAP and beyond.max() > 0.1:
            return True
    return False


def _join(line: LineShape, piece: LineShape) -> LineShape:
    """Return the longer line, lengthened to the far end of the piece."""
    ends = piece.center[[0, -1]]
    distances = [[float(np.hypot(*(end - line.center[k]))) for end in ends] for k in (0, -1)]
    at_start = min(distances[0]) < min(distances[1])
    far = ends[int(np.argmax(distances[0 if at_start else 1]))]
    center = line.center.copy()
    center[0 if at_start else -1] = far
    return replace(line, center=center)


def measure_skew(lines: Sequence[LineShape]) -> float:
    """Return by how many degrees lines are turned from a multiple of 90, -45 to 45; 0 without lines."""
    if not lines:
        return 0.0
    angles = np.radians([4 * line.angle for line in lines])
    weights = np.array([line.length**2 for line in lines])
    mean = np.average(np.exp(1j * angles), weights=weights)
    return float(np.degrees(np.angle(mean))) / 4


def measure_turn(lines: Sequence[LineShape]) -> float:
    """Return the multiple of 90 degrees by which a page is turned clockwise; 0 where its lines disagree."""
    if not lines:
        return 0.0
    weights = np.array([line.length * line.certainty for line in lines])
    mean = np.exp(1j * np.radians([line.angle for line in lines])) @ weights / weights.sum()
    turned = float(np.degrees(np.angle(mean))) - measure_skew(lines)
    return 90.0 * round(turned / 90) if abs(mean) >= _AGREEMENT else 0.0


def merge_scales(fine: list[LineShape], coarse: list[LineShape], limit: float) -> list[LineShape]:
    """Return the lines that were found at two scales, each once.

    A large line gives way to smaller ones that fill some of it, such as the cells of a column; it replaces
    those that fill little, such as a mark of one of its letters.

    Args:
        fine: Lines found where the picture is larger.
        coarse: Lines found where it is smaller.
        limit: Height, in pixels of the picture, from which the coarse scale is the better one.
    """
    dropped: set[int] = set()
    kept = []
    centers = [_sample_center(line) for line in fine]
    for line in coarse:
        own = _sample_center(line)
        covered = [
            i
            for i, points in enumerate(centers)
            if _share_inside(points, line) > 0.5 or _share_inside(own[_MIDDLE], fine[i]) > 0.5
        ]
        same = [i for i in covered if fine[i].height > 0.7 * line.height]
        words = [
            i
            for i, points in enumerate(centers)
            if fine[i].score >= _SURE
            and fine[i].length >= _WORD * fine[i].height
            and (i in covered or _share_inside(points, line) > 0.25)
        ]
        is_many = not same and (bool(words) or _is_filled(line, fine))
        if is_many or (covered and line.height <= limit):
            continue
        dropped.update(covered)
        kept.append(line)
    return [line for i, line in enumerate(fine) if i not in dropped] + kept


def _is_filled(line: LineShape, fine: Sequence[LineShape]) -> bool:
    """Return whether lower, surer lines fill the place of a line: two rows of a column, seen as one."""
    smaller = [
        other
        for other in fine
        if other.height < _SMALLER * line.height and (other.score >= _SURE or _weigh(other) > _weigh(line))
    ]
    edge = line.outline(_REACH, _REACH)
    count = len(edge) // 2
    first, second = edge[[0, count - 1]], edge[[-1, count]]  # both ends, above and below
    down = np.linspace(0.1, 0.9, 7, dtype=np.float32)[:, None, None]
    along = np.linspace(0.1, 0.9, 5, dtype=np.float32)[:, None]
    rows = first + (second - first) * down
    points = (rows[:, :1] + (rows[:, 1:] - rows[:, :1]) * along).reshape(-1, 2)
    outlines = [other.outline(_REACH, _REACH) for other in _find_beside(line, smaller)]
    filled = sum(any(_contains(outline, point) for outline in outlines) for point in points)
    least = _FILLED if line.certainty >= _DIRECTED else _FILLED_IN_DOUBT
    return filled > least * len(points)


def drop_marks(lines: Sequence[LineShape]) -> list[LineShape]:
    """Leave out marks of the letters of a larger line: short, low, and above or below its capitals."""
    return [
        line
        for line, near in zip(lines, _find_near(lines), strict=True)
        if not any(
            other.height > (_LARGER if line.score >= _SURE else _LARGER_THAN_DOUBTFUL) * line.height
            and line.length < other.height
            and _weigh(other) > _TRUSTED * _weigh(line)
            and _contains(other.outline(*_MARKS), line.center.mean(0))
            for other in near
        )
    ]


def _weigh(line: LineShape) -> float:
    """Return how sure the detector is of a line and its direction together."""
    return line.score * line.certainty


def drop_doubles(lines: Sequence[LineShape]) -> list[LineShape]:
    """Leave out lines that lie within a longer one."""
    return [
        line
        for line, near in zip(lines, _find_near(lines), strict=True)
        if not any(
            other.length > line.length
            and 0.5 < line.height / other.height < 2
            and _share_inside(_sample_center(line), other) > 0.5
            for other in near
        )
    ]


def drop_crossing(lines: Sequence[LineShape]) -> list[LineShape]:
    """Leave out lines that run across others about which, together, the detector is surer."""
    near = _find_near(lines)
    places = {id(line): i for i, line in enumerate(lines)}
    crossing = [
        {places[id(other)] for other in near[i] if _do_cross(line, other)} for i, line in enumerate(lines)
    ]
    weights = [_weigh(line) * line.length for line in lines]
    kept = set(range(len(lines)))
    while True:
        against = {
            i: sum(weights[j] for j in crossing[i] & kept) - weights[i] for i in kept if crossing[i] & kept
        }
        worst = max(against, key=against.__getitem__, default=None)
        if worst is None:
            return [lines[i] for i in sorted(kept)]
        kept.discard(worst)


def _do_cross(line: LineShape, other: LineShape) -> bool:
    """Return whether two lines of different directions share some of their place."""
    angle = abs((2 * (other.angle - line.angle) + 180) % 360 - 180) / 2
    if angle <= _ACROSS:
        return False
    return bool(_share_inside(_sample_center(line), other) or _share_inside(_sample_center(other), line))


def _find_near(lines: Sequence[LineShape]) -> list[list[LineShape]]:
    """Return for each line those others whose boxes, with room for marks, touch its own."""
    if not lines:
        return []
    low, high = _measure_boxes(lines)
    touch = np.all(low[:, None] <= high[None], axis=-1) & np.all(high[:, None] >= low[None], axis=-1)
    np.fill_diagonal(touch, False)
    return [[lines[int(j)] for j in np.flatnonzero(touch[i])] for i in range(len(lines))]


def _find_beside(line: LineShape, others: Sequence[LineShape]) -> list[LineShape]:
    """Return the other lines whose boxes touch that of a line; see ``_find_near``."""
    (low, *lows), (high, *highs) = _measure_boxes([line, *others])
    touch = np.all((np.array(lows).reshape(-1, 2) <= high) & (np.array(highs).reshape(-1, 2) >= low), axis=-1)
    return [others[int(i)] for i in np.flatnonzero(touch)]


def _measure_boxes(lines: Sequence[LineShape]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the top left and the bottom right corners of the boxes of lines, with room for marks."""
    room = 1.2 * np.array([line.height for line in lines])[:, None]
    low = np.array([line.center.min(0) for line in lines]) - room
    return low, np.array([line.center.max(0) for line in lines]) + room


def _sample_center(line: LineShape, count: int = 7) -> NDArray[np.float32]:
    """Return points along the inner part of a center line."""
    steps = np.concatenate([[0], np.hypot(*np.diff(line.center, axis=0).T).cumsum()])
    at = np.linspace(0.1, 0.9, count) * steps[-1]
    return np.stack([np.interp(at, steps, line.center[:, axis]) for axis in (0, 1)], 1).astype(np.float32)


def _share_inside(points: NDArray[np.float32], line: LineShape) -> float:
    """Return the share of points that lie within the height of a line's capitals."""
    low, high = line.center.min(0) - line.height, line.center.max(0) + line.height
    if (points.max(0) < low).any() or (points.min(0) > high).any():
        return 0.0
    outline = line.outline()
    return sum(_contains(outline, point) for point in points) / len(points)


def _contains(outline: NDArray[np.float32], point: NDArray) -> bool:
    return cv2.pointPolygonTest(outline, (float(point[0]), float(point[1])), False) >= 0
