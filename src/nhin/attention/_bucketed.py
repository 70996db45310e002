"""The fast path of LSH attention: every bucket by itself, block by block.

Queries and keys are sorted by bucket and, within one, by place. A *tile* is some queries of one bucket with
all the keys of it that they may see, which lie side by side after sorting. Tiles with about as many keys are
stacked into *blocks* of bounded size. Each round adds its blocks, less the pairs that met in an earlier one;
at the end each place that has not met its own key gets it. What blocks say of a query is joined in one
softmax, by the largest score so far and the sum against it. The backward pass makes each block again from
the saved log-sum, so memory grows with the number of places.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from einops import rearrange, repeat
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor

from nhin.attention.base import Keep, Keys, Queries
from nhin.errors import UsageError

ROWS, SCORES = 32, 1 << 18  # queries of a tile, and scores of a block: it then stays in a cache

Looks = Float[
    Tensor, "N TE D"
]  # N batch and key head; TE queries by place, then by query head of that key head
Held = Float[Tensor, "N S D"]
AskedAs = Int[Tensor, "rounds N TE"]
HeldAs = Int[Tensor, "rounds N S"]
Log = Float[Tensor, "N TE 1"]


class Hashed(NamedTuple):
    """Where everything was hashed to.

    Args:
        asked: Buckets of queries.
        held: Buckets of keys.
        buckets: How many there are.
    """

    asked: Int[Tensor, "rounds B T H"]
    held: Int[Tensor, "rounds B S G"]
    buckets: int


class Limits(NamedTuple):
    """What else limits looking.

    Args:
        causal: Later keys are not seen.
        keep: True where a key may be seen.
        broken: Keys that are no numbers, put to zeros; those who see one get NaN.
    """

    causal: bool
    keep: Keep | None
    broken: Bool[Tensor, "B S G"] | None


class Sorting(NamedTuple):
    """What tiles are cut from.

    Args:
        asked: Buckets of queries.
        held: Buckets of keys; one past the last bucket for those that nobody may see.
        each: Query heads of one key head.
        buckets: How many there are.
        causal: Later keys are not seen.
    """

    asked: AskedAs
    held: HeldAs
    each: int
    buckets: int
    causal: bool

    @property
    def ahead(self) -> int:
        """Where the first query stands."""
        return self.held.shape[2] - self.asked.shape[2] // self.each

    def place(self, rows: Int[Tensor, "*shape"]) -> Int[Tensor, "*shape"]:
        """Return where flat rows stand."""
        return rows % self.asked.shape[2] // self.each + self.ahead


class Tiles(NamedTuple):
    """Tiles of one round, those with the most keys first; queries and keys are numbered through all of N.

    Args:
        order: Queries, sorted.
        keys: Keys, sorted.
        rows: First and last but one of each tile's queries in ``order``.
        runs: First of each tile's keys in ``keys``, and how many.
    """

    order: Int[Tensor, " NTE"]
    keys: Int[Tensor, " NS"]
    rows: Int[Tensor, "tiles 2"]
    runs: Int[Tensor, "tiles 2"]


class Block(NamedTuple):
    """Tiles side by side.

    Args:
        rows: Which queries; one past the last where a tile has fewer. No other comes twice.
        keys: Which keys.
        unseen: Pairs that do not count; None when all do.
    """

    rows: Int[Tensor, "M R"]
    keys: Int[Tensor, "M L"]
    unseen: Bool[Tensor, "M R L"] | None


def attend(q: Queries, k: Keys, v: Keys, hashed: Hashed, limits: Limits) -> Queries:
    """Return the softmax over all pairs that share a bucket, and over each place's own key."""
    groups, each = k.shape[2], q.shape[2] // k.shape[2]
    # Few bytes: pairs are compared once for every earlier round.
    few = torch.int16 if hashed.buckets < 2**15 else torch.int32
    asked = rearrange(hashed.asked.to(few), "r b t (g e) -> r (b g) (t e)", g=groups)
    held = rearrange(hashed.held.to(few), "r b s g -> r (b g) s")
    if limits.keep is not None:
        hidden = repeat(~limits.keep, "b s -> 1 (b g) s", g=groups)
        held = held.masked_fill(hidden, hashed.buckets)
    sorting = Sorting(asked, held, each, hashed.buckets, limits.causal)
    looks = rearrange(q, "b t (g e) d -> (b g) (t e) d", g=groups)
    k, v = (rearrange(x, "b s g d -> (b g) s d") for x in (k, v))
    out = Bucketed.apply(looks, k, v, asked, held, (each, hashed.buckets, limits.causal))
    if limits.broken is not None:
        bad = reached(sorting, rearrange(limits.broken, "b s g -> (b g) s"))
        out = out.masked_fill(bad[..., None], float("nan"))
    return rearrange(out, "(b g) (t e) d -> b t (g e) d", g=groups, e=each)


