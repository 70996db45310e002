"""The fast path of sparse patterns: piece by piece, with only the keys the pattern shows.

Scores exist for one piece at a time (see ``_pieces``). A query may come in several pieces; what they say is
joined in one softmax, by the largest score so far and the sum against it. The backward pass makes each piece
again from the saved log-sum and adds its share to the stretches of keys it read. So time grows with what is
seen, and memory with the number of places.

How many pieces there are depends on the length, so a compiler is given the slow twin instead.
"""

from collections.abc import Sequence
from typing import Any

import torch
from einops import rearrange, repeat
from jaxtyping import Bool, Float
from torch import Tensor

from nhin.attention.base import Keep, Keys, Queries
from nhin.attention.masked_softmax import (
    all_finite,
    attention_weights,
    mask_keys,
    weighted_sum,
    zero_nonfinite,
)
from nhin.attention.masks import KeyPositions, Pattern
from nhin.attention.softmax_base import SoftmaxAttention
from nhin.attention.sparse.tiles import Tile, TileBuilder, TiledPattern
from nhin.errors import UsageError

GroupQueries = Float[Tensor, "N E T D"]  # N batch and key head, E the query heads that share it
GroupKeys = Float[Tensor, "N S D"]
HiddenKeys = Bool[Tensor, "N S"]
LogSum = Float[Tensor, "N E T 1"]


class SparseAttention(SoftmaxAttention):
    """A softmax over the keys a pattern shows, the others not being touched."""

    pattern: TiledPattern  # pyright: ignore[reportIncompatibleVariableOverride] # narrower, and set once

    def forward(
        self, q: Queries, k: Keys, v: Keys, *, causal: bool = False, keep: Keep | None = None
    ) -> Queries:
        """Mix values with softmax weights; see ``attention.base`` for the contract."""
        self.check(q, k, v, causal=causal, keep=keep)
        if torch.compiler.is_compiling():
            return self.forward_reference(q, k, v, causal=causal, keep=keep)
        if torch.is_autocast_enabled(q.device.type):
            narrow = torch.get_autocast_dtype(q.device.type)
            q, k, v = q.to(narrow), k.to(narrow), v.to(narrow)
        if q.shape[1] == 1:
            return attend_last_query(q, k, v, self.pattern, keep)
        k, v, broken = mask_keys(k, keep), mask_keys(v, keep), None
        if not all_finite(k, v):
            k, v, broken = zero_nonfinite(k, v)
        pieces = tuple(self.pattern.tiles(TileBuilder(q.shape[1], k.shape[1], causal)))
        g = k.shape[2]
        looks = rearrange(q, "b t (g e) d -> (b g) e t d", g=g)
        k, v = (rearrange(x, "b s g d -> (b g) s d") for x in (k, v))
        hidden = None if keep is None else repeat(~keep, "b s -> (b g) s", g=g)
        out = SparseFunction.apply(looks, k, v, hidden, causal, pieces)
        if broken is not None:
            bad = sees_nonfinite(pieces, rearrange(broken, "b s g -> (b g) s"), q.shape[1], causal)
            out = out.masked_fill(rearrange(bad, "n t -> n 1 t 1"), float("nan"))
        return rearrange(out, "(b g) e t d -> b t (g e) d", g=g)


def attend_last_query(q: Queries, k: Keys, v: Keys, pattern: Pattern, keep: Keep | None) -> Queries:
    """Answer one query: it stands at the last key, so what it sees is one list, with nothing to mask."""
    size = torch.full((1, 1), k.shape[1], device=q.device)
    row = pattern.mask(size - 1, torch.arange(k.shape[1], device=q.device), size)
    shown = row[0].nonzero()[:, 0]
    # Not index_select, which would copy all of a store whose heads come before its places.
    k, v = k[:, shown], v[:, shown]
    if keep is None:
        return weighted_sum(attention_weights(q, k, None), v)
    keep = keep[:, shown]
    return weighted_sum(
        attention_weights(q, mask_keys(k, keep), rearrange(keep, "b s -> b 1 1 s")), mask_keys(v, keep)
    )


