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

from nhin.attention.base import Keep, Keys, Queries
from nhin.attention.masks import GlobalKeys, GlobalQueries, Pattern, UnionMask, WindowMask

CHUNK = 64

NonfiniteKeys = Bool[Tensor, "B S G"]
ChunkedKeys = Shaped[Tensor, "B N L G D"]
ChunkedNonfinite = Bool[Tensor, "B N L G"]
ChunkMask = Bool[Tensor, "#B N C L"]


def min_(a: int, b: int) -> int:
    """Return the smaller, by a branch: a tracer takes minutes to reason about a minimum of symbols."""
    return a if a < b else b


def max_(a: int, b: int) -> int:
    """Return the larger; see ``less``."""
    return b if a < b else a


@dataclass(frozen=True)
class Band:
    """What a banded mechanism lets be seen.

    Args:
        width: See ``_patterns.Window``.
        dilation: See ``_patterns.Window``; more than 1 only without the other two.
        global_keys: Keys at the start that everybody sees.
        global_queries: Places at the start that see everybody.
    """

    width: int
    dilation: int = 1
    global_keys: int = 0
    global_queries: int = 0

    @cached_property
    def pattern(self) -> Pattern:
        """The rule that the drawn mask, the slow twin and the fast paths read."""
        parts: list[Pattern] = [WindowMask(self.width, self.dilation)]
        parts += [GlobalKeys(self.global_keys)] if self.global_keys else []
        parts += [GlobalQueries(self.global_queries)] if self.global_queries else []
        return UnionMask(tuple(parts)) if len(parts) > 1 else parts[0]

    def global_rows(self, queries: int, keys: int) -> slice:
        """Return which queries are leaders."""
        start = max_(0, queries - keys)
        return slice(start, max_(start, min_(queries, self.global_queries + queries - keys)))


@dataclass(frozen=True)
class BandInputs:
    """What a mechanism was called with.

    Args:
        q: Looks.
        k: Is looked at; hidden and broken keys are zeros.
        v: Is mixed; likewise.
        causal: Hide later keys.
        keep: True where a key may be seen.
        nonfinite: Keys that were no numbers, to show in the queries that see them; None when there are none.
    """

    q: Queries
    k: Keys
    v: Keys
    causal: bool
    keep: Keep | None = None
    nonfinite: NonfiniteKeys | None = None

    def residue_class(self, dilation: int, residue: int) -> "BandInputs":
        """Return every ``dilation``-th query and the keys that stand where these do."""
        t, s = self.q.shape[1], self.k.shape[1]
        seen = slice((residue + s - t) % dilation, None, dilation)
        return BandInputs(
            self.q[:, residue::dilation],
            self.k[:, seen],
            self.v[:, seen],
            self.causal,
            None if self.keep is None else self.keep[:, seen],
            None if self.nonfinite is None else self.nonfinite[:, seen],
        )


def attend_chunked(inputs: BandInputs, band: Band) -> Queries:
    """Look through a band, chunk by chunk in the batch."""
    # For a few queries, masking what lies in the gaps costs less than taking them apart.
    if band.dilation > 1 and inputs.q.shape[1] > CHUNK:
        return _attend_dilated(inputs, band)
    out = _attend_band(inputs, band)
    if inputs.causal or not band.global_queries:
        return out
    led = band.global_rows(inputs.q.shape[1], inputs.k.shape[1])
    return torch.cat(
        [out[:, : led.start], attend_dense(replace(inputs, q=inputs.q[:, led])), out[:, led.stop :]], 1
    )


def attend_dense(inputs: BandInputs) -> Queries:
    """Let every query see every key, not causally."""
    seen = inputs.k.new_ones(1, 1, inputs.q.shape[1], inputs.k.shape[1], dtype=torch.bool)
    if inputs.keep is not None:
        seen = seen & inputs.keep[:, None, None]
    broken = None if inputs.nonfinite is None else inputs.nonfinite[:, None]
    return _attend_chunks(inputs.q, inputs.k[:, None], inputs.v[:, None], seen, broken)


