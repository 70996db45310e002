"""Cut a page into regions that are read one after another: columns, and what stands above and below them.

A recursive X-Y cut (Nagy & Seth 1984) whose vertical cuts follow gaps that several lines share, as narrow as
half a letter's height. A gap between the cells of a table, or between labels and their values, is no cut:
lines that stand level are read across unless they are prose, blocks of centered lines (the head of a
letter, signatures), cards, or two lists of items with their figures.
"""

import re
from bisect import bisect
from collections.abc import Iterable
from itertools import pairwise

from nhin.reading.gutters import GutterRun, find_runs
from nhin.reading.page_turn import PlacedLine
from nhin.reading.prose import is_figure, is_price_list, is_prose
from nhin.reading.white_gaps import (
    Lines,
    are_level,
    group_alternate_bands,
    group_bands,
    split_columns,
    typical_height,
    white_between,
)
from nhin.text.letters import strip_marks

_MAX_DEPTH = 60
_MAX_LINES = 2000
"""Regions of more lines are not searched for columns, which would take seconds."""
_NEAR = 0.9
_MOST = 0.75
_LETTER_PARTS = re.compile(r"noi nhan\b|cong hoa xa hoi|doc lap\W*tu do")
"""How parts of official letters begin, without marks."""


def cut_regions(lines: Lines, depth: int = 0) -> list[Lines]:
    """Cut lines into regions without columns, in reading order."""
    if not lines:
        return []
    bands, runs, is_done = (
        _find_columns(lines) if 2 < len(lines) <= _MAX_LINES and depth < _MAX_DEPTH else ([], [], True)
    )
    if not runs:
        return [lines]
    regions: list[Lines] = []
    stops = [0, *(run.stop for run in runs)]
    starts = [*(run.start for run in runs), len(bands)]
    for n, (stop, start) in enumerate(zip(stops, starts, strict=True)):
        between = [line for band in bands[stop:start] for line in band]
        regions += [between] if is_done and between else cut_regions(between, depth + 1)
        for side in (runs[n].left, runs[n].right) if n < len(runs) else ():
            regions += cut_regions(side, depth + 1)
    return regions


def _find_columns(lines: Lines) -> tuple[list[Lines], list[GutterRun], bool]:
    """Return the bands of a region, the columns in it, and whether there are no more of them.

    Of columns that share a band, those with the most lines on the emptier side count.
    """
    bands = group_alternate_bands(lines)
    found = [run for run in find_runs(bands) if are_columns(run.left, run.right)]
    runs: list[GutterRun] = []
    for run in sorted(found, key=lambda run: (-min(len(run.left), len(run.right)), -run.width)):
        if all(run.stop <= other.start or other.stop <= run.start for other in runs):
            runs.append(run)
    return bands, sorted(runs, key=lambda run: run.start), len(runs) == len(found)


def are_columns(left: Lines, right: Lines) -> bool:
    """Return whether two sides of a gutter are read one after the other, not across."""
    few, many = sorted((left, right), key=len)
    level = are_level(few, many)
    if len(few) == 1:
        return len(many) > 1 and not level[0]
    if sum(level) < _MOST * len(few):
        return not _are_in_rows(few, many)
    if any(_LETTER_PARTS.match(strip_marks(line.line.text).lower()) for line in left + right):
        return True
    kinds = is_prose, is_price_list
    return any(is_kind(left) and is_kind(right) for is_kind in kinds) or _are_blocks(left, right)


def _are_in_rows(few: Lines, many: Lines) -> bool:
    """Return whether lines stand apart, each level with a line of the other side or between two of them."""
    few = sorted(few, key=lambda line: line.middle)
    pairs = pairwise(few)
    if any(below.middle - above.middle < 1.8 * max(above.height, below.height) for above, below in pairs):
        return False
    middles = sorted(line.middle for line in many)

    def is_between(line: PlacedLine) -> bool:
        place = bisect(middles, line.middle)
        if not 0 < place < len(middles):
            return False
        above, below = middles[place - 1 : place + 1]
        return abs((above + below) / 2 - line.middle) < 0.35 * line.height > (below - above) / 5

    fit = [level or is_between(line) for line, level in zip(few, are_level(few, many), strict=True)]
    return sum(fit) >= _MOST * len(few)


def _are_blocks(left: Lines, right: Lines) -> bool:
    """Return whether level lines are blocks side by side: signatures, heads of letters, cards.

    They have two to four lines close together, all of them centered, or only two beside a wide gutter: a line
    in large print over a smaller one, or words alone.
    """
    bands = group_bands(left + right)
    if not 2 <= len(bands) <= 4 or min(len(group_bands(left)), len(group_bands(right))) < 2:
        return False
    height = typical_height(left + right)
    gaps = [white_between(above, below) for above, below in pairwise(bands)]
    if min(gaps) > _NEAR * height:
        return False
    columns = split_columns(left, 0.0) + split_columns(right, 0.0)
    is_centered = all(
        _spread((line.left + line.right) / 2 for line in column) < 0.6 * height for column in columns
    )
    if is_centered and any(_spread(line.left for line in column) > height for column in columns):
        return True
    gutter = min(line.left for line in right) - max(line.right for line in left)
    if len(bands) > 2 or gutter < 2 * height:
        return False
    texts = [line.line.text for line in left + right]
    sizes = [typical_height(band) for band in bands]
    return sizes[0] > 1.25 * sizes[1] or not any(":" in text or is_figure(text) for text in texts)


def _spread(values: Iterable[float]) -> float:
    """Return the difference of the greatest and the least value."""
    ordered = sorted(values)
    return ordered[-1] - ordered[0]
