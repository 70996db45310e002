"""The fast path of bands for long sequences on a CPU: strip by strip, each small enough for the cache.

A strip is a run of queries and the few keys they reach, found by slices, so keys are never copied in
bulk. The backward pass makes the weights of a strip again, so memory stays linear in length.
"""

from collections.abc import Iterator
from itertools import pairwise
from typing import NamedTuple

import torch
from einops import rearrange
from jaxtyping import Bool, Float
from torch import Tensor
from torch.autograd.function import FunctionCtx, once_differentiable

from nhin.attention import _folded
from nhin.attention._folded import Band
from nhin.attention.base import Keep, Keys, Queries

CACHED = 2**18  # numbers: scores of one strip; more would leave the cache between product and softmax

Rows = Float[Tensor, "heads R D"]  # of some of the key heads; R heads of a group times places
Runs = Float[Tensor, "heads L D"]
Scores = Float[Tensor, "heads R L"]
Hidden = Bool[Tensor, "C L"]

# What autograd itself calls: weights * (slope - sum of slope * weights), in one pass.
softmax_backward = torch.ops.aten._softmax_backward_data


class Strip(NamedTuple):
    """Some queries and the runs of keys that hold all they may see."""

    rows: range
    keys: tuple[range, ...]


def strips(band: Band, queries: int, keys: int, causal: bool, chunk: int) -> Iterator[Strip]:
    """Yield every query once, with the keys to look among."""
    shift, d = keys - queries, band.dilation
    led = band.led(queries, keys) if not causal else slice(0, 0)
    for rows in _chunks(range(led.start, led.stop), chunk):
        yield Strip(rows, (range(keys),))
    for span in (range(led.start), range(led.stop, queries)):
        for residue in range(min(d, len(span))):
            for rows in _chunks(span[residue::d], chunk):
                yield Strip(rows, _reached(band, rows[0] + shift, rows[-1] + shift, keys, causal))


def _chunks(rows: range, chunk: int) -> Iterator[range]:
    return (rows[start : start + chunk] for start in range(0, len(rows), chunk))


def _reached(band: Band, begin: int, end: int, keys: int, causal: bool) -> tuple[range, ...]:
    """Return the keys that places ``begin`` to ``end`` may see, and few others."""
    d = band.dilation
    reach = (band.width - 1) * d
    start = begin - reach
    start = start if start >= 0 else start % d
    stop = max(start, min(keys, end + 1 + (0 if causal else reach)))
    first = max(0, min(band.first, keys, end + 1 if causal else keys))
    if not first:
        return (range(start, stop, d),)
    return (range(first), range(start, stop)) if start > first else (range(max(first, stop)),)


class Sight(NamedTuple):
    """What the queries of a strip may not see of its keys.

    Args:
        hidden: For every query and key.
        clear: A run of keys that are hidden from none, the longest.
        blind: Queries that see nothing; None when all see something.
    """

    hidden: Hidden
    clear: slice
    blind: Bool[Tensor, "C 1"] | None

    @classmethod
    def of(cls, hidden: Hidden) -> "Sight":
        """Find the run and the blind."""
        edges = [-1, *torch.nonzero(hidden.any(0))[:, 0].tolist(), hidden.shape[1]]
        _, start, stop = max((b - a, a + 1, b) for a, b in pairwise(edges))
        blind = hidden.all(-1, keepdim=True)
        return cls(hidden, slice(start, stop), blind if blind.any() else None)


class Visit(NamedTuple):
    """One strip of one row of the batch and some of its heads, as indices."""

    asking: tuple[int, slice, slice]
    asked: tuple[tuple[int, slice, slice], ...]
    sight: Sight


