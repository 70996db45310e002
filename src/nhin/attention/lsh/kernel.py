"""The fast path of LSH attention: every bucket by itself, block by block.

Queries and keys are sorted by bucket and, within one, by place. A *tile* is some queries of one bucket with
all the keys of it that they may see, which lie side by side after sorting. Tiles with about as many keys are
stacked into *blocks* of bounded size. Each round adds its blocks, less the pairs that met in an earlier one;
at the end each place that has not met its own key gets it. ``tiled_softmax`` takes blocks as its tiles, and
makes them again in the backward pass, so memory grows with the number of places.
"""

from collections.abc import Iterator
from typing import NamedTuple

import torch
import torch.nn.functional as F
from einops import rearrange, repeat
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor

from nhin.attention.base import Keep, Keys, Queries
from nhin.attention.tiled_softmax import TiledSoftmax

MAX_TILE_ROWS, MAX_BATCH_SCORES = (
    32,
    1 << 18,
)  # queries of a tile, and scores of a block: it then stays in a cache

GroupQueries = Float[
    Tensor, "N TE D"
]  # N batch and key head; TE queries by place, then by query head of that key head
GroupKeys = Float[Tensor, "N S D"]
QueryBuckets = Int[Tensor, "rounds N TE"]
KeyBuckets = Int[Tensor, "rounds N S"]
FlatRows = Float[Tensor, "_ _"]


class HashedQK(NamedTuple):
    """Where everything was hashed to.

    Args:
        query_buckets: Buckets of queries.
        key_buckets: Buckets of keys.
        bucket_count: How many there are.
    """

    query_buckets: Int[Tensor, "rounds B T H"]
    key_buckets: Int[Tensor, "rounds B S G"]
    bucket_count: int


class MaskArgs(NamedTuple):
    """What else limits looking.

    Args:
        causal: Later keys are not seen.
        keep: True where a key may be seen.
        nonfinite: Keys that are no numbers, put to zeros; those who see one get NaN.
    """

    causal: bool
    keep: Keep | None
    nonfinite: Bool[Tensor, "B S G"] | None


class BucketOrder(NamedTuple):
    """What tiles are cut from.

    Args:
        query_buckets: Buckets of queries.
        key_buckets: Buckets of keys; one past the last bucket for those that nobody may see.
        group_size: Query heads of one key head.
        bucket_count: How many there are.
        causal: Later keys are not seen.
    """

    query_buckets: QueryBuckets
    key_buckets: KeyBuckets
    group_size: int
    bucket_count: int
    causal: bool

    @property
    def offset(self) -> int:
        """Where the first query stands."""
        return self.key_buckets.shape[2] - self.query_buckets.shape[2] // self.group_size

    def position_of(self, rows: Int[Tensor, "*shape"]) -> Int[Tensor, "*shape"]:
        """Return where flat rows stand."""
        return rows % self.query_buckets.shape[2] // self.group_size + self.offset


class RoundTiles(NamedTuple):
    """Tiles of one round, those with the most keys first; queries and keys are numbered through all of N.

    Args:
        order: Queries, sorted.
        keys: Keys, sorted.
        rows: First and last but one of each tile's queries in ``order``.
        key_spans: First of each tile's keys in ``keys``, and how many.
    """

    order: Int[Tensor, " NTE"]
    keys: Int[Tensor, " NS"]
    rows: Int[Tensor, "tiles 2"]
    key_spans: Int[Tensor, "tiles 2"]


class TileBatch(NamedTuple):
    """Tiles side by side.

    Args:
        rows: Which queries; one past the last where a tile has fewer. No other comes twice.
        keys: Which keys.
        hidden: Pairs that do not count; None when all do.
    """

    rows: Int[Tensor, "M R"]
    keys: Int[Tensor, "M L"]
    hidden: Bool[Tensor, "M R L"] | None


