"""The fast path of bands: every query sees keys near it, and perhaps the first few.

Chunks of queries are folded into the batch, each with the keys its band reaches, so time and memory grow
with T times the width. This form has no branch on values and no loop over lengths: it is what a compiler
traces and what an accelerator likes. ``_strips`` is the other, for long sequences on a CPU.
"""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

import torch
import torch.nn.functional as F
from einops import rearrange, repeat
from jaxtyping import Bool, Shaped
from torch import Tensor

from nhin.attention._patterns import Either, First, Leaders, Pattern, Window
from nhin.attention.base import Keep, Keys, Queries

CHUNK = 64

Broken = Bool[Tensor, "B S G"]
Folded = Shaped[Tensor, "B N L G D"]
FoldedBroken = Bool[Tensor, "B N L G"]
Seen = Bool[Tensor, "#B N C L"]


def less(a: int, b: int) -> int:
    """Return the smaller, by a branch: a tracer takes minutes to reason about a minimum of symbols."""
    return a if a < b else b


def more(a: int, b: int) -> int:
    """Return the larger; see ``less``."""
    return b if a < b else a


@dataclass(frozen=True)
class Band:
    """What a banded mechanism lets be seen.

    Args:
        width: See ``_patterns.Window``.
        dilation: See ``_patterns.Window``; more than 1 only without the other two.
        first: Keys at the start that everybody sees.
        leaders: Places at the start that see everybody.
    """

    width: int
    dilation: int = 1
    first: int = 0
    leaders: int = 0

    @cached_property
    def pattern(self) -> Pattern:
        """The rule that the drawn mask, the slow twin and the fast paths read."""
        parts: list[Pattern] = [Window(self.width, self.dilation)]
        parts += [First(self.first)] if self.first else []
        parts += [Leaders(self.leaders)] if self.leaders else []
        return Either(tuple(parts)) if len(parts) > 1 else parts[0]

    def led(self, queries: int, keys: int) -> slice:
        """Return which queries are leaders."""
        start = more(0, queries - keys)
        return slice(start, more(start, less(queries, self.leaders + queries - keys)))


@dataclass(frozen=True)
class Call:
    """What a mechanism was called with.

    Args:
        q: Looks.
        k: Is looked at; hidden and broken keys are zeros.
        v: Is mixed; likewise.
        causal: Hide later keys.
        keep: True where a key may be seen.
        broken: Keys that were no numbers, to show in the queries that see them; None when there are none.
    """

    q: Queries
    k: Keys
    v: Keys
    causal: bool
    keep: Keep | None = None
    broken: Broken | None = None

    def every(self, dilation: int, residue: int) -> "Call":
        """Return every ``dilation``-th query and the keys that stand where these do."""
        t, s = self.q.shape[1], self.k.shape[1]
        seen = slice((residue + s - t) % dilation, None, dilation)
        return Call(
            self.q[:, residue::dilation],
            self.k[:, seen],
            self.v[:, seen],
            self.causal,
            None if self.keep is None else self.keep[:, seen],
            None if self.broken is None else self.broken[:, seen],
        )


def folded(call: Call, band: Band) -> Queries:
    """Look through a band, chunk by chunk in the batch."""
    # For a few queries, masking what lies in the gaps costs less than taking them apart.
    if band.dilation > 1 and call.q.shape[1] > CHUNK:
        return _dilated(call, band)
    out = _band(call, band)
    if call.causal or not band.leaders:
        return out
    led = band.led(call.q.shape[1], call.k.shape[1])
    return torch.cat([out[:, : led.start], dense(replace(call, q=call.q[:, led])), out[:, led.stop :]], 1)


def dense(call: Call) -> Queries:
    """Let every query see every key, not causally."""
    seen = call.k.new_ones(1, 1, call.q.shape[1], call.k.shape[1], dtype=torch.bool)
    if call.keep is not None:
        seen = seen & call.keep[:, None, None]
    broken = None if call.broken is None else call.broken[:, None]
    return _look(call.q, call.k[:, None], call.v[:, None], seen, broken)


