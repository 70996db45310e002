"""The patterns of the Sparse Transformer and of BigBird: visible keys, and the tiles that contain them.

Blocks of positions are counted from the first key. Causality is applied on top and hides later keys, so each
pattern is defined in its two-sided form.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from itertools import pairwise

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from nhin.attention.base import ABILITIES, Facts
from nhin.attention.masks import KeyPositions, PairMask, QueryPositions, WindowMask
from nhin.attention.tiles import Tile, TileBuilder

BlockIndex = Int[Tensor, "N 1"]  # of queries; also: how many blocks of keys each has
KeyBlocks = Int[Tensor, " M"]
BlockPairs = Bool[Tensor, "N M"]

TABLE_ROWS = 64  # rows of the table of blocks that are computed at once

sparse_facts = partial(
    Facts,
    memory="O((T + S)·D)",
    exact=False,
    source="arXiv:1904.10509",
    abilities=frozenset(ABILITIES) - {"unordered"},
    family="sparse",
    state="2·S·G·D",
)


class LocalBand(WindowMask):
    """Shows the nearest ``width`` positions, itself included, and as many on the other side."""

    def tiles(self, builder: TileBuilder) -> Iterator[Tile]:
        """See ``TiledPattern``."""
        # Narrow runs of queries waste few scores beside the band, wide ones take few steps.
        step = min(64, max(16, self.width // 2))
        for _, positions in builder.iter_blocks(step):
            keys = range(max(0, positions.start - self.width + 1), positions.stop + self.width - 1)
            yield from builder.tiles(positions, [keys], WindowMask(self.width))


@dataclass(frozen=True)
class OutsideBand:
    """Shows positions at a distance of ``width`` or more."""

    width: int

    def mask(self, p: QueryPositions, s: KeyPositions, size: QueryPositions) -> PairMask:
        """See ``Pattern``."""
        return (p - s).abs() >= self.width


@dataclass(frozen=True)
class Columns:
    """Shows every ``stride``-th position before and after the query's own."""

    stride: int

    def mask(self, p: QueryPositions, s: KeyPositions, size: QueryPositions) -> PairMask:
        """See ``Pattern``."""
        return (p - s) % self.stride == 0

    def tiles(self, builder: TileBuilder) -> Iterator[Tile]:
        """See ``TiledPattern``: positions of one residue see each other and no others."""
        for positions, keys in self.residue_classes(builder):
            yield from builder.tiles(positions, [keys])

    def residue_classes(self, builder: TileBuilder) -> Iterator[tuple[range, range]]:
        """Yield the positions of queries and of keys of each residue."""
        for first in builder.positions[: self.stride]:
            yield (
                range(first, builder.positions.stop, self.stride),
                range(first % self.stride, builder.keys, self.stride),
            )


@dataclass(frozen=True)
class StridedMask:
    """Shows the nearest ``stride`` positions and every ``stride``-th position."""

    stride: int

    def mask(self, p: QueryPositions, s: KeyPositions, size: QueryPositions) -> PairMask:
        """See ``Pattern``."""
        return LocalBand(self.stride).mask(p, s, size) | Columns(self.stride).mask(p, s, size)

    def tiles(self, builder: TileBuilder) -> Iterator[Tile]:
        """See ``TiledPattern``: the band first, then the rest of each residue."""
        yield from LocalBand(self.stride).tiles(builder)
        for positions, keys in Columns(self.stride).residue_classes(builder):
            yield from builder.tiles(positions, [keys], OutsideBand(self.stride), is_continuation=True)