def attend(q: Queries, k: Keys, v: Keys, hashes: HashedQK, mask_args: MaskArgs) -> Queries:
    """Return the softmax over all pairs that share a bucket, and over each place's own key."""
    groups, each = k.shape[2], q.shape[2] // k.shape[2]
    # Few bytes: pairs are compared once for every earlier round.
    few = torch.int16 if hashes.bucket_count < 2**15 else torch.int32
    asked = rearrange(hashes.query_buckets.to(few), "r b t (g e) -> r (b g) (t e)", g=groups)
    held = rearrange(hashes.key_buckets.to(few), "r b s g -> r (b g) s")
    if mask_args.keep is not None:
        hidden = repeat(~mask_args.keep, "b s -> 1 (b g) s", g=groups)
        held = held.masked_fill(hidden, hashes.bucket_count)
    sorting = BucketOrder(asked, held, each, hashes.bucket_count, mask_args.causal)
    looks = rearrange(q, "b t (g e) d -> (b g) (t e) d", g=groups)
    k, v = (rearrange(x, "b s g d -> (b g) s d") for x in (k, v))
    # Queries and keys are numbered through, one query that is none after them.
    flat = F.pad(rearrange(looks, "n t d -> (n t) d"), (0, 0, 0, 1))
    k, v = (rearrange(x, "n s d -> (n s) d") for x in (k, v))
    out = TiledSoftmax.apply(flat, k, v, None, BucketTiles(sorting))
    out = out[:-1].unflatten(0, looks.shape[:2])  # pyright: ignore[reportOptionalSubscript] # a tensor
    if mask_args.nonfinite is not None:
        bad = sees_nonfinite(sorting, rearrange(mask_args.nonfinite, "b s g -> (b g) s"))
        out = out.masked_fill(bad[..., None], float("nan"))
    return rearrange(out, "(b g) (t e) d -> b t (g e) d", g=groups, e=each)


def sees_nonfinite(bucket_order: BucketOrder, nonfinite: Bool[Tensor, "N S"]) -> Bool[Tensor, "N TE"]:
    """Tell which queries see a key that is no number: put to zeros, they all are in the first bucket."""
    keys = nonfinite.shape[1]
    p = bucket_order.position_of(torch.arange(bucket_order.query_buckets.shape[2], device=nonfinite.device))
    first = torch.where(nonfinite.any(1), nonfinite.int().argmax(1), keys)[:, None]
    near = first <= (p if bucket_order.causal else keys - 1)
    own = nonfinite[:, p.clamp(min=0)] & (p >= 0)
    return (bucket_order.query_buckets == 0).any(0) & near | own


def iter_tile_batches(bucket_order: BucketOrder) -> Iterator[TileBatch]:
    """Yield blocks that hold each pair that is seen exactly once."""
    for r in range(bucket_order.query_buckets.shape[0]):
        yield from _iter_round(bucket_order, r)
    yield from _iter_own_keys(bucket_order)


