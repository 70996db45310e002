"""Bands, gaps and gutters: the white between lines of an upright page."""

from collections.abc import Sequence
from statistics import median

import numpy as np

from nhin.reading.page_turn import PlacedLine

Lines = list[PlacedLine]
Interval = tuple[float, float]

_OVERLAP = 0.25
"""Share of its height that a line may reach into the band above."""
_LEVEL = 0.35
_BELOW, _BESIDE = 0.3, 0.4


def group_bands(lines: Sequence[PlacedLine]) -> list[Lines]:
    """Group lines whose heights overlap, directly or through others, into bands from the top."""
    bands: list[Lines] = []
    reach = float("-inf")
    for line in sorted(lines, key=lambda line: line.top + _OVERLAP * line.height):
        inset = _OVERLAP * line.height
        if bands and line.top + inset < reach:
            bands[-1].append(line)
            reach = max(reach, line.bottom - inset)
        else:
            bands.append([line])
            reach = line.bottom - inset
    return bands


def group_alternate_bands(lines: Lines) -> list[Lines]:
    """Group lines into bands; columns off each other's grid, whose lines alternate, are one band."""
    joined: list[Lines] = []
    for band in group_bands(lines):
        pairs = [
            (above, line)
            for above in (joined[-1] if joined else [])
            for line in band
            if line.top - above.bottom < _BELOW * min(above.height, line.height)
        ]
        if pairs and all(find_gaps(pair, _BESIDE * band[0].height) for pair in pairs):
            joined[-1] = joined[-1] + band
        else:
            joined.append(band)
    return joined


def find_gaps(lines: Sequence[PlacedLine], min_width: float) -> list[Interval]:
    """Return the gaps between lines, from the left, that none of them reaches into."""
    gaps: list[Interval] = []
    order = sorted(lines, key=lambda line: line.left)
    reach = order[0].right
    for line in order[1:]:
        if line.left - reach >= min_width:
            gaps.append((reach, line.left))
        reach = max(reach, line.right)
    return gaps


def subtract_lines(gap: Interval, lines: Sequence[PlacedLine]) -> Interval:
    """Return the widest part of a gap that no line reaches into."""
    inside = sorted((line.left, line.right) for line in lines if line.right > gap[0] and line.left < gap[1])
    reach, widest = gap[0], (gap[0], gap[0])
    for left, right in [*inside, (gap[1], gap[1])]:
        if left - reach > widest[1] - widest[0]:
            widest = reach, left
        reach = max(reach, right)
    return widest


def split_at(lines: Sequence[PlacedLine], gutter: Interval) -> tuple[Lines, Lines]:
    """Return the lines left and right of a gutter."""
    center = sum(gutter)
    return (
        [line for line in lines if line.left + line.right < center],
        [line for line in lines if line.left + line.right >= center],
    )


def split_columns(lines: Sequence[PlacedLine], min_width: float) -> list[Lines]:
    """Split lines at the gaps that all of them leave."""
    edges = [sum(gap) / 2 for gap in find_gaps(lines, min_width)]
    columns: list[Lines] = [[] for _ in range(len(edges) + 1)]
    for line in lines:
        columns[sum(line.left > edge for edge in edges)].append(line)
    return columns


def typical_height(lines: Sequence[PlacedLine]) -> float:
    """Return the median height of lines."""
    return median(line.height for line in lines)


def white_between(above: Sequence[PlacedLine], below: Sequence[PlacedLine]) -> float:
    """Return the height of the white between lines and others below them."""
    return min(line.top for line in below) - max(line.bottom for line in above)


def is_level(a: PlacedLine, b: PlacedLine) -> bool:
    """Return whether two lines stand level with each other."""
    return abs(a.middle - b.middle) <= _LEVEL * max(a.height, b.height)


def are_level(lines: Sequence[PlacedLine], others: Sequence[PlacedLine]) -> list[bool]:
    """Return for each line whether any of the others stands level with it."""
    middles = np.array([line.middle for line in lines])[:, None] - [line.middle for line in others]
    heights = np.maximum.outer([line.height for line in lines], [line.height for line in others])
    return list(map(bool, np.any(np.abs(middles) <= _LEVEL * heights, axis=1)))
