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

from nhin.attention.band import chunked
from nhin.attention.band.chunked import Band
from nhin.attention.base import Keep, Keys, Queries

MAX_BLOCK_SCORES = (
    2**18
)  # numbers: scores of one strip; more would leave the cache between product and softmax

HeadRows = Float[Tensor, "heads R D"]  # of some of the key heads; R heads of a group times places
HeadKeys = Float[Tensor, "heads L D"]
BlockScores = Float[Tensor, "heads R L"]
HiddenPairs = Bool[Tensor, "C L"]

# What autograd itself calls: weights * (slope - sum of slope * weights), in one pass.
softmax_backward = torch.ops.aten._softmax_backward_data


class RowBlock(NamedTuple):
    """Some queries and the runs of keys that hold all they may see."""

    rows: range
    keys: tuple[range, ...]


def iter_row_blocks(band: Band, queries: int, keys: int, causal: bool, chunk: int) -> Iterator[RowBlock]:
    """Yield every query once, with the keys to look among."""
    shift, d = keys - queries, band.dilation
    led = band.global_rows(queries, keys) if not causal else slice(0, 0)
    for rows in _split_rows(range(led.start, led.stop), chunk):
        yield RowBlock(rows, (range(keys),))
    for span in (range(led.start), range(led.stop, queries)):
        for residue in range(min(d, len(span))):
            for rows in _split_rows(span[residue::d], chunk):
                yield RowBlock(rows, _visible_range(band, rows[0] + shift, rows[-1] + shift, keys, causal))


def _split_rows(rows: range, chunk: int) -> Iterator[range]:
    return (rows[start : start + chunk] for start in range(0, len(rows), chunk))


def _visible_range(band: Band, begin: int, end: int, keys: int, causal: bool) -> tuple[range, ...]:
    """Return the keys that places ``begin`` to ``end`` may see, and few others."""
    d = band.dilation
    reach = (band.width - 1) * d
    start = begin - reach
    start = start if start >= 0 else start % d
    stop = max(start, min(keys, end + 1 + (0 if causal else reach)))
    first = max(0, min(band.global_keys, keys, end + 1 if causal else keys))
    if not first:
        return (range(start, stop, d),)
    return (range(first), range(start, stop)) if start > first else (range(max(first, stop)),)


class BlockMask(NamedTuple):
    """What the queries of a strip may not see of its keys.

    Args:
        hidden: For every query and key.
        unmasked: A run of keys that are hidden from none, the longest.
        empty_rows: Queries that see nothing; None when all see something.
    """

    hidden: HiddenPairs
    unmasked: slice
    empty_rows: Bool[Tensor, "C 1"] | None

    @classmethod
    def from_hidden(cls, hidden: HiddenPairs) -> "BlockMask":
        """Find the run and the blind."""
        edges = [-1, *torch.nonzero(hidden.any(0))[:, 0].tolist(), hidden.shape[1]]
        _, start, stop = max((b - a, a + 1, b) for a, b in pairwise(edges))
        blind = hidden.all(-1, keepdim=True)
        return cls(hidden, slice(start, stop), blind if blind.any() else None)


class WorkItem(NamedTuple):
    """One strip of one row of the batch and some of its heads, as indices."""

    query_index: tuple[int, slice, slice]
    key_indices: tuple[tuple[int, slice, slice], ...]
    block_mask: BlockMask