def _attend_dilated(inputs: BandInputs, band: Band) -> Queries:
    """Look class by class: places whose gap is no multiple of the dilation never see each other.

    The last query of a class stands at the last key of its class, so each is a plain window.
    """
    t, d = inputs.q.shape[1], band.dilation
    parts = [_attend_band(inputs.residue_class(d, i), Band(band.width)) for i in range(min_(d, t))]
    rows = -(-t // d)
    parts = [F.pad(x, (0, 0, 0, 0, 0, rows - x.shape[1])) for x in parts]
    return rearrange(torch.stack(parts, 2), "b n d h c -> b (n d) h c")[:, :t]


def _attend_band(inputs: BandInputs, band: Band) -> Queries:
    """Fold, look and unfold."""
    t, s = inputs.q.shape[1], inputs.k.shape[1]
    size, chunks = (CHUNK, -(-t // CHUNK)) if t > CHUNK else (t, 1)
    reach = min_((band.width - 1) * band.dilation, max_(t, s) - 1)
    # The keys of the first chunk begin here and end there; later chunks have theirs so much later.
    start = s - t - reach
    stop = s - t + size + (0 if inputs.causal else reach)
    if chunks == 1:
        start = max_(start, 0)
        stop = max_(min_(stop, s), start)
    cut = _Chunking(start, stop - start, chunks, size)
    device = inputs.q.device
    p = torch.arange(size, device=device)[:, None] + (s - t)
    places = torch.arange(start, stop, device=device)
    # Who is near whom is the same in every chunk, because only the gap matters to a window.
    near = WindowMask(band.width, band.dilation).mask(p, places, p + 1)
    if inputs.causal:
        near = near & (places <= p)
    later = torch.arange(chunks, device=device)[:, None] * size
    real = (places + later >= band.global_keys) & (places + later < s)
    seen = near & real[:, None]
    first = min_(band.global_keys, s)
    if first:
        ahead = torch.arange(first, device=device) <= p + later[:, :, None]
        seen = torch.cat([ahead if inputs.causal else torch.ones_like(ahead), seen], -1)
    if inputs.keep is not None:
        seen = seen & cut.fold(inputs.keep, first)[:, :, None]
    broken = None if inputs.nonfinite is None else cut.fold(inputs.nonfinite, first)
    q = F.pad(inputs.q, (0, 0, 0, 0, 0, chunks * size - t))
    seen = seen if seen.ndim == 4 else seen[None]
    return _attend_chunks(q, cut.fold(inputs.k, first), cut.fold(inputs.v, first), seen, broken)[:, :t]


class _Chunking(NamedTuple):
    """Where chunks take their keys: ``length`` places from ``start``, each chunk ``step`` later."""

    start: int
    length: int
    chunks: int
    step: int

    def fold(self, x: Shaped[Tensor, "B S *rest"], global_keys: int) -> Shaped[Tensor, "B N L *rest"]:
        """Fold keys, or what is known of them, with the first ones ahead in every chunk."""
        total = self.length + (self.chunks - 1) * self.step
        begin = max_(self.start, 0)
        end = max_(begin, min_(self.start + total, x.shape[1]))
        before = min_(max_(-self.start, 0), total)
        rest = (0, 0) * (x.ndim - 2)
        padded = F.pad(x[:, begin:end], (*rest, before, total - before - (end - begin)))
        near = torch.movedim(padded.unfold(1, self.length, self.step), -1, 2)
        if not global_keys:
            return near
        ahead = x[:, None, :global_keys].expand(-1, self.chunks, *(-1 for _ in x.shape[1:]))
        return torch.cat([ahead, near], 2)


def _attend_chunks(
    q: Queries, k: ChunkedKeys, v: ChunkedKeys, visible: ChunkMask, nonfinite: ChunkedNonfinite | None
) -> Queries:
    """Call PyTorch's attention on chunks; rows that see nothing are let see all, then erased."""
    chunks, each = k.shape[1], q.shape[2] // k.shape[3]
    visible = visible.expand(q.shape[0], -1, -1, -1)
    empty = ~visible.any(-1, keepdim=True)
    mask = repeat(visible | empty, "b n c l -> (b n) 1 (each c) l", each=each)
    # Queries of a group stand in one row of matrices, so shared keys are not repeated.
    rows = rearrange(q, "b (n c) (g each) d -> (b n) g (each c) d", n=chunks, each=each)
    k, v = (rearrange(x, "b n l g d -> (b n) g l d") for x in (k, v))
    out = F.scaled_dot_product_attention(rows, k, v, mask)
    out = rearrange(out, "(b n) g (each c) d -> b n c (g each) d", n=chunks, each=each)
    out = out.masked_fill(empty[..., None], 0.0)
    if nonfinite is not None:
        # Counted by a product: a table of queries, keys and heads at once would be larger than the scores.
        reached = torch.einsum("bncl,bnlg->bncg", visible.float(), nonfinite.float()) > 0
        out = out.masked_fill(repeat(reached, "b n c g -> b n c (g each) 1", each=each), float("nan"))
    return rearrange(out, "b n c h d -> b (n c) h d")
