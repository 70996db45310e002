"""Softmax over tiles of scores: what is kept between tiles, and which tile comes next.

Rows are places times heads that share keys, places first: row ``r`` asks from place ``r // each``. So the
queries of a group meet their keys in one product, and the gradient of a shared key is the sum that this
product takes.
"""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

Asking = Float[Tensor, "N R D"]  # N batch times key heads, R places times heads of a group
Asked = Float[Tensor, "N S D"]
Kept = Bool[Tensor, "N 1 S"]
PerRow = Float[Tensor, "N R 1"]


class Running(NamedTuple):
    """What is known of every row after the tiles so far.

    Args:
        maximum: The largest score; minus infinity before any.
        total: The sum of exp(score - maximum).
        mixed: The sum of exp(score - maximum) times the value.
    """

    maximum: PerRow
    total: PerRow
    mixed: Asking


class Tile(NamedTuple):
    """Some rows and some keys; ``hidden`` marks keys later than their row, None where there are none."""

    rows: slice
    keys: slice
    hidden: Bool[Tensor, "rows keys"] | None


class Tiling(NamedTuple):
    """How a table of scores is cut; numbers only, so that it passes through a compiler.

    Args:
        each: Query heads that share a key head.
        query_block: Places of queries in one tile.
        key_block: Keys in one tile.
        causal: Leave out the tiles whose keys are all later than their queries.
        keys_outside: The outer loop is over blocks of keys, not of queries.
    """

    each: int
    query_block: int
    key_block: int
    causal: bool
    keys_outside: bool

    def tiles(self, q: Asking, k: Asked) -> Iterator[Tile]:
        """Yield the tiles with anything to see in them."""
        t, s = q.shape[1] // self.each, k.shape[1]
        starts = range(0, t, self.query_block), range(0, s, self.key_block)
        if self.keys_outside:
            pairs = ((i, j) for j in starts[1] for i in starts[0])
        else:
            pairs = ((i, j) for i in starts[0] for j in starts[1])
        for i, j in pairs:
            ends = min(i + self.query_block, t), min(j + self.key_block, s)
            if self.causal:
                # The place of the block's first query, and where the sight of its last one ends.
                first, sight = s - t + i, s - t + ends[0]
                if j >= sight:
                    continue
                ends = ends[0], min(ends[1], sight)
                hidden = self._later(first, (i, j), ends, q.device) if ends[1] > first + 1 else None
            else:
                hidden = None
            yield Tile(slice(i * self.each, ends[0] * self.each), slice(j, ends[1]), hidden)

    def _later(
        self, first: int, starts: tuple[int, int], ends: tuple[int, int], device: torch.device
    ) -> Bool[Tensor, "rows keys"]:
        rows = torch.arange((ends[0] - starts[0]) * self.each, device=device)
        places = first + rows.div(self.each, rounding_mode="floor")
        return torch.arange(starts[1], ends[1], device=device) > places[:, None]


def scored(q: Asking, k: Asked, keep: Kept | None, tile: Tile) -> Float[Tensor, "N rows keys"]:
    """Return the scores of one tile, minus infinity where a key is hidden; q comes scaled."""
    scores = torch.bmm(q[:, tile.rows], k[:, tile.keys].mT)
    if tile.hidden is not None:
        scores.masked_fill_(tile.hidden, float("-inf"))
    if keep is not None:
        scores.masked_fill_(~keep[:, :, tile.keys], float("-inf"))
    return scores


def runs(q: Asking, k: Asked, v: Asked, keep: Kept | None, tiling: Tiling) -> Iterator[Running]:
    """Look tile by tile and yield, after each, what is known of all rows: the same tensors, updated."""
    maximum = q.new_full((*q.shape[:2], 1), float("-inf"))
    known = Running(maximum, torch.zeros_like(maximum), torch.zeros_like(q))
    yield known
    for tile in tiling.tiles(q, k):
        absorb(Running(*(x[:, tile.rows] for x in known)), scored(q, k, keep, tile), v[:, tile.keys])
        yield known


def absorb(known: Running, scores: Float[Tensor, "N rows keys"], v: Float[Tensor, "N keys D"]) -> None:
    """Take one tile into what is known of its rows.

    When a larger maximum comes, what was summed against the old one shrinks by exp(old - new).
    """
    new = torch.maximum(known.maximum, scores.amax(-1, keepdim=True))
    # A row that has seen nothing has no maximum to subtract: its weights are exp(-inf) = 0 against any.
    against = new.masked_fill(new == float("-inf"), 0.0)
    shrink = known.maximum.sub(against).exp_()
    weights = scores.sub_(against).exp_()
    known.total.mul_(shrink).add_(weights.sum(-1, keepdim=True))
    known.mixed.mul_(shrink).baddbmm_(weights, v)
    known.maximum.copy_(new)


def settled(known: Running) -> tuple[Asking, PerRow]:
    """Return the answer and the log of the sum of exp(score).

    A row that saw nothing answers zeros, and has infinity for its log, so that its weights,
    exp(score - log), are recomputed as zeros.
    """
    empty = known.total == 0
    log = known.maximum.add(known.total.log()).masked_fill(empty, float("inf"))
    return known.mixed / known.total.masked_fill(empty, 1.0), log