def sees_nonfinite(
    tiles: Sequence[Tile], nonfinite: HiddenKeys, queries: int, causal: bool
) -> Bool[Tensor, "N T"]:
    """Tell which queries see a key that is no number."""
    bad = nonfinite.new_zeros(nonfinite.shape[0], queries)
    for piece in tiles:
        there = repeat(_select_keys(nonfinite, piece.keys), "n l -> n r l", r=len(piece.rows)).clone()
        start, unseen = tile_mask(piece, nonfinite.shape[1] - queries, causal, nonfinite.device)
        if unseen is not None:
            there[:, :, start:] &= ~unseen
        bad[:, _to_slice(piece.rows)] |= there.any(-1)
    return bad


def tile_mask(
    tile: Tile, offset: int, causal: bool, device: torch.device
) -> tuple[int, Bool[Tensor, "R L"] | None]:
    """Return who does not see whom in a piece, from the first column where that happens.

    Args:
        tile: What is compared.
        offset: Where the first of all queries stands.
        causal: Later keys are not seen.
        device: Where the answer lives.
    """
    first, start, runs = offset + tile.rows.start, 0, tile.keys
    if tile.rule is None:
        while runs and not (causal and runs[0][-1] > first):
            start, runs = start + len(runs[0]), runs[1:]
        if not runs:
            return start, None
    p = torch.arange(first, offset + tile.rows.stop, tile.rows.step, device=device)[:, None]
    if _prefer_index(runs):
        s = _positions(runs, device)
    else:
        s = torch.cat([torch.arange(run.start, run.stop, run.step, device=device) for run in runs])
    if tile.rule is None:
        return start, s > p
    # The rules of pieces speak of places only, so it does not matter how many keys there are.
    unseen = ~tile.rule.mask(p, s, p)
    return start, unseen | (s > p) if causal else unseen


class SparseFunction(torch.autograd.Function):
    """The answer of all pieces, and its gradients; saves inputs, answer and log-sums, never weights."""

    @staticmethod
    def forward(
        ctx: Any,
        q: GroupQueries,
        k: GroupKeys,
        v: GroupKeys,
        hidden: HiddenKeys | None,
        causal: bool,
        tiles: tuple[Tile, ...],
    ) -> GroupQueries:
        """Return the answer."""
        with torch.autocast(q.device.type, enabled=False):
            out, log = _forward(*_scale_inputs(q, k, v), hidden, causal, tiles)
        out = out.to(q.dtype)
        ctx.save_for_backward(q, k, v, hidden, out, log)
        ctx.causal, ctx.pieces = causal, tiles
        return out

    @staticmethod
    def backward(ctx: Any, grad: GroupQueries) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride] # one gradient per output
        """Return the gradients of q, k and v."""
        if torch.is_grad_enabled():
            raise UsageError("sparse patterns have no second derivative (create_graph=True); naive has it")
        q, k, v, hidden, out, log = ctx.saved_tensors
        with torch.autocast(q.device.type, enabled=False):
            delta = (_upcast(grad) * _upcast(out)).sum(-1, keepdim=True)
            found = _backward(_upcast(grad), delta, _scale_inputs(q, k, v), hidden, log, ctx)
        return *(x.to(q.dtype) for x in found), None, None, None


def _forward(
    q: GroupQueries,
    k: GroupKeys,
    v: GroupKeys,
    hidden: HiddenKeys | None,
    causal: bool,
    tiles: Sequence[Tile],
) -> tuple[GroupQueries, LogSum]:
    """Return the answer and the log of each query's sum (0 where nothing is seen)."""
    top = q.new_full((*q.shape[:3], 1), torch.finfo(q.dtype).min)
    total, out = torch.zeros_like(top), torch.zeros_like(q)
    for piece in tiles:
        rows, axes = _to_slice(piece.rows), {"e": q.shape[1]}
        scores = _scores(q, k, hidden, causal, piece)
        # A row that sees nothing here has no maximum; against any number its weights are then zero.
        most = scores.amax(-1, keepdim=True).clamp_min_(torch.finfo(q.dtype).min)
        scores = scores.sub_(most).exp_()
        part = rearrange(torch.bmm(scores, _select_keys(v, piece.keys)), "n (e r) d -> n e r d", **axes)
        most, sums = (rearrange(x, "n (e r) 1 -> n e r 1", **axes) for x in (most, scores.sum(-1, True)))
        if piece.is_continuation:
            high = torch.maximum(top[:, :, rows], most)
            old, new = (top[:, :, rows] - high).exp_(), (most - high).exp_()
            sums = sums.mul_(new).addcmul_(total[:, :, rows], old)
            part, most = part.mul_(new).addcmul_(out[:, :, rows], old), high
        top[:, :, rows], total[:, :, rows], out[:, :, rows] = most, sums, part
    empty = total == 0
    total = total.masked_fill_(empty, 1.0)
    return out.div_(total), top.add_(total.log()).masked_fill_(empty, 0.0)


