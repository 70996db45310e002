"""How a sparse pattern says where to look: queries in runs, each with stretches of keys.

A *piece* is some queries, some stretches of keys, and a rule where not every one of these queries sees every
one of these keys. The pieces of a pattern hold each pair it shows exactly once, and no more of the others
than it is cheap to mask.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from nhin.attention._patterns import Pattern

ROWS, COLUMNS = 128, 1024  # of one piece at most: its scores then stay in a cache, whatever the pattern


@dataclass(frozen=True)
class Piece:
    """Some queries and the keys they are compared with.

    Args:
        rows: Which queries.
        keys: Stretches of keys.
        rule: Who sees whom among these by their places, causality aside; None when all see all.
        joins: Some of these queries were in a piece before.
    """

    rows: range
    keys: tuple[range, ...]
    rule: Pattern | None = None
    joins: bool = False


@dataclass(frozen=True)
class Cut:
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
    def places(self) -> range:
        """Where queries stand; causally without those that stand before every key."""
        start = self.keys - self.queries
        return range(max(0, start) if self.causal else start, self.keys)

    def grouped(self, block: int) -> Iterator[tuple[int, range]]:
        """Yield each block of places that has queries, and where these stand."""
        places = self.places
        for i in range(places.start // block, -(-places.stop // block) if places else places.start // block):
            yield i, range(max(places.start, i * block), min(places.stop, (i + 1) * block))

    def pieces(
        self, places: range, runs: Sequence[range], rule: Pattern | None = None, joins: bool = False
    ) -> Iterator[Piece]:
        """Yield pieces in which queries at ``places`` meet the keys of ``runs``, each 0 or more."""
        move = self.queries - self.keys
        for start in range(0, len(places), ROWS):
            near = places[start : start + ROWS]
            rows = range(near.start + move, near.stop + move, near.step)
            late, stop = joins, min(self.keys, near[-1] + 1) if self.causal else self.keys
            for keys in _parcels(runs, stop):
                yield Piece(rows, keys, rule, late)
                late = True


def _parcels(runs: Sequence[range], stop: int) -> Iterator[tuple[range, ...]]:
    """Yield the keys of ``runs`` before ``stop``, so many at a time."""
    full: list[range] = []
    count = 0
    for run in runs:
        left = range(run.start, min(run.stop, stop), run.step)
        while left:
            part, left = left[: COLUMNS - count], left[COLUMNS - count :]
            full.append(part)
            count += len(part)
            if count == COLUMNS:
                yield tuple(full)
                full, count = [], 0
    if full:
        yield tuple(full)


@runtime_checkable
class Planned(Pattern, Protocol):
    """A pattern that also knows where to look."""

    def pieces(self, cut: Cut) -> Iterator[Piece]:
        """Hand out the pieces of a call."""
        ...
