"""The patterns of the Sparse Transformer and of BigBird: who sees whom, and which keys to fetch for whom.

Blocks of places are counted from the first key. As everywhere, a pattern speaks of places; causality comes
on top and hides what is later, so each of these is written in its two-sided form.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from nhin.attention.masks import KeyPositions, PairMask, QueryPositions, WindowMask
from nhin.attention.tiles import Tile, TileBuilder

BlockIndex = Int[Tensor, "N 1"]  # of queries; also how many blocks of keys each has
KeyBlocks = Int[Tensor, " M"]  # of keys
BlockPairs = Bool[Tensor, "N M"]

TABLE_ROWS = 64  # rows of a table of blocks, which is never held whole


@dataclass(frozen=True)
class LocalBand:
    """Sees the nearest ``width`` places, itself included, and as many on the other side: a local band."""

    width: int

    def mask(self, p: QueryPositions, s: KeyPositions, size: QueryPositions) -> PairMask:
        """See ``Pattern``."""
        return WindowMask(self.width).mask(p, s, size)

    def tiles(self, builder: TileBuilder) -> Iterator[Tile]:
        """See ``Planned``."""
        # Narrow runs of queries waste few scores beside the band, wide ones take few steps.
        step = min(64, max(16, self.width // 2))
        for _, places in builder.iter_blocks(step):
            keys = range(max(0, places.start - self.width + 1), places.stop + self.width - 1)
            yield from builder.tiles(places, [keys], WindowMask(self.width))


@dataclass(frozen=True)
class OutsideBand:
    """Sees places that are ``width`` away or more."""

    width: int

    def mask(self, p: QueryPositions, s: KeyPositions, size: QueryPositions) -> PairMask:
        """See ``Pattern``."""
        return (p - s).abs() >= self.width


@dataclass(frozen=True)
class Columns:
    """Sees every ``stride``-th place before and after, counted from itself."""

    stride: int

    def mask(self, p: QueryPositions, s: KeyPositions, size: QueryPositions) -> PairMask:
        """See ``Pattern``."""
        return (p - s) % self.stride == 0

    def tiles(self, builder: TileBuilder) -> Iterator[Tile]:
        """Places that differ by a multiple of the stride see each other and nobody else."""
        for places, keys in self.residue_classes(builder):
            yield from builder.tiles(places, [keys])

    def residue_classes(self, builder: TileBuilder) -> Iterator[tuple[range, range]]:
        """Yield the places of queries and of keys that leave the same remainder."""
        for first in builder.positions[: self.stride]:
            yield (
                range(first, builder.positions.stop, self.stride),
                range(first % self.stride, builder.keys, self.stride),
            )


@dataclass(frozen=True)
class StridedMask:
    """Sees the nearest ``stride`` places and every ``stride``-th place."""

    stride: int

    def mask(self, p: QueryPositions, s: KeyPositions, size: QueryPositions) -> PairMask:
        """See ``Pattern``."""
        return LocalBand(self.stride).mask(p, s, size) | Columns(self.stride).mask(p, s, size)

    def tiles(self, builder: TileBuilder) -> Iterator[Tile]:
        """See ``Planned``: the band first, then each remainder without what the band has shown."""
        yield from LocalBand(self.stride).tiles(builder)
        for places, keys in Columns(self.stride).residue_classes(builder):
            yield from builder.tiles(places, [keys], OutsideBand(self.stride), is_continuation=True)


@dataclass(frozen=True)
class FixedMask:
    """Sees its own block of ``stride`` places and the last ``summary`` places of every block."""

    stride: int
    summary: int

    def mask(self, p: QueryPositions, s: KeyPositions, size: QueryPositions) -> PairMask:
        """See ``Pattern``."""
        return (p // self.stride == s // self.stride) | (s % self.stride >= self.stride - self.summary)

    def tiles(self, builder: TileBuilder) -> Iterator[Tile]:
        """See ``Planned``: summaries before, own block, summaries after."""
        for i, places in builder.iter_blocks(self.stride):
            start, stop = max(0, i * self.stride), max(0, (i + 1) * self.stride)
            columns = range(self.stride - self.summary, self.stride)
            before = [range(column, start, self.stride) for column in columns]
            after = (
                []
                if builder.causal
                else [range(stop + column, builder.keys, self.stride) for column in columns]
            )
            yield from builder.tiles(places, [*before, range(start, stop), *after])


class BlockPattern:
    """A pattern in which all queries of a block see the same blocks of keys, and these wholly."""

    block: int

    def block_mask(self, i: BlockIndex, j: KeyBlocks, count: BlockIndex) -> BlockPairs:
        """Tell which blocks of queries see which blocks of keys.

        Args:
            i: Which block each query stands in; negative before the first key.
            j: Blocks of keys, all of them from the first.
            count: How many blocks of keys each query has.
        """
        raise NotImplementedError

    def mask(self, p: QueryPositions, s: KeyPositions, size: QueryPositions) -> PairMask:
        """See ``Pattern``."""
        if torch.compiler.is_compiling():
            blocks = s.shape[0] // self.block + 1
        else:
            blocks = max([int(x.max()) for x in (s, size - 1) if x.numel()], default=0) // self.block + 1
        j = torch.arange(blocks, device=s.device)
        shown = self.block_mask(p // self.block, j, (size - 1) // self.block + 1)
        return shown.index_select(1, s // self.block)

    def tiles(self, builder: TileBuilder) -> Iterator[Tile]:
        """See ``Planned``."""
        groups = list(builder.iter_blocks(self.block))
        count = -(-builder.keys // self.block)
        for start in range(0, len(groups), TABLE_ROWS):
            some = groups[start : start + TABLE_ROWS]
            i = torch.tensor([number for number, _ in some])[:, None]
            many = i + 1 if builder.causal else torch.full_like(i, count)
            table = self.block_mask(i, torch.arange(count), many).tolist()
            for (_, places), row in zip(some, table, strict=True):
                yield from builder.tiles(places, self._visible_spans(row))

    def _visible_spans(self, row: list[bool]) -> list[range]:
        """Return the stretches of keys of the blocks that are shown."""
        edges = [j for j, (one, other) in enumerate(pairwise([False, *row, False])) if one != other]
        return [range(a * self.block, b * self.block) for a, b in zip(edges[::2], edges[1::2], strict=True)]


@dataclass(frozen=True)
class BlockDiagonal(BlockPattern):
    """Sees its own block of places."""

    block: int

    def block_mask(self, i: BlockIndex, j: KeyBlocks, count: BlockIndex) -> BlockPairs:
        """See ``InBlocks``."""
        return i == j


@dataclass(frozen=True)
class BlockLayout(BlockPattern):
    """Block i sees block j where ``layout[i][j]`` says so; beyond its edges the layout repeats."""

    block: int
    layout: tuple[tuple[bool, ...], ...]

    def block_mask(self, i: BlockIndex, j: KeyBlocks, count: BlockIndex) -> BlockPairs:
        """See ``InBlocks``."""
        table = torch.tensor(self.layout, device=j.device)
        return table[i % table.shape[0], j % table.shape[1]]


@dataclass(frozen=True)
class PowerOfTwoBlocks(BlockPattern):
    """Sees its own block and those 1, 2, 4, 8 and so on blocks away."""

    block: int

    def block_mask(self, i: BlockIndex, j: KeyBlocks, count: BlockIndex) -> BlockPairs:
        """See ``InBlocks``."""
        gap = (i - j).abs()
        return gap & (gap - 1) == 0  # also of zero


@dataclass(frozen=True)
class BigBirdBlocks(BlockPattern):
    """BigBird: sees the nearest blocks, the first blocks and a few drawn by lot; the first see everybody.

    The lot falls by a fixed hash of seed, query block and key block, so it needs no memory and no
    generator: of the key blocks a query has and does not see anyway, those with the smallest hashes.

    Args:
        block: Places in a block.
        window: Nearest blocks, its own included, and as many on the other side.
        globals: First blocks, which see everybody and are seen by everybody.
        random: Blocks drawn for each block of queries.
        seed: Another seed, other lots.
    """

    block: int
    window: int
    globals: int
    random: int
    seed: int = 0

    def block_mask(self, i: BlockIndex, j: KeyBlocks, count: BlockIndex) -> BlockPairs:
        """See ``InBlocks``."""
        always = ((i - j).abs() < self.window) | (j < self.globals) | ((i >= 0) & (i < self.globals))
        return always | self.random_blocks(i, j, ~always & (j < count)) if self.random else always

    def random_blocks(self, i: BlockIndex, j: KeyBlocks, free: BlockPairs) -> BlockPairs:
        """Return the blocks drawn among those that are free."""
        lots = pair_hash(self.seed, i, j).masked_fill(~free, NO_HASH)
        # Where fewer are free than are drawn, all of them are: NO_LOT is then the largest that is let in.
        spare = lots.new_full((lots.shape[0], self.random), NO_HASH)
        largest = torch.cat([lots, spare], 1).topk(self.random, 1, largest=False).values.amax(1, keepdim=True)
        return free & (lots <= largest)


NO_HASH = 1 << 62


def pair_hash(seed: int, i: BlockIndex, j: KeyBlocks) -> Int[Tensor, "N M"]:
    """Return a number for each pair of blocks that looks random, and no two alike in a row."""
    x = ((seed * 0x2545F491 & 0x7FFFFFFF) + i * 0x1B873593 + j * 0x19D699A5) & 0x7FFFFFFF
    for _ in range(3):
        # Products stay below 2^62, so every device finds the same.
        x = ((x ^ (x >> 15)) * 0x45D9F3B5) & 0x7FFFFFFF
    return ((x ^ (x >> 16)) << 31) | j