def _dilated(call: Call, band: Band) -> Queries:
    """Look class by class: places whose gap is no multiple of the dilation never see each other.

    The last query of a class stands at the last key of its class, so each is a plain window.
    """
    t, d = call.q.shape[1], band.dilation
    parts = [_band(call.every(d, i), Band(band.width)) for i in range(less(d, t))]
    rows = -(-t // d)
    parts = [F.pad(x, (0, 0, 0, 0, 0, rows - x.shape[1])) for x in parts]
    return rearrange(torch.stack(parts, 2), "b n d h c -> b (n d) h c")[:, :t]


def _band(call: Call, band: Band) -> Queries:
    """Fold, look and unfold."""
    t, s = call.q.shape[1], call.k.shape[1]
    size, chunks = (CHUNK, -(-t // CHUNK)) if t > CHUNK else (t, 1)
    reach = less((band.width - 1) * band.dilation, more(t, s) - 1)
    # The keys of the first chunk begin here and end there; later chunks have theirs so much later.
    start = s - t - reach
    stop = s - t + size + (0 if call.causal else reach)
    if chunks == 1:
        start = more(start, 0)
        stop = more(less(stop, s), start)
    cut = _Cut(start, stop - start, chunks, size)
    device = call.q.device
    p = torch.arange(size, device=device)[:, None] + (s - t)
    places = torch.arange(start, stop, device=device)
    # Who is near whom is the same in every chunk, because only the gap matters to a window.
    near = Window(band.width, band.dilation).sees(p, places, p + 1)
    if call.causal:
        near = near & (places <= p)
    later = torch.arange(chunks, device=device)[:, None] * size
    real = (places + later >= band.first) & (places + later < s)
    seen = near & real[:, None]
    first = less(band.first, s)
    if first:
        ahead = torch.arange(first, device=device) <= p + later[:, :, None]
        seen = torch.cat([ahead if call.causal else torch.ones_like(ahead), seen], -1)
    if call.keep is not None:
        seen = seen & cut.of(call.keep, first)[:, :, None]
    broken = None if call.broken is None else cut.of(call.broken, first)
    q = F.pad(call.q, (0, 0, 0, 0, 0, chunks * size - t))
    seen = seen if seen.ndim == 4 else seen[None]
    return _look(q, cut.of(call.k, first), cut.of(call.v, first), seen, broken)[:, :t]


class _Cut(NamedTuple):
    """Where chunks take their keys: ``length`` places from ``start``, each chunk ``step`` later."""

    start: int
    length: int
    chunks: int
    step: int

    def of(self, x: Shaped[Tensor, "B S *rest"], first: int) -> Shaped[Tensor, "B N L *rest"]:
        """Fold keys, or what is known of them, with the first ones ahead in every chunk."""
        total = self.length + (self.chunks - 1) * self.step
        begin = more(self.start, 0)
        end = more(begin, less(self.start + total, x.shape[1]))
        before = less(more(-self.start, 0), total)
        rest = (0, 0) * (x.ndim - 2)
        padded = F.pad(x[:, begin:end], (*rest, before, total - before - (end - begin)))
        near = torch.movedim(padded.unfold(1, self.length, self.step), -1, 2)
        if not first:
            return near
        ahead = x[:, None, :first].expand(-1, self.chunks, *(-1 for _ in x.shape[1:]))
        return torch.cat([ahead, near], 2)


def _look(q: Queries, k: Folded, v: Folded, seen: Seen, broken: FoldedBroken | None) -> Queries:
    """Call PyTorch's attention on chunks; rows that see nothing are let see all, then erased."""
    chunks, each = k.shape[1], q.shape[2] // k.shape[3]
    seen = seen.expand(q.shape[0], -1, -1, -1)
    empty = ~seen.any(-1, keepdim=True)
    mask = repeat(seen | empty, "b n c l -> (b n) 1 (each c) l", each=each)
    # Queries of a group stand in one row of matrices, so shared keys are not repeated.
    rows = rearrange(q, "b (n c) (g each) d -> (b n) g (each c) d", n=chunks, each=each)
    k, v = (rearrange(x, "b n l g d -> (b n) g l d") for x in (k, v))
    out = F.scaled_dot_product_attention(rows, k, v, mask)
    out = rearrange(out, "(b n) g (each c) d -> b n c (g each) d", n=chunks, each=each)
    out = out.masked_fill(empty[..., None], 0.0)
    if broken is not None:
        # Counted by a product: a table of queries, keys and heads at once would be larger than the scores.
        reached = torch.einsum("bncl,bnlg->bncg", seen.float(), broken.float()) > 0
        out = out.masked_fill(repeat(reached, "b n c g -> b n c (g each) 1", each=each), float("nan"))
    return rearrange(out, "b n c h d -> b (n c) h d")
