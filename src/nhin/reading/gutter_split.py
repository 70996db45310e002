"""Cut lines that run across the gutter between two columns, where several of them have the same gap.

Columns may stand so close that the detector joins their lines. One wide space says nothing; the same one in
three lines near each other is a gutter, or the border of a table's columns.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from nhin.reading.ink_box import find_ink
from nhin.reading.line_crop import LineCrop
from nhin.reading.line_shape import LineShape
from nhin.reading.page_edges import PageEdges, locate

_MIN_GAP, _MIN_SHARED = 0.75, 0.5
"""Width of a gap, and of what gaps of several lines share, in heights of capitals."""
_MIN_LENGTH = 5.0
_RULE, _LONG_RULE, _THICK, _MIN_RULED = 0.75, 6.0, 0.16, 0.6
"""Heights: how far a vertical rule reaches above and below the middle of a line that it parts; its length, as
stems of letters below each other look like a short one; half its thickness at most; the width of the gap."""
_MAX_GAP, _SAME_ROW = 8.0, 0.4  # heights between two lines beside each other
_NEAR, _CLOSE, _SLACK = 9.0, 6.0, 1.5
"""Heights between lines that may have the same gap; between lines of which none may run through it; and by
how much one must do so to count."""
_WITNESSES = 2  # other lines with the same gap
_WORK_HEIGHT = 32
_STRAIGHT = 1.2  # heights that a line may stray: columns may stand at different heights


@dataclass(frozen=True, slots=True)
class _Gap:
    """A space in or after line ``line``, from ``left`` to ``right`` along the page, at ``row`` across it."""

    line: int
    left: float
    right: float
    row: float
    inside: bool = True
    has_rule: bool = False


def split_at_gutters(
    lines: Sequence[LineShape], crops: Sequence[LineCrop | None], edges: PageEdges | None = None
) -> list[LineShape]:
    """Return the lines, those that run across a gutter or a vertical rule cut in two or more.

    Args:
        lines: In the direction of the page.
        crops: Their crops.
        edges: The edges of the page.
    """
    gaps = [
        gap
        for number, (line, crop) in enumerate(zip(lines, crops, strict=True))
        if crop is not None and line.length >= _MIN_LENGTH * line.height and _is_nearly_straight(line)
        for gap in _find_gaps(number, line, crop, [] if edges is None else _find_rules(line, edges))
    ]
    gaps += _find_gaps_between(lines)
    out: list[LineShape] = []
    for number, line in enumerate(lines):
        own = [gap for gap in gaps if gap.line == number and gap.inside]
        own = [gap for gap in own if gap.has_rule or _is_gutter(gap, gaps, lines)]
        out += _cut(line, own) if own else [line]
    return out


def _is_nearly_straight(line: LineShape) -> bool:
    _, down = _axes(line)
    return float(np.ptp(line.center @ down)) < _STRAIGHT * line.height


def _find_rules(line: LineShape, edges: PageEdges) -> list[float]:
    """Return where vertical edges cross a line, in pixels along its own direction from the origin."""
    first, last = edges.place(line.center[[0, -1]].astype(np.float64))
    unit = line.height * float(np.hypot(*edges.matrix[0, :2]))
    at = locate(edges.vertical, (first[1] + last[1]) / 2)
    reach = edges.vertical[:, [1, 3]] - (first[1] + last[1]) / 2
    is_across = (reach[:, 0] < -_RULE * unit) & (reach[:, 1] > _RULE * unit)
    is_across &= reach[:, 1] - reach[:, 0] > _LONG_RULE * unit
    along, _ = _axes(line)
    start, end = (float(along @ line.center[i]) for i in (0, -1))
    shares = (at[is_across] - first[0]) / max(last[0] - first[0], 1e-6)
    return [start + share * (end - start) for share in shares.tolist() if 0 < share < 1]


def _find_gaps(number: int, line: LineShape, crop: LineCrop, rules: Sequence[float]) -> list[_Gap]:
    """Return the wide spaces inside a line, measured along and across its own direction from the origin.

    A rule in a space is no ink, and makes it a gap though it be narrow.
    """
    found = find_ink(crop.pixels, _WORK_HEIGHT)
    if found is None:
        return []
    along, down = _axes(line)
    start, end = (float(along @ crop.top[i]) for i in (0, -1))
    step = (end - start) / found[0].shape[1]
    is_filled = np.asarray(found[0].any(axis=0), bool).reshape(-1)
    columns = [(rule - start) / step for rule in rules]
    thick = _THICK * line.height / step
    for column in columns:
        is_filled[max(0, round(column - thick)) : max(0, round(column + thick) + 1)] = False
    filled = np.flatnonzero(is_filled)
    row = float(down @ line.center.mean(0))
    is_wide = (np.diff(filled) - 1) * step >= _MIN_RULED * line.height
    gaps = []
    for left, right in zip((filled[:-1] + 1)[is_wide].tolist(), filled[1:][is_wide].tolist(), strict=True):
        has_rule = any(left < column < right for column in columns)
        if (right - left) * step >= (_MIN_RULED if has_rule else _MIN_GAP) * line.height:
            gaps.append(_Gap(number, start + left * step, start + right * step, row, has_rule=has_rule))
    return gaps


def _find_gaps_between(lines: Sequence[LineShape]) -> list[_Gap]:
    """Return the spaces between lines that stand beside each other."""
    gaps: list[_Gap] = []
    if not lines:
        return gaps
    starts, middles = (
        np.array(x) for x in zip(*((line.center[0], line.center.mean(0)) for line in lines), strict=True)
    )
    turns = np.array([line.turn for line in lines])
    for number, line in enumerate(lines):
        along, down = _axes(line)
        end, row = float(along @ line.center[-1]), float(down @ line.center.mean(0))
        at = starts @ along
        is_beside = (_MIN_GAP * line.height <= at - end) & (at - end < _MAX_GAP * line.height)
        is_beside &= (turns == line.turn) & (np.abs(middles @ down - row) < _SAME_ROW * line.height)
        gaps += [_Gap(number, end, start, row, inside=False) for start in at[is_beside].tolist()]
    return gaps


def _is_gutter(gap: _Gap, gaps: Sequence[_Gap], lines: Sequence[LineShape]) -> bool:
    """Return whether enough other lines near a gap have the same one, and none runs through it."""
    line = lines[gap.line]
    along, down = _axes(line)
    witnesses = {
        other.line
        for other in gaps
        if other.line != gap.line
        and _are_alike(line, lines[other.line])
        and 0.5 * line.height < abs(other.row - gap.row) < _NEAR * line.height
        and min(gap.right, other.right) - max(gap.left, other.left) >= _MIN_SHARED * line.height
    }
    if len(witnesses) < _WITNESSES:
        return False
    middle, slack = (gap.left + gap.right) / 2, _SLACK * line.height
    for number, other in enumerate(lines):
        if number == gap.line or number in witnesses or not _are_alike(line, other):
            continue
        start, end = (float(along @ other.center[i]) for i in (0, -1))
        row = float(down @ other.center.mean(0))
        if start + slack < middle < end - slack and abs(row - gap.row) < _CLOSE * line.height:
            return False
    return True


def _are_alike(line: LineShape, other: LineShape) -> bool:
    return other.turn == line.turn and 0.6 < other.height / line.height < 1.6


def _cut(line: LineShape, gaps: Sequence[_Gap]) -> list[LineShape]:
    """Return the parts of a line between its gaps; each is straight, as a bend came from joining them."""
    along, down = _axes(line)
    t, n = line.center @ along, line.center @ down
    edges = [float(t[0]), *(edge for gap in gaps for edge in (gap.left, gap.right)), float(t[-1])]
    parts = []
    for low, high in _pair(edges):
        inner = low + (high - low) * np.array([0.2, 0.8])
        slope, offset = np.polyfit(inner, np.interp(inner, t, n), 1)
        ends = [at * along + (slope * at + offset) * down for at in (low, high)]
        parts.append(replace(line, center=np.array(ends, np.float32)))
    return parts


def _pair(edges: Sequence[float]) -> list[tuple[float, float]]:
    return [(edges[i], edges[i + 1]) for i in range(0, len(edges), 2) if edges[i + 1] > edges[i]]


def _axes(line: LineShape) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the unit vectors along a line and downwards from it."""
    along = (line.center[-1] - line.center[0]).astype(np.float64)
    along /= max(float(np.hypot(*along)), 1e-6)
    return along, np.array([-along[1], along[0]])
