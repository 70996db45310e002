"""How a sparse pattern says where to look: queries in runs, each with stretches of keys.

A *piece* is some queries, some stretches of keys, and a rule where not every one of these queries sees every
one of these keys. The pieces of a pattern hold each pair it shows exactly once, and no more of the others
than it is cheap to mask.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Bool
from torch import Tensor

from nhin.attention.masks import KeyPositions, PairMask, Pattern, QueryPositions

MAX_TILE_ROWS, MAX_TILE_KEYS = 128, 1024  # the scores of a tile then stay in the processor's cache


@dataclass(frozen=True)
class Tile:
    """Some queries and the keys they are compared with.

    Args:
        rows: Which queries.
        keys: Stretches of keys.
        rule: Who sees whom among these queries and the last stretch, causality aside; None when all see all.
            Only the gap between places counts, or the last stretch begins at the first key.
        is_continuation: Some of these queries were in a piece before.
        whole: These queries are in no other piece.
    """

    rows: range
    keys: tuple[range, ...]
    rule: Pattern | None = None
    is_continuation: bool = False
    whole: bool = False


@dataclass(frozen=True)
class TileBuilder:
    """Cuts what a pattern wants compared into pieces of bounded size.

    Args:
        queries: T.
        keys: S.
        causal: Leave out keys that are later than all queries of a piece.
        backward: Asked for by the backward pass, where pieces need not join in order.
    """

    queries: int
    keys: int
    causal: bool
    backward: bool = False

    @property
    def positions(self) -> range:
        """Where queries stand; causally without those that stand before every key."""
        start = self.keys - self.queries
        return range(max(0, start) if self.causal else start, self.keys)

    def hidden_pairs(
        self, tile: Tile, spans: Sequence[range], device: torch.device
    ) -> Bool[Tensor, "rows keys"]:
        """Return which queries of a tile may not attend to which keys of ``spans``, its last stretches."""
        p = torch.tensor(tile.rows, device=device)[:, None] + (self.keys - self.queries)
        s = torch.cat([torch.arange(run.start, run.stop, run.step, device=device) for run in spans])
        size = p + 1 if self.causal else torch.full_like(p, self.keys)
        hidden = s > p if self.causal else torch.zeros(len(p), len(s), dtype=torch.bool, device=device)
        return hidden if tile.rule is None else hidden | ~tile.rule.mask(p, s, size)

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


@dataclass(frozen=True)
class TileGrid:
    """Lets every query attend to every key, a block of queries and a block of keys at a time.

    Args:
        query_block: Queries in one tile.
        key_block: Keys in one tile.
        keys_outer: The outer loop is over blocks of keys, not of queries, as always in the backward pass.
    """

    query_block: int
    key_block: int
    keys_outer: bool = False

    def mask(self, p: QueryPositions, s: KeyPositions, size: QueryPositions) -> PairMask:
        """See ``Pattern``."""
        return torch.ones_like(p == s)

    def tiles(self, builder: TileBuilder) -> Iterator[Tile]:
        """Yield the tiles; causally without the keys that are later than all queries of a tile."""
        rows, keys = range(0, builder.queries, self.query_block), range(0, builder.keys, self.key_block)
        pairs = (
            product(keys, rows)
            if self.keys_outer or builder.backward
            else ((j, i) for i, j in product(rows, keys))
        )
        for j, i in pairs:
            end = min(i + self.query_block, builder.queries)
            stop = min(j + self.key_block, builder.keys)
            if builder.causal:
                stop = min(stop, builder.keys - builder.queries + end)
            if j < stop:
                yield Tile(range(i, end), (range(j, stop),), is_continuation=j > 0)
