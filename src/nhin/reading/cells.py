"""Which lines of a page stand in one cell of a ruled table, one box or one card, by the edges around them.

A cell is told from a line in it: the nearest vertical edges left and right of the line, and the nearest
horizontal ones above and below it that reach from one to the other. So a card may have round corners, and a
rule to write on parts no cell.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nhin.reading.page_edges import PageEdges, locate
from nhin.reading.result import Box

_REACH = 0.75, 0.6  # of a cell's width and height that its edges go along
_CORNER = 2.5  # heights of a line, that its edges may end before those at its sides
_SLACK = 0.35  # of a line's height, that a cell's edge may cut off
_SAME = 0.6  # heights of a line, by which edges of one cell may differ
_MOST_CELLS = 2000
_LONG = 4.0  # heights of a line: a rule beside it
_CLOSE = 0.5, 1.0  # heights of a line that a rule is within its end, or beyond it


@dataclass(frozen=True, slots=True)
class PageCell:
    """A cell: the number of its table, or of the box that stands alone, and its row and column there."""

    group: int
    row: int
    column: int


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What stands around a line: its cell, if it is in one, and whether a rule is close to its ends."""

    cell: PageCell | None = None
    is_rule_before: bool = False
    is_rule_after: bool = False


def find_surroundings(edges: PageEdges | None, boxes: Sequence[Box]) -> list[Surroundings]:
    """Return what stands around each line; cells are equal for lines of one cell."""
    if edges is None or not boxes or not len(edges.vertical):
        return [Surroundings()] * len(boxes)
    placed = edges.place(np.array(boxes))
    low, high = placed.min(1), placed.max(1)
    cells = _find_cells(edges, low, high)
    ends = [_find_rules(edges, *a, *b) for a, b in zip(low, high, strict=True)]
    return [Surroundings(cell, *pair) for cell, pair in zip(cells, ends, strict=True)]


def _find_rules(edges: PageEdges, left: float, top: float, right: float, bottom: float) -> tuple[bool, bool]:
    """Return whether long vertical edges stand close to the begin and the end of a line."""
    first, last = edges.vertical[:, 1], edges.vertical[:, 3]
    is_beside = (first < top) & (last > bottom) & (last - first > _LONG * (bottom - top))
    at = locate(edges.vertical[is_beside], (top + bottom) / 2)
    inside, outside = (share * (bottom - top) for share in _CLOSE)
    before, after = at - left, at - right
    return (
        bool(((before > -outside) & (before < inside)).any()),
        bool(((after > -inside) & (after < outside)).any()),
    )


def _find_cells(
    edges: PageEdges, low: NDArray[np.float64], high: NDArray[np.float64]
) -> list[PageCell | None]:
    """Return the cell of each line, of which the least and the greatest x and y are given.

    A box around other cells is none, nor is one around a single line that no other cell touches.
    """
    if not len(edges.horizontal):
        return [None] * len(low)
    raw = [_enclose(edges, *a, *b) for a, b in zip(low, high, strict=True)]
    # Lines of one cell see the same edges; where these slant, at places that differ a little.
    cells = {cell.edges: cell for cell in reversed(raw) if cell is not None}
    groups = _group(list(cells))
    sizes = Counter(groups[cell.edges] for cell in raw if cell is not None)
    kept = [cell for cell in cells.values() if sizes[groups[cell.edges]] > 1]
    tolerance = _SAME * float(np.median(high[:, 1] - low[:, 1]))
    sides = np.array([cell.sides for cell in kept]).reshape(-1, 4)
    is_innermost = ~_are_around(sides, tolerance)
    kept, sides = (
        [cell for cell, is_kept in zip(kept, is_innermost, strict=True) if is_kept],
        sides[is_innermost],
    )
    numbered = _number(kept, groups, tolerance)
    out = [None if cell is None else numbered.get(cell.edges) for cell in raw]
    tables = _measure_tables([(cell.sides, numbered[cell.edges]) for cell in kept])
    for i in (i for i, cell in enumerate(out) if cell is None):
        # A field within a card: the line has a box of its own.
        x, y = (low[i] + high[i]) / 2
        inside = (sides[:, 0] <= x) & (x <= sides[:, 2]) & (sides[:, 1] <= y) & (y <= sides[:, 3])
        if inside.any():
            out[i] = numbered[kept[int(inside.argmax())].edges]
        else:
            out[i] = _find_place(tables, x, y, tolerance)
    return out


Extents = dict[int, tuple[float, float]]


def _measure_tables(
    cells: Sequence[tuple["Sides", PageCell]],
) -> dict[int, tuple[Extents, Extents]]:
    """Return where the columns and the rows of each table of at least two of both begin and end."""
    own: dict[int, list[tuple[Sides, PageCell]]] = {}
    for sides, cell in cells:
        own.setdefault(cell.group, []).append((sides, cell))
    tables = {}
    for group, members in own.items():
        sides = np.array([one for one, _ in members])
        numbers = np.array([(cell.column, cell.row) for _, cell in members])
        columns, rows = (
            {int(n): _measure_extent(sides[numbers[:, k] == n, k::2]) for n in np.unique(numbers[:, k])}
            for k in (0, 1)
        )
        if min(len(columns), len(rows)) > 1:
            tables[group] = columns, rows
    return tables