def reached(sorting: Sorting, broken: Bool[Tensor, "N S"]) -> Bool[Tensor, "N TE"]:
    """Tell which queries see a key that is no number: put to zeros, they all are in the first bucket."""
    keys = broken.shape[1]
    p = sorting.place(torch.arange(sorting.asked.shape[2], device=broken.device))
    first = torch.where(broken.any(1), broken.int().argmax(1), keys)[:, None]
    near = first <= (p if sorting.causal else keys - 1)
    own = broken[:, p.clamp(min=0)] & (p >= 0)
    return (sorting.asked == 0).any(0) & near | own


def blocks(sorting: Sorting) -> Iterator[Block]:
    """Yield blocks that hold each pair that is seen exactly once."""
    for r in range(sorting.asked.shape[0]):
        yield from _round(sorting, r)
    yield from _own(sorting)


def _round(sorting: Sorting, r: int) -> Iterator[Block]:
    """Yield the pairs that meet in round r and in none before."""
    tiles = _tiles(sorting, r)
    # A query that is none is in a bucket that is none.
    asked = F.pad(rearrange(sorting.asked[:r], "r n t -> r (n t)"), (0, 1), value=-1)
    held = rearrange(sorting.held[:r], "r n s -> r (n s)")
    lengths, i = tiles.runs[:, 1].tolist(), 0
    slots = torch.arange(ROWS, device=asked.device)
    while i < len(lengths):
        some = slice(i, i + max(1, SCORES // (ROWS * lengths[i])))
        i, columns = some.stop, torch.arange(lengths[some.start], device=asked.device)
        at = tiles.rows[some, :1] + slots
        last = len(tiles.order)
        rows = _taken(tiles.order, at.clamp(max=last - 1)).masked_fill(at >= tiles.rows[some, 1:], last)
        start, count = tiles.runs[some, :1], tiles.runs[some, 1:]
        keys = _taken(tiles.keys, (start + columns).clamp(max=len(tiles.keys) - 1))
        unseen = (columns >= count)[:, None]
        if sorting.causal:
            own, other = sorting.place(rows).int(), (keys % sorting.held.shape[2]).int()
            unseen = unseen | (other[:, None] > own[..., None])
        for one, two in zip(asked, held, strict=True):
            unseen = unseen | (_taken(one, rows)[..., None] == _taken(two, keys)[:, None])
        yield Block(rows, keys, unseen)


def _tiles(sorting: Sorting, r: int) -> Tiles:
    """Sort round r and cut it."""
    asked, held = sorting.asked[r].long(), sorting.held[r].long()
    (n, queries), keys = asked.shape, held.shape[1]
    # Buckets are numbered through all of N, the hidden keys' bucket included.
    shift = torch.arange(n, device=asked.device)[:, None] * (sorting.buckets + 1)
    asked, held = asked + shift, held + shift
    row = torch.arange(queries, device=asked.device)
    order = (asked * queries + row).flatten().argsort()
    stood, run = (held * keys + torch.arange(keys, device=held.device)).flatten().sort()
    filled = asked.flatten().bincount(minlength=n * (sorting.buckets + 1))
    cut = (filled + ROWS - 1) // ROWS
    bucket = torch.arange(len(cut), device=cut.device).repeat_interleave(cut)
    nth = torch.arange(len(bucket), device=cut.device) - (cut.cumsum(0) - cut)[bucket]
    stop = filled.cumsum(0)[bucket]
    start = stop - filled[bucket] + nth * ROWS
    stop = stop.minimum(start + ROWS)
    seen = (sorting.place(order[stop - 1]) + 1).clamp(min=0) if sorting.causal else keys
    first = torch.searchsorted(stood, bucket * keys)
    count = torch.searchsorted(stood, bucket * keys + seen) - first
    count, most = count.sort(descending=True)
    most = most[: int((count > 0).sum())]
    rows = torch.stack([start, stop], 1)[most]
    return Tiles(order, run, rows, torch.stack([first[most], count[: len(most)]], 1))


def _own(sorting: Sorting) -> Iterator[Block]:
    """Yield each place with its own key, where these may meet and have met in no round."""
    asked, held = sorting.asked, sorting.held
    p = sorting.place(torch.arange(asked.shape[2], device=asked.device))
    own = held[:, :, p.clamp(min=0)]
    alone = (p >= 0) & (own[0] < sorting.buckets) & (own != asked).all(0)
    for pairs in alone.nonzero().split(max(1, SCORES // 64)):
        n, row = pairs[:, :1], pairs[:, 1:]
        yield Block(n * asked.shape[2] + row, n * held.shape[2] + p[row], None)


class Bucketed(torch.autograd.Function):
    """The answer of all blocks, and its gradients; saves inputs, answer and log-sums, never weights."""

    @staticmethod
    def forward(
        ctx: Any, q: Looks, k: Held, v: Held, asked: AskedAs, held: HeldAs, cut: tuple[int, int, bool]
    ) -> Looks:
        """Return the answer."""
        with torch.autocast(q.device.type, enabled=False):
            out, log = _forward(*_flat(q, k, v), Sorting(asked, held, *cut))
        out = out[:-1].reshape(q.shape).to(q.dtype)
        ctx.save_for_backward(q, k, v, asked, held, out, log)
        ctx.cut = cut
        return out

    @staticmethod
    def backward(ctx: Any, grad: Looks) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride] # one gradient per output
        """Return the gradients of q, k and v."""
        if torch.is_grad_enabled():
            raise UsageError("lsh has no second derivative (create_graph=True) at this length; naive has one")
        q, k, v, asked, held, out, log = ctx.saved_tensors
        with torch.autocast(q.device.type, enabled=False):
            delta = (_wide(grad) * _wide(out)).sum(-1, keepdim=True)
            grad, delta = (_padded(rearrange(_wide(x), "n t d -> (n t) d")) for x in (grad, delta))
            found = _backward(grad, delta, _flat(q, k, v), log, Sorting(asked, held, *ctx.cut))
        found = (found[0][:-1], *found[1:])
        return *(x.reshape(to.shape).to(to.dtype) for x, to in zip(found, (q, k, v), strict=True)), *[
            None
        ] * 3


Flat = Float[Tensor, "_ D"]


def _forward(q: Flat, k: Flat, v: Flat, sorting: Sorting) -> tuple[Flat, Float[Tensor, "_ 1"]]:
    """Return the answer and the log of each query's sum (0 where nothing is seen)."""
    top = q.new_full((len(q), 1), torch.finfo(q.dtype).min)
    total, out = torch.zeros_like(top), torch.zeros_like(q)
    for rows, keys, unseen in blocks(sorting):
        scores = _scores(q, k, rows, keys, unseen)
        old = _taken(top, rows)
        # A row that sees nothing here has no maximum; against any number its weights are then zero.
        high = scores.amax(-1, keepdim=True).maximum(old)
        scores = scores.sub_(high).exp_()
        less = (old - high).exp_()
        sums = scores.sum(-1, keepdim=True).addcmul_(_taken(total, rows), less)
        part = torch.bmm(scores, _taken(v, keys)).addcmul_(_taken(out, rows), less)
        for x, new in ((top, high), (total, sums), (out, part)):
            x.index_copy_(0, rows.flatten(), new.flatten(0, 1))
    empty = total == 0
    total = total.masked_fill_(empty, 1.0)
    return out.div_(total), top.add_(total.log()).masked_fill_(empty, 0.0)


def _backward(
    grad: Flat, delta: Float[Tensor, "_ 1"], inputs: tuple[Flat, Flat, Flat], log: Tensor, sorting: Sorting
) -> tuple[Flat, Flat, Flat]:
    """Make each block's weights again and pass the gradient through them."""
    q, k, v = inputs
    dq, dk, dv = (torch.zeros_like(x) for x in inputs)
    for rows, keys, unseen in blocks(sorting):
        looked, out = _taken(k, keys), _taken(grad, rows)
        weights = _scores(q, k, rows, keys, unseen).sub_(_taken(log, rows)).exp_()
        change = torch.bmm(out, _taken(v, keys).mT).sub_(_taken(delta, rows)).mul_(weights)
        dq.index_add_(0, rows.flatten(), torch.bmm(change, looked).flatten(0, 1))
        dk.index_add_(0, keys.flatten(), torch.bmm(change.mT, _taken(q, rows)).flatten(0, 1))
        dv.index_add_(0, keys.flatten(), torch.bmm(weights.mT, out).flatten(0, 1))
    return dq.mul_(q.shape[-1] ** -0.5), dk, dv


def _scores(
    q: Flat,
    k: Flat,
    rows: Int[Tensor, "M R"],
    keys: Int[Tensor, "M L"],
    unseen: Bool[Tensor, "M #R L"] | None,
) -> Float[Tensor, "M R L"]:
    """Return the scores of a block, minus infinity where they do not count."""
    scores = torch.bmm(_taken(q, rows), _taken(k, keys).mT)
    return scores if unseen is None else scores.masked_fill_(unseen, float("-inf"))


def _flat(q: Looks, k: Held, v: Held) -> tuple[Flat, Flat, Flat]:
    """Number queries and keys through; float32 at least, to sum in; queries divided, one none added."""
    q, k, v = (rearrange(_wide(x), "n s d -> (n s) d") for x in (q, k, v))
    return _padded(q * q.shape[-1] ** -0.5), k.contiguous(), v.contiguous()


def _taken(x: Shaped[Tensor, "_ *width"], at: Int[Tensor, "M _"]) -> Shaped[Tensor, "M _ *width"]:
    # Ten times as quick as x[at] on a CPU.
    return x.index_select(0, at.flatten()).unflatten(0, at.shape)


def _padded(x: Flat) -> Flat:
    return F.pad(x, (0, 0, 0, 1))


def _wide(x: Tensor) -> Tensor:
    return x.to(torch.promote_types(x.dtype, torch.float32))