def _backward(
    grad: GroupQueries,
    delta: LogSum,
    inputs: tuple[GroupQueries, GroupKeys, GroupKeys],
    hidden: HiddenKeys | None,
    log: LogSum,
    ctx: Any,
) -> tuple[GroupQueries, GroupKeys, GroupKeys]:
    """Make each piece's weights again and pass the gradient through them."""
    q, k, v = inputs
    dq, dk, dv = (torch.zeros_like(x) for x in inputs)
    for piece in ctx.pieces:
        rows = _to_slice(piece.rows)
        out, bias, less = (_select_rows(x, rows) for x in (grad, log, delta))
        weights = _scores(q, k, hidden, ctx.causal, piece).sub_(bias).exp_()
        change = torch.bmm(out, _select_keys(v, piece.keys).mT).sub_(less).mul_(weights)
        part = torch.bmm(change, _select_keys(k, piece.keys))
        dq[:, :, rows] += rearrange(part, "n (e r) d -> n e r d", e=q.shape[1])
        _add_to_keys(dk, piece.keys, torch.bmm(change.mT, _select_rows(q, rows)))
        _add_to_keys(dv, piece.keys, torch.bmm(weights.mT, out))
    return dq.mul_(q.shape[-1] ** -0.5), dk, dv


def _scores(
    q: GroupQueries, k: GroupKeys, hidden: HiddenKeys | None, causal: bool, tile: Tile
) -> Float[Tensor, "N ER L"]:
    """Return the scores of a piece, minus infinity where they are not seen."""
    scores = torch.bmm(_select_rows(q, _to_slice(tile.rows)), _select_keys(k, tile.keys).mT)
    start, unseen = tile_mask(tile, k.shape[1] - q.shape[2], causal, q.device)
    if unseen is not None:
        unseen = repeat(unseen, "r l -> (e r) l", e=q.shape[1]) if q.shape[1] > 1 else unseen
        scores[:, :, start:].masked_fill_(unseen, float("-inf"))
    if hidden is not None:
        scores.masked_fill_(rearrange(_select_keys(hidden, tile.keys), "n l -> n 1 l"), float("-inf"))
    return scores


def _to_slice(span: range) -> slice:
    return slice(span.start, span.stop, span.step)


def _select_rows(x: Tensor, rows: slice) -> Float[Tensor, "N ER _"]:
    return rearrange(x[:, :, rows], "n e r d -> n (e r) d")


def _select_keys(x: Tensor, spans: Sequence[range]) -> Tensor:
    """Return stretches of axis 1, side by side."""
    if _prefer_index(spans):
        return x.index_select(1, _positions(spans, x.device))
    return (
        torch.cat([x[:, _to_slice(run)] for run in spans], 1) if len(spans) > 1 else x[:, _to_slice(spans[0])]
    )


def _add_to_keys(x: GroupKeys, spans: Sequence[range], parts: Float[Tensor, "N L D"]) -> None:
    """Add to stretches what was found for them side by side."""
    if _prefer_index(spans):
        x.index_add_(1, _positions(spans, x.device), parts)
        return
    for run, part in zip(spans, parts.split([len(run) for run in spans], 1), strict=True):
        x[:, _to_slice(run)] += part


def _prefer_index(spans: Sequence[range]) -> bool:
    """Tell where naming each key is quicker than slicing: measured, slices win from some 8 keys each."""
    return len(spans) > 16 and sum(map(len, spans)) < 8 * len(spans)


def _positions(spans: Sequence[range], device: torch.device) -> KeyPositions:
    return torch.tensor([place for run in spans for place in run], device=device)


def _scale_inputs(q: GroupQueries, k: GroupKeys, v: GroupKeys) -> tuple[GroupQueries, GroupKeys, GroupKeys]:
    """Return them in float32 at least, to sum in, and the queries divided by the root of their width."""
    return _upcast(q) * q.shape[-1] ** -0.5, _upcast(k).contiguous(), _upcast(v).contiguous()


def _upcast(x: Tensor) -> Tensor:
    return x.to(torch.promote_types(x.dtype, torch.float32))