def _measure_extent(ends: NDArray[np.float64]) -> tuple[float, float]:
    first, last = np.median(ends, axis=0).tolist()
    return first, last


def _find_place(
    tables: Mapping[int, tuple[Extents, Extents]], x: float, y: float, slack: float
) -> PageCell | None:
    """Return the cell of a table that a point is in, though not all edges of that cell were seen."""

    def find(extents: Extents, at: float) -> int | None:
        nearest = min(extents, key=lambda n: abs(sum(extents[n]) / 2 - at))
        first, last = extents[nearest]
        return nearest if first - slack <= at <= last + slack else None

    for group, (columns, rows) in tables.items():
        column, row = find(columns, x), find(rows, y)
        if column is not None and row is not None:
            return PageCell(group, row, column)
    return None


Sides = tuple[float, float, float, float]
Edges = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class _Rectangle:
    """Left, top, right and bottom, and the numbers of the edges there, negative for vertical ones."""

    sides: Sides
    edges: Edges


def _number(
    cells: Sequence[_Rectangle], groups: Mapping[Edges, int], tolerance: float
) -> dict[Edges, PageCell]:
    """Number the rows and columns of each table by where its cells begin."""
    tables: dict[int, list[_Rectangle]] = {}
    for cell in cells:
        tables.setdefault(groups[cell.edges], []).append(cell)
    numbered = {}
    for group, own in tables.items():
        rows = _rank([(cell.sides[1], cell.sides[3]) for cell in own], tolerance)
        columns = _rank([(cell.sides[0], cell.sides[2]) for cell in own], tolerance)
        numbered |= {
            cell.edges: PageCell(group, row, column)
            for cell, row, column in zip(own, rows, columns, strict=True)
        }
    return numbered


def _rank(extents: Sequence[tuple[float, float]], tolerance: float) -> list[int]:
    """Return the row (or the column) of each extent: the next begins where the shortest of this one ends."""
    ranks, rank, end = [0] * len(extents), 0, float("inf")
    for i in sorted(range(len(extents)), key=lambda i: extents[i]):
        if extents[i][0] > end - tolerance:
            rank, end = rank + 1, float("inf")
        ranks[i], end = rank, min(end, extents[i][1])
    return ranks


def _enclose(edges: PageEdges, left: float, top: float, right: float, bottom: float) -> _Rectangle | None:
    """Return the rectangle that edges make around a line."""
    x, y, height = (left + right) / 2, (top + bottom) / 2, bottom - top
    slack = _SLACK * height
    beside = (edges.vertical[:, 1] < y) & (edges.vertical[:, 3] > y)
    ends = _nearest(locate(edges.vertical, y), beside, left + slack, right - slack)
    if ends is None:
        return None
    (west, first), (east, last) = ends
    wide = edges.horizontal
    first_x, last_x = np.maximum(wide[:, 1], west), np.minimum(wide[:, 3], east)
    reach = last_x - first_x >= _REACH[0] * (east - west)
    reach &= np.maximum(first_x - west, east - last_x) <= _CORNER * height
    ends = _nearest(locate(wide, x), reach, top + slack, bottom - slack)
    if ends is None:
        return None
    (north, high), (south, low) = ends
    for _, begin, _, end in edges.vertical[[first, last]]:
        if min(end, south) - max(begin, north) < _REACH[1] * (south - north):
            return None
    return _Rectangle((west, north, east, south), (-1 - first, -1 - last, high, low))


def _nearest(
    at: NDArray[np.float64], chosen: NDArray[np.bool_], low: float, high: float
) -> tuple[tuple[float, int], tuple[float, int]] | None:
    """Return the place and the number of the nearest chosen edges up to one place and from another on."""
    before, after = np.where(chosen & (at <= low), at, -np.inf), np.where(chosen & (at >= high), at, np.inf)
    first, last = int(before.argmax()), int(after.argmin())
    if not np.isfinite([before[first], after[last]]).all():
        return None
    return (float(before[first]), first), (float(after[last]), last)


def _are_around(sides: NDArray[np.float64], tolerance: float) -> NDArray[np.bool_]:
    """Return for each cell whether it is around another one; of very many, for none."""
    if len(sides) > _MOST_CELLS:
        return np.zeros(len(sides), bool)
    outer, inner = sides[:, None], sides[None]
    begins = np.all(outer[..., :2] <= inner[..., :2] + tolerance, axis=-1)
    ends = np.all(inner[..., 2:] <= outer[..., 2:] + tolerance, axis=-1)
    return np.any(begins & ends & ~np.eye(len(sides), dtype=bool), axis=1)


def _group(cells: Sequence[Edges]) -> dict[Edges, int]:
    """Number the tables: cells that have an edge in common belong together, wherever along it they are."""
    parents = list(range(len(cells)))

    def find(i: int) -> int:
        while parents[i] != i:
            parents[i] = parents[parents[i]]
            i = parents[i]
        return i

    first: dict[int, int] = {}
    for i, cell in enumerate(cells):
        for edge in cell:
            parents[find(i)] = find(first.setdefault(edge, i))
    return {cell: find(i) for i, cell in enumerate(cells)}
