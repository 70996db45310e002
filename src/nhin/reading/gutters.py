"""Gutters: gaps that lines of several bands share, and the lines on both sides that belong together."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import median

from nhin.reading.prose import is_prose
from nhin.reading.white_gaps import (
    Interval,
    Lines,
    find_gaps,
    group_bands,
    split_at,
    subtract_lines,
    typical_height,
    white_between,
)

_MIN_WIDTH = 0.4
_NEAR, _FAR = 0.9, 4.0
_REACH = 12
"""How many bands of a span are looked at to tell whether it goes on."""
Sides = Sequence[tuple[Lines, Lines]]
"""The lines left and right of a gutter, for each band."""


@dataclass(frozen=True, slots=True)
class GutterRun:
    """The lines on both sides of a gutter of some width, in the bands from ``start`` up to ``stop``."""

    start: int
    stop: int
    left: Lines
    right: Lines
    width: float


def find_runs(bands: Sequence[Lines]) -> Iterator[GutterRun]:
    """Yield what stands on both sides of each gutter of a region."""
    min_width = _MIN_WIDTH * typical_height([line for band in bands for line in band])
    known: list[tuple[int, int, Interval]] = []
    for seed, band in enumerate(bands):
        for gap in find_gaps(band, min_width):
            if any(i <= seed <= j and at[0] < gap[1] and gap[0] < at[1] for i, j, at in known):
                continue
            first, last, gutter = _extend_gutter(bands, seed, gap, min_width)
            known.append((first, last, gutter))
            for start, stop in _find_spans(bands[first : last + 1], gutter):
                own = [line for band in bands[first + start : first + stop] for line in band]
                yield GutterRun(first + start, first + stop, *split_at(own, gutter), gutter[1] - gutter[0])


def _extend_gutter(
    bands: Sequence[Lines], seed: int, gap: Interval, min_width: float
) -> tuple[int, int, Interval]:
    """Extend a gap of one band over the bands above and below that leave it open."""
    ends = [seed, seed]
    for side, step in ((1, 1), (0, -1)):
        while 0 <= (nearby := ends[side] + step) < len(bands):
            rest = subtract_lines(gap, bands[nearby])
            if rest[1] - rest[0] < min_width:
                break
            gap, ends[side] = rest, nearby
    return ends[0], ends[1], gap


def _find_spans(bands: Sequence[Lines], gutter: Interval) -> list[tuple[int, int]]:
    """Return the spans of bands (start, stop) along a gutter that belong together.

    They begin and end with bands that have lines on both sides. Bands with lines on one side belong to them
    as long as each follows closely on those before.
    """
    sides = [split_at(band, gutter) for band in bands]
    spans: list[list[int]] = []
    for i in (i for i, (left, right) in enumerate(sides) if left and right):
        if spans and _grow(sides, spans[-1], 1, i) == i:
            spans[-1][1] = i + 1
        else:
            spans.append([i, i + 1])
    spans = [part for span in spans for part in _split_cards(sides, span)]
    for n, span in enumerate(spans):
        span[1] = _grow(sides, span, 1, spans[n + 1][0] if n + 1 < len(spans) else len(sides))
        span[0] = _grow(sides, span, -1, spans[n - 1][1] if n else 0)
    return [(start, stop) for start, stop in spans]


def _grow(sides: Sides, span: Sequence[int], step: int, limit: int) -> int:
    """Return how far a span reaches down (step 1, its stop) or up (-1, its start) over one-sided bands."""
    start, stop = span
    while (stop if step > 0 else start) != limit:
        outer = stop if step > 0 else start - 1
        near = slice(max(start, stop - _REACH), stop) if step > 0 else slice(start, min(stop, start + _REACH))
        if not _is_attached(sides[near], sides[outer], below=step > 0):
            break
        start, stop = min(start, outer), max(stop, outer + 1)
    return stop if step > 0 else start


def _is_attached(span: Sides, outer: tuple[Lines, Lines], below: bool) -> bool:
    """Return whether a one-sided band continues a span: it is near, and its letters are no larger.

    It is near to the last line of its own side, or, where lines of both sides alternate, to that of the
    other. Further away, lines of prose that end where those of the span end belong to the column too.
    """
    side = 0 if outer[0] else 1
    own, inner = outer[side], span[-1 if below else 0]
    lines = [line for both in span for line in both[side]]
    height = typical_height(own)
    if not lines or (gap := _white(lines, own, below)) > _FAR * height:
        return False
    if not inner[side] and _white(inner[1 - side], own, below) <= _NEAR * height:
        return True
    column = group_bands(lines)
    near = typical_height(column[-1 if below else 0])
    if not 0.7 < height / near < 1.4:
        return False
    usual = [white_between(a, b) for a, b in pairwise(column)]
    if gap <= max(_NEAR * min(height, near), 1.3 * median(usual) if usual else 0.0):
        return True
    fills = abs(max(line.right for line in own) - max(line.right for line in lines)) < 1.5 * height
    return fills and is_prose(lines)


def _white(inner: Lines, outer: Lines, below: bool) -> float:
    """Return the height of the white between lines and others below or above them."""
    return white_between(inner, outer) if below else white_between(outer, inner)


def _split_cards(sides: Sides, span: list[int]) -> list[list[int]]:
    """Split rows of cards: short lines with wide gaps between groups of at least two bands."""
    groups = [[span[0], span[0] + 1]]
    bands = [left + right for left, right in sides]
    for i in range(span[0] + 1, span[1]):
        if white_between(bands[i - 1], bands[i]) > 1.2 * typical_height(bands[i]):
            groups.append([i, i + 1])
        else:
            groups[-1][1] = i + 1
    sizes = {stop - start for start, stop in groups}
    is_grid = len(groups) > 1 and len(sizes) == 1 and 2 <= min(sizes) <= 4
    if not is_grid or is_prose([line for band in bands[span[0] : span[1]] for line in band]):
        return [span]
    return groups