def visits(q: Queries, k: Keys, keep: Keep | None, band: Band, causal: bool) -> Iterator[Visit]:
    """Yield all strips of all rows of the batch, a few heads at a time."""
    t, s, each = q.shape[1], k.shape[1], q.shape[2] // k.shape[2]
    known: dict[tuple[int, ...], Sight] = {}
    for strip in strips(band, t, s, causal, _folded.CHUNK):
        sight = _sight(band, strip, (t, s), causal, known)
        length = sum(len(run) for run in strip.keys)
        group = max(1, CACHED // max(1, len(strip.rows) * each * length))
        rows = slice(strip.rows.start, strip.rows.stop, strip.rows.step)
        runs = [slice(run.start, run.stop, run.step) for run in strip.keys]
        for b in range(q.shape[0]):
            seen = sight
            if keep is not None:
                seen = Sight.of(sight.hidden | ~torch.cat([keep[b, run] for run in runs]))
            for g in range(0, k.shape[2], group):
                heads = slice(g, min(g + group, k.shape[2]))
                asking = slice(heads.start * each, heads.stop * each)
                yield Visit((b, rows, asking), tuple((b, run, heads) for run in runs), seen)


def _sight(
    band: Band, strip: Strip, sizes: tuple[int, int], causal: bool, known: dict[tuple[int, ...], Sight]
) -> Sight:
    """Return what a strip may not see, from ``known`` where an earlier one lay alike.

    Alike: as far from their keys. A window minds only the gap, and the first keys and the leaders are
    either apart, and see or are seen by all, or in a run that begins at 0, whose gap tells the place.
    """
    begin = strip.rows[0] + sizes[1] - sizes[0]
    near = strip.keys[-1]
    way = (len(strip.rows), len(strip.keys), near.start - begin, near.stop - begin)
    if way not in known:
        p = torch.tensor(strip.rows)[:, None] + (sizes[1] - sizes[0])
        s = torch.cat([torch.arange(run.start, run.stop, run.step) for run in strip.keys])
        seen = band.pattern.sees(p, s, p + 1 if causal else torch.full_like(p, sizes[1]))
        known[way] = Sight.of(~(seen & (s <= p) if causal else seen))
    return known[way]


def look(q: Queries, k: Keys, v: Keys, keep: Keep | None, band: Band, causal: bool) -> Queries:
    """Look through a band strip by strip; all keys and values are finite, the hidden ones zeros."""
    kind = q.device.type
    if not torch.is_autocast_enabled(kind):
        return _Look.apply(q, k, v, keep, band, causal)  # pyright: ignore[reportReturnType] # a tensor
    q, k, v = (x if x.dtype == torch.float64 else x.to(torch.get_autocast_dtype(kind)) for x in (q, k, v))
    with torch.autocast(kind, enabled=False):
        return _Look.apply(q, k, v, keep, band, causal)  # pyright: ignore[reportReturnType] # a tensor


class _Look(torch.autograd.Function):
    """The answer, and the gradients from weights made again."""

    @staticmethod
    def forward(
        ctx: FunctionCtx, q: Queries, k: Keys, v: Keys, keep: Keep | None, band: Band, causal: bool
    ) -> Queries:
        out = torch.empty_like(q)
        scale = q.shape[-1] ** -0.5
        for visit in visits(q, k, keep, band, causal):
            weights = _weights(_rows(q, visit) * scale, _runs(k, visit), visit.sight)
            _put(out, visit, torch.bmm(weights, _runs(v, visit)))
        ctx.save_for_backward(q, k, v, keep)  # pyright: ignore[reportArgumentType] # None may be saved
        ctx.way = band, causal  # pyright: ignore[reportAttributeAccessIssue] # that is what ctx is for
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, slope: Queries) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride] # one output
        q, k, v, keep = ctx.saved_tensors  # pyright: ignore[reportAttributeAccessIssue] # as above
        half = q.dtype in (torch.bfloat16, torch.float16)
        dq = torch.empty_like(q)
        # A key is met by several strips: what each sends is summed in no less than single precision.
        dk, dv = (torch.zeros_like(x, dtype=torch.float32 if half else x.dtype) for x in (k, v))
        scale = q.shape[-1] ** -0.5
        for visit in visits(q, k, keep, *ctx.way):  # pyright: ignore[reportAttributeAccessIssue] # as above
            rows, keys, sent = _rows(q, visit) * scale, _runs(k, visit), _rows(slope, visit)
            weights = _weights(rows, keys, visit.sight)
            _add(dv, visit, torch.bmm(weights.mT, sent))
            dweights = torch.bmm(sent, _runs(v, visit).mT)
            dscores = softmax_backward(dweights, weights, -1, weights.dtype)
            _put(dq, visit, torch.bmm(dscores, keys).mul_(scale))
            _add(dk, visit, torch.bmm(dscores.mT, rows))
        return dq, dk.to(k.dtype), dv.to(v.dtype), None, None, None


def _weights(rows: Rows, keys: Runs, sight: Sight) -> Scores:
    """Return the softmax weights of a strip, in the order heads of a group, then places."""
    scores = torch.bmm(rows, keys.mT)
    places, length = sight.hidden.shape
    by_place = scores.unflatten(1, (-1, places))
    # What all may see need not be masked, and in the middle of a band that is most of it.
    for part in (slice(0, sight.clear.start), slice(sight.clear.stop, length)):
        if part.start < part.stop:
            by_place[..., part].masked_fill_(sight.hidden[:, part], float("-inf"))
    weights = scores.softmax(-1)
    if sight.blind is not None:
        weights.unflatten(1, (-1, places)).masked_fill_(sight.blind, 0.0)
    return weights


def _rows(x: Queries, visit: Visit) -> Rows:
    heads = visit.asked[0][2]
    return rearrange(x[visit.asking], "c (g each) d -> g (each c) d", g=heads.stop - heads.start)


def _put(x: Queries, visit: Visit, rows: Rows) -> None:
    x[visit.asking] = rearrange(rows, "g (each c) d -> c (g each) d", c=visit.sight.hidden.shape[0])


def _runs(x: Keys, visit: Visit) -> Runs:
    runs = [x[index] for index in visit.asked]
    return rearrange(runs[0] if len(runs) == 1 else torch.cat(runs), "l g d -> g l d")


def _add(x: Keys, visit: Visit, part: Runs) -> None:
    start = 0
    for index in visit.asked:
        run = x[index]
        run += rearrange(part[:, start : start + run.shape[0]], "g l d -> l g d")
        start += run.shape[0]