def iter_work_items(q: Queries, k: Keys, keep: Keep | None, band: Band, causal: bool) -> Iterator[WorkItem]:
    """Yield all strips of all rows of the batch, a few heads at a time."""
    t, s, each = q.shape[1], k.shape[1], q.shape[2] // k.shape[2]
    known: dict[tuple[int, ...], BlockMask] = {}
    for strip in iter_row_blocks(band, t, s, causal, chunked.CHUNK):
        sight = _block_mask(band, strip, (t, s), causal, known)
        length = sum(len(run) for run in strip.keys)
        group = max(1, MAX_BLOCK_SCORES // max(1, len(strip.rows) * each * length))
        rows = slice(strip.rows.start, strip.rows.stop, strip.rows.step)
        runs = [slice(run.start, run.stop, run.step) for run in strip.keys]
        for b in range(q.shape[0]):
            seen = sight
            if keep is not None:
                seen = BlockMask.from_hidden(sight.hidden | ~torch.cat([keep[b, run] for run in runs]))
            for g in range(0, k.shape[2], group):
                heads = slice(g, min(g + group, k.shape[2]))
                asking = slice(heads.start * each, heads.stop * each)
                yield WorkItem((b, rows, asking), tuple((b, run, heads) for run in runs), seen)


def _block_mask(
    band: Band,
    block: RowBlock,
    sizes: tuple[int, int],
    causal: bool,
    cached_masks: dict[tuple[int, ...], BlockMask],
) -> BlockMask:
    """Return what a strip may not see, from ``cached_masks`` where an earlier one lay alike.

    Alike: as far from their keys. A window minds only the gap, and the first keys and the leaders are
    either apart, and see or are seen by all, or in a run that begins at 0, whose gap tells the place.
    """
    begin = block.rows[0] + sizes[1] - sizes[0]
    near = block.keys[-1]
    way = (len(block.rows), len(block.keys), near.start - begin, near.stop - begin)
    if way not in cached_masks:
        p = torch.tensor(block.rows)[:, None] + (sizes[1] - sizes[0])
        s = torch.cat([torch.arange(run.start, run.stop, run.step) for run in block.keys])
        seen = band.pattern.mask(p, s, p + 1 if causal else torch.full_like(p, sizes[1]))
        cached_masks[way] = BlockMask.from_hidden(~(seen & (s <= p) if causal else seen))
    return cached_masks[way]


def attend(q: Queries, k: Keys, v: Keys, keep: Keep | None, band: Band, causal: bool) -> Queries:
    """Look through a band strip by strip; all keys and values are finite, the hidden ones zeros."""
    kind = q.device.type
    if not torch.is_autocast_enabled(kind):
        return _RowBlockFunction.apply(q, k, v, keep, band, causal)  # pyright: ignore[reportReturnType] # a tensor
    q, k, v = (x if x.dtype == torch.float64 else x.to(torch.get_autocast_dtype(kind)) for x in (q, k, v))
    with torch.autocast(kind, enabled=False):
        return _RowBlockFunction.apply(q, k, v, keep, band, causal)  # pyright: ignore[reportReturnType] # a tensor


class _RowBlockFunction(torch.autograd.Function):
    """The answer, and the gradients from weights made again."""

    @staticmethod
    def forward(
        ctx: FunctionCtx, q: Queries, k: Keys, v: Keys, keep: Keep | None, band: Band, causal: bool
    ) -> Queries:
        out = torch.empty_like(q)
        scale = q.shape[-1] ** -0.5
        for visit in iter_work_items(q, k, keep, band, causal):
            weights = _weights(_read_rows(q, visit) * scale, _read_keys(k, visit), visit.block_mask)
            _write_rows(out, visit, torch.bmm(weights, _read_keys(v, visit)))
        ctx.save_for_backward(q, k, v, keep)  # pyright: ignore[reportArgumentType] # None may be saved
        ctx.way = band, causal  # pyright: ignore[reportAttributeAccessIssue] # that is what ctx is for
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, grad: Queries) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride] # one output
        q, k, v, keep = ctx.saved_tensors  # pyright: ignore[reportAttributeAccessIssue] # as above
        half = q.dtype in (torch.bfloat16, torch.float16)
        dq = torch.empty_like(q)
        # A key is met by several strips: what each sends is summed in no less than single precision.
        dk, dv = (torch.zeros_like(x, dtype=torch.float32 if half else x.dtype) for x in (k, v))
        scale = q.shape[-1] ** -0.5
        for visit in iter_work_items(q, k, keep, *ctx.way):  # pyright: ignore[reportAttributeAccessIssue] # as above
            rows, keys, sent = _read_rows(q, visit) * scale, _read_keys(k, visit), _read_rows(grad, visit)
            weights = _weights(rows, keys, visit.block_mask)
            _add_to_keys(dv, visit, torch.bmm(weights.mT, sent))
            dweights = torch.bmm(sent, _read_keys(v, visit).mT)
            dscores = softmax_backward(dweights, weights, -1, weights.dtype)
            _write_rows(dq, visit, torch.bmm(dscores, keys).mul_(scale))
            _add_to_keys(dk, visit, torch.bmm(dscores.mT, rows))
        return dq, dk.to(k.dtype), dv.to(v.dtype), None, None, None


def _weights(rows: HeadRows, keys: HeadKeys, block_mask: BlockMask) -> BlockScores:
    """Return the softmax weights of a strip, in the order heads of a group, then places."""
    scores = torch.bmm(rows, keys.mT)
    places, length = block_mask.hidden.shape
    by_place = scores.unflatten(1, (-1, places))
    # What all may see need not be masked, and in the middle of a band that is most of it.
    for part in (slice(0, block_mask.unmasked.start), slice(block_mask.unmasked.stop, length)):
        if part.start < part.stop:
            by_place[..., part].masked_fill_(block_mask.hidden[:, part], float("-inf"))
    weights = scores.softmax(-1)
    if block_mask.empty_rows is not None:
        weights.unflatten(1, (-1, places)).masked_fill_(block_mask.empty_rows, 0.0)
    return weights


def _read_rows(x: Queries, item: WorkItem) -> HeadRows:
    heads = item.key_indices[0][2]
    return rearrange(x[item.query_index], "c (g each) d -> g (each c) d", g=heads.stop - heads.start)


def _write_rows(x: Queries, item: WorkItem, rows: HeadRows) -> None:
    x[item.query_index] = rearrange(rows, "g (each c) d -> c (g each) d", c=item.block_mask.hidden.shape[0])


def _read_keys(x: Keys, item: WorkItem) -> HeadKeys:
    runs = [x[index] for index in item.key_indices]
    return rearrange(runs[0] if len(runs) == 1 else torch.cat(runs), "l g d -> g l d")


def _add_to_keys(x: Keys, item: WorkItem, part: HeadKeys) -> None:
    start = 0
    for index in item.key_indices:
        run = x[index]
        run += rearrange(part[:, start : start + run.shape[0]], "g l d -> l g d")
        start += run.shape[0]
