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

from nhin.attention._patterns import Pattern, Places
from nhin.attention._pieces import Cut, Piece, Planned
from nhin.attention._scored import Scored
from nhin.attention._scores import hide, known_finite, mix, shield, weigh
from nhin.attention.base import Keep, Keys, Queries
from nhin.errors import UsageError

Looks = Float[Tensor, "N E T D"]  # N batch and key head, E the query heads that share it
Held = Float[Tensor, "N S D"]
Hidden = Bool[Tensor, "N S"]
Log = Float[Tensor, "N E T 1"]


class Gathered(Scored):
    """A softmax over the keys a pattern shows, the others not being touched."""

    pattern: Planned  # pyright: ignore[reportIncompatibleVariableOverride] # narrower, and set once

    def forward(
        self, q: Queries, k: Keys, v: Keys, *, causal: bool = False, keep: Keep | None = None
    ) -> Queries:
        """Mix values with softmax weights; see ``attention.base`` for the contract."""
        self.check(q, k, v, causal=causal, keep=keep)
        if torch.compiler.is_compiling():
            return self.slowly(q, k, v, causal=causal, keep=keep)
        if torch.is_autocast_enabled(q.device.type):
            narrow = torch.get_autocast_dtype(q.device.type)
            q, k, v = q.to(narrow), k.to(narrow), v.to(narrow)
        if q.shape[1] == 1:
            return last_alone(q, k, v, self.pattern, keep)
        k, v, broken = hide(k, keep), hide(v, keep), None
        if not known_finite(k, v):
            k, v, broken = shield(k, v)
        pieces = tuple(self.pattern.pieces(Cut(q.shape[1], k.shape[1], causal)))
        g = k.shape[2]
        looks = rearrange(q, "b t (g e) d -> (b g) e t d", g=g)
        k, v = (rearrange(x, "b s g d -> (b g) s d") for x in (k, v))
        hidden = None if keep is None else repeat(~keep, "b s -> (b g) s", g=g)
        out = Gather.apply(looks, k, v, hidden, causal, pieces)
        if broken is not None:
            bad = reached(pieces, rearrange(broken, "b s g -> (b g) s"), q.shape[1], causal)
            out = out.masked_fill(rearrange(bad, "n t -> n 1 t 1"), float("nan"))
        return rearrange(out, "(b g) e t d -> b t (g e) d", g=g)


def last_alone(q: Queries, k: Keys, v: Keys, pattern: Pattern, keep: Keep | None) -> Queries:
    """Answer one query: it stands at the last key, so what it sees is one list, with nothing to mask."""
    size = torch.full((1, 1), k.shape[1], device=q.device)
    row = pattern.sees(size - 1, torch.arange(k.shape[1], device=q.device), size)
    shown = row[0].nonzero()[:, 0]
    # Not index_select, which would copy all of a store whose heads come before its places.
    k, v = k[:, shown], v[:, shown]
    if keep is None:
        return mix(weigh(q, k, None), v)
    keep = keep[:, shown]
    return mix(weigh(q, hide(k, keep), rearrange(keep, "b s -> b 1 1 s")), hide(v, keep))


def reached(pieces: Sequence[Piece], broken: Hidden, queries: int, causal: bool) -> Bool[Tensor, "N T"]:
    """Tell which queries see a key that is no number."""
    bad = broken.new_zeros(broken.shape[0], queries)
    for piece in pieces:
        there = repeat(_taken(broken, piece.keys), "n l -> n r l", r=len(piece.rows)).clone()
        start, unseen = masked(piece, broken.shape[1] - queries, causal, broken.device)
        if unseen is not None:
            there[:, :, start:] &= ~unseen
        bad[:, _slice(piece.rows)] |= there.any(-1)
    return bad


def masked(
    piece: Piece, move: int, causal: bool, device: torch.device
) -> tuple[int, Bool[Tensor, "R L"] | None]:
    """Return who does not see whom in a piece, from the first column where that happens.

    Args:
        piece: What is compared.
        move: Where the first of all queries stands.
        causal: Later keys are not seen.
        device: Where the answer lives.
    """
    first, start, runs = move + piece.rows.start, 0, piece.keys
    if piece.rule is None:
        while runs and not (causal and runs[0][-1] > first):
            start, runs = start + len(runs[0]), runs[1:]
        if not runs:
            return start, None
    p = torch.arange(first, move + piece.rows.stop, piece.rows.step, device=device)[:, None]
    if _short(runs):
        s = _places(runs, device)
    else:
        s = torch.cat([torch.arange(run.start, run.stop, run.step, device=device) for run in runs])
    if piece.rule is None:
        return start, s > p
    # The rules of pieces speak of places only, so it does not matter how many keys there are.
    unseen = ~piece.rule.sees(p, s, p)
    return start, unseen | (s > p) if causal else unseen


class Gather(torch.autograd.Function):
    """The answer of all pieces, and its gradients; saves inputs, answer and log-sums, never weights."""

    @staticmethod
    def forward(
        ctx: Any,
        q: Looks,
        k: Held,
        v: Held,
        hidden: Hidden | None,
        causal: bool,
        pieces: tuple[Piece, ...],
    ) -> Looks:
        """Return the answer."""
        with torch.autocast(q.device.type, enabled=False):
            out, log = _forward(*_scaled(q, k, v), hidden, causal, pieces)
        out = out.to(q.dtype)
        ctx.save_for_backward(q, k, v, hidden, out, log)
        ctx.causal, ctx.pieces = causal, pieces
        return out

    @staticmethod
    def backward(ctx: Any, grad: Looks) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride] # one gradient per output
        """Return the gradients of q, k and v."""
        if torch.is_grad_enabled():
            raise UsageError("sparse patterns have no second derivative (create_graph=True); naive has it")
        q, k, v, hidden, out, log = ctx.saved_tensors
        with torch.autocast(q.device.type, enabled=False):
            delta = (_wide(grad) * _wide(out)).sum(-1, keepdim=True)
            found = _backward(_wide(grad), delta, _scaled(q, k, v), hidden, log, ctx)
        return *(x.to(q.dtype) for x in found), None, None, None