@dataclass(frozen=True)
class FixedMask:
    """Shows its own block of ``stride`` positions and the last ``summary`` positions of every block."""

    stride: int
    summary: int

    def mask(self, p: QueryPositions, s: KeyPositions, size: QueryPositions) -> PairMask:
        """See ``Pattern``."""
        return (p // self.stride == s // self.stride) | (s % self.stride >= self.stride - self.summary)

    def tiles(self, builder: TileBuilder) -> Iterator[Tile]:
        """See ``TiledPattern``: earlier summaries, own block, later summaries."""
        for i, positions in builder.iter_blocks(self.stride):
            start, stop = max(0, i * self.stride), max(0, (i + 1) * self.stride)
            columns = range(self.stride - self.summary, self.stride)
            before = [range(column, start, self.stride) for column in columns]
            later = () if builder.causal else columns
            after = [range(stop + column, builder.keys, self.stride) for column in later]
            yield from builder.tiles(positions, [*before, range(start, stop), *after])


class BlockPattern:
    """A pattern in which all queries of a block see the same, entire blocks of keys."""

    block: int

    def block_mask(self, i: BlockIndex, j: KeyBlocks, count: BlockIndex) -> BlockPairs:
        """Return which blocks of queries see which blocks of keys.

        Args:
            i: The block of each query; negative before the first key.
            j: Blocks of keys, all of them from the first.
            count: Number of blocks of keys of each query.
        """
        raise NotImplementedError

    def mask(self, p: QueryPositions, s: KeyPositions, size: QueryPositions) -> PairMask:
        """See ``Pattern``."""
        if torch.compiler.is_compiling():
            blocks = s.shape[0] // self.block + 1
        else:
            blocks = max([int(x.max()) for x in (s, size - 1) if x.numel()], default=0) // self.block + 1
        j = torch.arange(blocks, device=s.device)
        visible = self.block_mask(p // self.block, j, (size - 1) // self.block + 1)
        return visible.index_select(1, s // self.block)

    def tiles(self, builder: TileBuilder) -> Iterator[Tile]:
        """See ``TiledPattern``."""
        groups = list(builder.iter_blocks(self.block))
        count = -(-builder.keys // self.block)
        for start in range(0, len(groups), TABLE_ROWS):
            part = groups[start : start + TABLE_ROWS]
            i = torch.tensor([number for number, _ in part])[:, None]
            size = i + 1 if builder.causal else torch.full_like(i, count)
            table = self.block_mask(i, torch.arange(count), size).tolist()
            for (_, positions), row in zip(part, table, strict=True):
                yield from builder.tiles(positions, self._visible_spans(row))

    def _visible_spans(self, row: list[bool]) -> list[range]:
        """Return the runs of keys of the visible blocks."""
        edges = [j for j, (a, b) in enumerate(pairwise([False, *row, False])) if a != b]
        return [range(a * self.block, b * self.block) for a, b in zip(edges[::2], edges[1::2], strict=True)]


@dataclass(frozen=True)
class BlockDiagonal(BlockPattern):
    """Shows its own block of positions."""

    block: int

    def block_mask(self, i: BlockIndex, j: KeyBlocks, count: BlockIndex) -> BlockPairs:
        """See ``BlockPattern``."""
        return i == j


@dataclass(frozen=True)
class BlockLayout(BlockPattern):
    """Block i sees block j where ``layout[i][j]`` is true; beyond its edges the layout repeats."""

    block: int
    layout: tuple[tuple[bool, ...], ...]

    def block_mask(self, i: BlockIndex, j: KeyBlocks, count: BlockIndex) -> BlockPairs:
        """See ``BlockPattern``."""
        table = torch.tensor(self.layout, device=j.device)
        return table[i % table.shape[0], j % table.shape[1]]


@dataclass(frozen=True)
class PowerOfTwoBlocks(BlockPattern):
    """Shows its own block and those 1, 2, 4, 8 and so on blocks away."""

    block: int

    def block_mask(self, i: BlockIndex, j: KeyBlocks, count: BlockIndex) -> BlockPairs:
        """See ``BlockPattern``."""
        gap = (i - j).abs()
        return gap & (gap - 1) == 0  # also of zero


@dataclass(frozen=True)
class BigBirdBlocks(BlockPattern):
    """BigBird: shows the nearest blocks, the first blocks and a few random ones; the first see all blocks.

    Random blocks are those with the smallest hashes of seed, query block and key block, among the blocks that
    a query has and does not see anyway, so they need no memory and no generator. For the settings see
    ``bigbird``.
    """

    block: int
    window: int
    globals: int
    random: int
    seed: int = 0

    def block_mask(self, i: BlockIndex, j: KeyBlocks, count: BlockIndex) -> BlockPairs:
        """See ``BlockPattern``."""
        always = ((i - j).abs() < self.window) | (j < self.globals) | ((i >= 0) & (i < self.globals))
        return always | self.random_blocks(i, j, ~always & (j < count)) if self.random else always

    def random_blocks(self, i: BlockIndex, j: KeyBlocks, free: BlockPairs) -> BlockPairs:
        """Return the blocks drawn among the free ones."""
        hashes = pair_hash(self.seed, i, j).masked_fill(~free, NO_HASH)
        # Where fewer are free than are drawn, all of them are taken: the largest hash is then NO_HASH.
        spare = hashes.new_full((hashes.shape[0], 1), NO_HASH)
        drawn = min(self.random, hashes.shape[1] + 1)  # memory follows the blocks there are, not the setting
        smallest = torch.cat([hashes, spare], 1).topk(drawn, 1, largest=False).values
        return free & (hashes <= smallest.amax(1, keepdim=True))


NO_HASH = 1 << 62


def pair_hash(seed: int, i: BlockIndex, j: KeyBlocks) -> Int[Tensor, "N M"]:
    """Return a pseudorandom number for each pair of blocks, different within a row."""
    x = ((seed * 0x2545F491 & 0x7FFFFFFF) + i * 0x1B873593 + j * 0x19D699A5) & 0x7FFFFFFF
    for _ in range(3):
        # Products stay below 2^62, so every device gets the same.
        x = ((x ^ (x >> 15)) * 0x45D9F3B5) & 0x7FFFFFFF
    return ((x ^ (x >> 16)) << 31) | j
