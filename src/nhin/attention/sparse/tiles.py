"""How a sparse pattern says where to look: queries in runs, each with stretches of keys.

A *piece* is some queries, some stretches of keys, and a rule where not every one of these queries sees every
one of these keys. The pieces of a pattern hold each pair it shows exactly once, and no more of the others
than it is cheap to mask.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from nhin.attention.masks import Pattern

MAX_TILE_ROWS, MAX_TILE_KEYS = (
    128,
    1024,
)  # of one piece at most: its scores then stay in a cache, whatever the pattern


@dataclass(frozen=True)
class Tile:
    """Some queries and the keys they are compared with.

    Args:
        rows: Which queries.
        keys: Stretches of keys.
        rule: Who sees whom among these by their places, causality aside; None when all see all.
        is_continuation: Some of these queries were in a piece before.
    """

    rows: range
    keys: tuple[range, ...]
    rule: Pattern | None = None
    is_continuation: bool = False


@dataclass(frozen=True)
class TileBuilder:
    """Cuts what a pattern wants compared into pieces of bounded size.

    Args:
        queries: T.
        keys: S.
        causal: Leave out keys that are later than all queries of a piece.
    """

    queries: int
    keys: int
    causal: bool

    @property
    def positions(self) -> range:
        """Where queries stand; causally without those that stand before every key."""
        start = self.keys - self.queries
        return range(max(0, start) if self.causal else start, self.keys)

    def iter_blocks(self, block: int) -> Iterator[tuple[int, range]]:
        """Yield each block of places that has queries, and where these stand."""
        places = self.positions
        for i in range(places.start // block, -(-places.stop // block) if places else places.start // block):
            yield i, range(max(places.start, i * block), min(places.stop, (i + 1) * block))

    def tiles(
        self,
        positions: range,
        spans: Sequence[range],
        rule: Pattern | None = None,
        is_continuation: bool = False,
    ) -> Iterator[Tile]:
        """Yield pieces in which queries at ``positions`` meet the keys of ``spans``, each 0 or more."""
        move = self.queries - self.keys
        for start in range(0, len(positions), MAX_TILE_ROWS):
            near = positions[start : start + MAX_TILE_ROWS]
            rows = range(near.start + move, near.stop + move, near.step)
            late, stop = is_continuation, min(self.keys, near[-1] + 1) if self.causal else self.keys
            for keys in _split_spans(spans, stop):
                yield Tile(rows, keys, rule, late)
                late = True


def _split_spans(spans: Sequence[range], stop: int) -> Iterator[tuple[range, ...]]:
    """Yield the keys of ``spans`` before ``stop``, so many at a time."""
    full: list[range] = []
    count = 0
    for run in spans:
        left = range(run.start, min(run.stop, stop), run.step)
        while left:
            part, left = left[: MAX_TILE_KEYS - count], left[MAX_TILE_KEYS - count :]
            full.append(part)
            count += len(part)
            if count == MAX_TILE_KEYS:
                yield tuple(full)
                full, count = [], 0
    if full:
        yield tuple(full)


@runtime_checkable
class TiledPattern(Pattern, Protocol):
    """A pattern that also knows where to look."""

    def tiles(self, builder: TileBuilder) -> Iterator[Tile]:
        """Hand out the pieces of a call."""
        ...