def _forward(
    q: Looks, k: Held, v: Held, hidden: Hidden | None, causal: bool, pieces: Sequence[Piece]
) -> tuple[Looks, Log]:
    """Return the answer and the log of each query's sum (0 where nothing is seen)."""
    top = q.new_full((*q.shape[:3], 1), torch.finfo(q.dtype).min)
    total, out = torch.zeros_like(top), torch.zeros_like(q)
    for piece in pieces:
        rows, axes = _slice(piece.rows), {"e": q.shape[1]}
        scores = _scores(q, k, hidden, causal, piece)
        # A row that sees nothing here has no maximum; against any number its weights are then zero.
        most = scores.amax(-1, keepdim=True).clamp_min_(torch.finfo(q.dtype).min)
        scores = scores.sub_(most).exp_()
        part = rearrange(torch.bmm(scores, _taken(v, piece.keys)), "n (e r) d -> n e r d", **axes)
        most, sums = (rearrange(x, "n (e r) 1 -> n e r 1", **axes) for x in (most, scores.sum(-1, True)))
        if piece.joins:
            high = torch.maximum(top[:, :, rows], most)
            old, new = (top[:, :, rows] - high).exp_(), (most - high).exp_()
            sums = sums.mul_(new).addcmul_(total[:, :, rows], old)
            part, most = part.mul_(new).addcmul_(out[:, :, rows], old), high
        top[:, :, rows], total[:, :, rows], out[:, :, rows] = most, sums, part
    empty = total == 0
    total = total.masked_fill_(empty, 1.0)
    return out.div_(total), top.add_(total.log()).masked_fill_(empty, 0.0)


def _backward(
    grad: Looks,
    delta: Log,
    inputs: tuple[Looks, Held, Held],
    hidden: Hidden | None,
    log: Log,
    ctx: Any,
) -> tuple[Looks, Held, Held]:
    """Make each piece's weights again and pass the gradient through them."""
    q, k, v = inputs
    dq, dk, dv = (torch.zeros_like(x) for x in inputs)
    for piece in ctx.pieces:
        rows = _slice(piece.rows)
        out, bias, less = (_rows(x, rows) for x in (grad, log, delta))
        weights = _scores(q, k, hidden, ctx.causal, piece).sub_(bias).exp_()
        change = torch.bmm(out, _taken(v, piece.keys).mT).sub_(less).mul_(weights)
        part = torch.bmm(change, _taken(k, piece.keys))
        dq[:, :, rows] += rearrange(part, "n (e r) d -> n e r d", e=q.shape[1])
        _add(dk, piece.keys, torch.bmm(change.mT, _rows(q, rows)))
        _add(dv, piece.keys, torch.bmm(weights.mT, out))
    return dq.mul_(q.shape[-1] ** -0.5), dk, dv


def _scores(q: Looks, k: Held, hidden: Hidden | None, causal: bool, piece: Piece) -> Float[Tensor, "N ER L"]:
    """Return the scores of a piece, minus infinity where they are not seen."""
    scores = torch.bmm(_rows(q, _slice(piece.rows)), _taken(k, piece.keys).mT)
    start, unseen = masked(piece, k.shape[1] - q.shape[2], causal, q.device)
    if unseen is not None:
        unseen = repeat(unseen, "r l -> (e r) l", e=q.shape[1]) if q.shape[1] > 1 else unseen
        scores[:, :, start:].masked_fill_(unseen, float("-inf"))
    if hidden is not None:
        scores.masked_fill_(rearrange(_taken(hidden, piece.keys), "n l -> n 1 l"), float("-inf"))
    return scores


def _slice(run: range) -> slice:
    return slice(run.start, run.stop, run.step)


def _rows(x: Tensor, rows: slice) -> Float[Tensor, "N ER _"]:
    return rearrange(x[:, :, rows], "n e r d -> n (e r) d")


def _taken(x: Tensor, runs: Sequence[range]) -> Tensor:
    """Return stretches of axis 1, side by side."""
    if _short(runs):
        return x.index_select(1, _places(runs, x.device))
    return torch.cat([x[:, _slice(run)] for run in runs], 1) if len(runs) > 1 else x[:, _slice(runs[0])]


def _add(x: Held, runs: Sequence[range], parts: Float[Tensor, "N L D"]) -> None:
    """Add to stretches what was found for them side by side."""
    if _short(runs):
        x.index_add_(1, _places(runs, x.device), parts)
        return
    for run, part in zip(runs, parts.split([len(run) for run in runs], 1), strict=True):
        x[:, _slice(run)] += part


def _short(runs: Sequence[range]) -> bool:
    """Tell where naming each key is quicker than slicing: measured, slices win from some 8 keys each."""
    return len(runs) > 16 and sum(map(len, runs)) < 8 * len(runs)


def _places(runs: Sequence[range], device: torch.device) -> Places:
    return torch.tensor([place for run in runs for place in run], device=device)


def _scaled(q: Looks, k: Held, v: Held) -> tuple[Looks, Held, Held]:
    """Return them in float32 at least, to sum in, and the queries divided by the root of their width."""
    return _wide(q) * q.shape[-1] ** -0.5, _wide(k).contiguous(), _wide(v).contiguous()


def _wide(x: Tensor) -> Tensor:
    return x.to(torch.promote_types(x.dtype, torch.float32))