def _iter_round(bucket_order: BucketOrder, r: int) -> Iterator[TileBatch]:
    """Yield the pairs that meet in round r and in none before."""
    tiles = _build_tiles(bucket_order, r)
    # A query that is none is in a bucket that is none.
    asked = F.pad(rearrange(bucket_order.query_buckets[:r], "r n t -> r (n t)"), (0, 1), value=-1)
    held = rearrange(bucket_order.key_buckets[:r], "r n s -> r (n s)")
    lengths, i = tiles.key_spans[:, 1].tolist(), 0
    slots = torch.arange(MAX_TILE_ROWS, device=asked.device)
    while i < len(lengths):
        some = slice(i, i + max(1, MAX_BATCH_SCORES // (MAX_TILE_ROWS * lengths[i])))
        i, columns = some.stop, torch.arange(lengths[some.start], device=asked.device)
        at = tiles.rows[some, :1] + slots
        last = len(tiles.order)
        rows = _select_rows(tiles.order, at.clamp(max=last - 1)).masked_fill(at >= tiles.rows[some, 1:], last)
        start, count = tiles.key_spans[some, :1], tiles.key_spans[some, 1:]
        keys = _select_rows(tiles.keys, (start + columns).clamp(max=len(tiles.keys) - 1))
        unseen = (columns >= count)[:, None]
        if bucket_order.causal:
            own, other = (
                bucket_order.position_of(rows).int(),
                (keys % bucket_order.key_buckets.shape[2]).int(),
            )
            unseen = unseen | (other[:, None] > own[..., None])
        for one, two in zip(asked, held, strict=True):
            unseen = unseen | (_select_rows(one, rows)[..., None] == _select_rows(two, keys)[:, None])
        yield TileBatch(rows, keys, unseen)


def _build_tiles(bucket_order: BucketOrder, r: int) -> RoundTiles:
    """Sort round r and cut it."""
    asked, held = bucket_order.query_buckets[r].long(), bucket_order.key_buckets[r].long()
    (n, queries), keys = asked.shape, held.shape[1]
    # Buckets are numbered through all of N, the hidden keys' bucket included.
    shift = torch.arange(n, device=asked.device)[:, None] * (bucket_order.bucket_count + 1)
    asked, held = asked + shift, held + shift
    row = torch.arange(queries, device=asked.device)
    order = (asked * queries + row).flatten().argsort()
    stood, run = (held * keys + torch.arange(keys, device=held.device)).flatten().sort()
    filled = asked.flatten().bincount(minlength=n * (bucket_order.bucket_count + 1))
    cut = (filled + MAX_TILE_ROWS - 1) // MAX_TILE_ROWS
    bucket = torch.arange(len(cut), device=cut.device).repeat_interleave(cut)
    nth = torch.arange(len(bucket), device=cut.device) - (cut.cumsum(0) - cut)[bucket]
    stop = filled.cumsum(0)[bucket]
    start = stop - filled[bucket] + nth * MAX_TILE_ROWS
    stop = stop.minimum(start + MAX_TILE_ROWS)
    seen = (bucket_order.position_of(order[stop - 1]) + 1).clamp(min=0) if bucket_order.causal else keys
    first = torch.searchsorted(stood, bucket * keys)
    count = torch.searchsorted(stood, bucket * keys + seen) - first
    count, most = count.sort(descending=True)
    most = most[: int((count > 0).sum())]
    rows = torch.stack([start, stop], 1)[most]
    return RoundTiles(order, run, rows, torch.stack([first[most], count[: len(most)]], 1))


def _iter_own_keys(bucket_order: BucketOrder) -> Iterator[TileBatch]:
    """Yield each place with its own key, where these may meet and have met in no round."""
    asked, held = bucket_order.query_buckets, bucket_order.key_buckets
    p = bucket_order.position_of(torch.arange(asked.shape[2], device=asked.device))
    own = held[:, :, p.clamp(min=0)]
    alone = (p >= 0) & (own[0] < bucket_order.bucket_count) & (own != asked).all(0)
    for pairs in alone.nonzero().split(max(1, MAX_BATCH_SCORES // 64)):
        n, row = pairs[:, :1], pairs[:, 1:]
        yield TileBatch(n * asked.shape[2] + row, n * held.shape[2] + p[row], None)


class BucketTile(NamedTuple):
    """A block bound to queries and keys that are numbered through; see ``tiled_softmax.BoundTile``."""

    block: TileBatch
    joins: bool = True
    whole: bool = False

    def rows(self, x: FlatRows) -> Float[Tensor, "M R _"]:
        """Return the rows."""
        return _select_rows(x, self.block.rows)

    def keys(self, x: FlatRows) -> Float[Tensor, "M L _"]:
        """Return the keys."""
        return _select_rows(x, self.block.keys)

    def set_rows(self, x: FlatRows, values: Float[Tensor, "M R _"]) -> None:
        """Write the rows."""
        x.index_copy_(0, self.block.rows.flatten(), values.flatten(0, 1))
        # The query that is none comes often: its logsumexp must fit its scores, which are zeros.
        x[-1].zero_()

    def add_rows(self, x: FlatRows, left: Tensor, right: Tensor, scale: float) -> None:
        """Add a scaled product to the rows."""
        x.index_add_(0, self.block.rows.flatten(), torch.bmm(left, right).flatten(0, 1), alpha=scale)

    def add_keys(self, x: FlatRows, left: Tensor, right: Tensor, scale: float) -> None:
        """Add a scaled product to the keys."""
        x.index_add_(0, self.block.keys.flatten(), torch.bmm(left, right).flatten(0, 1), alpha=scale)

    def adjust(self, scores: Float[Tensor, "M R L"], bias: None) -> None:
        """Put minus infinity where pairs do not count."""
        if self.block.hidden is not None:
            scores.masked_fill_(self.block.hidden, float("-inf"))

    def add_bias(self, x: Tensor, grad: Tensor) -> None:
        """Do nothing: there is no bias."""


class BucketTiles(NamedTuple):
    """The blocks of a sorting, bound; see ``tiled_softmax.TileSource``."""

    sorting: BucketOrder

    def tiles(self, *, backward: bool = False) -> Iterator[BucketTile]:
        """Yield the blocks in order."""
        return map(BucketTile, iter_tile_batches(self.sorting))

    def fuse(self, q: Tensor, k: Tensor, v: Tensor, out: Tensor, log: Tensor) -> Iterator[BucketTile]:
        """Leave all blocks to the others."""
        return self.tiles()


def _select_rows(x: Shaped[Tensor, "_ *width"], at: Int[Tensor, "M _"]) -> Shaped[Tensor, "M _ *width"]:
    # Ten times as quick as x[at] on a CPU.
    return x.index_select(0, at.flatten()).unflatten(0, at.shape)
