"""Attention within a band, for compilers, accelerators and short inputs.

Chunks of queries are folded into the batch, each with the keys its band reaches, so time and memory grow
with T times the width. There is no branch on values and no loop over lengths. ``row_blocks`` is the other
form, for long sequences on a CPU.
"""

from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

import torch
import torch.nn.functional as F
from einops import rearrange, repeat
from jaxtyping import Bool, Shaped
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from nhin.attention.base import Keep, Keys, Queries
from nhin.attention.masked_softmax import NonfiniteKeys, is_transformed
from nhin.attention.masks import GlobalKeys, GlobalQueries, Pattern, UnionMask, WindowMask

CHUNK = 64

ChunkedKeys = Shaped[Tensor, "B N L G D"]
ChunkedNonfinite = Bool[Tensor, "B N L G"]
ChunkMask = Bool[Tensor, "#B N C L"]


def min_(a: int, b: int) -> int:
    """Return the smaller, by a branch: a tracer takes minutes to reason about a minimum of symbols."""
    return a if a < b else b


def max_(a: int, b: int) -> int:
    """Return the larger; see ``min_``."""
    return b if a < b else a


@dataclass(frozen=True)
class Band:
    """The visible keys of a banded mechanism."""

    width: int  # see ``WindowMask``
    dilation: int = 1  # see ``WindowMask``; more than 1 only without the other two
    global_keys: int = 0  # keys at the start that every query sees
    global_queries: int = 0  # positions at the start whose queries see every key

    @cached_property
    def pattern(self) -> Pattern:
        """The rule shared by the drawn mask, the reference and the fast paths."""
        parts: list[Pattern] = [WindowMask(self.width, self.dilation)]
        parts += [GlobalKeys(self.global_keys)] if self.global_keys else []
        parts += [GlobalQueries(self.global_queries)] if self.global_queries else []
        return UnionMask(tuple(parts)) if len(parts) > 1 else parts[0]

    def global_rows(self, queries: int, keys: int) -> slice:
        """Return which queries are global."""
        start = max_(0, queries - keys)
        return slice(start, max_(start, min_(queries, self.global_queries + queries - keys)))


@dataclass(frozen=True)
class BandInputs:
    """The inputs of a call; keys and values that are hidden or not finite are zeros."""

    q: Queries
    k: Keys
    v: Keys
    causal: bool
    keep: Keep | None = None
    nonfinite: NonfiniteKeys | None = None  # keys that were not finite, whose queries get NaN

    def residue_class(self, dilation: int, residue: int) -> "BandInputs":
        """Return every ``dilation``-th query and the keys at the same positions."""
        t, s = self.q.shape[1], self.k.shape[1]
        part = slice((residue + s - t) % dilation, None, dilation)
        keep = None if self.keep is None else self.keep[:, part]
        nonfinite = None if self.nonfinite is None else self.nonfinite[:, part]
        q = self.q[:, residue::dilation]
        return BandInputs(q, self.k[:, part], self.v[:, part], self.causal, keep, nonfinite)


def attend_chunked(inputs: BandInputs, band: Band) -> Queries:
    """Attend within a band, with chunks of queries in the batch."""
    # For a few queries, masking the gaps costs less than splitting the sequence.
    if band.dilation > 1 and inputs.q.shape[1] > CHUNK:
        return _attend_dilated(inputs, band)
    out = _attend_band(inputs, band)
    if inputs.causal or not band.global_queries:
        return out
    rows = band.global_rows(inputs.q.shape[1], inputs.k.shape[1])
    dense = attend_dense(replace(inputs, q=inputs.q[:, rows]))
    return torch.cat([out[:, : rows.start], dense, out[:, rows.stop :]], 1)


def attend_dense(inputs: BandInputs) -> Queries:
    """Attend from every query to every key, not causally."""
    mask = inputs.k.new_ones(1, 1, inputs.q.shape[1], inputs.k.shape[1], dtype=torch.bool)
    if inputs.keep is not None:
        mask = mask & inputs.keep[:, None, None]
    nonfinite = None if inputs.nonfinite is None else inputs.nonfinite[:, None]
    return _attend_chunks(inputs.q, inputs.k[:, None], inputs.v[:, None], mask, nonfinite)


def _attend_dilated(inputs: BandInputs, band: Band) -> Queries:
    """Attend within each residue class: other positions do not see each other.

    The last query of a class has the position of its last key, so each class is a plain window.
    """
    t, d = inputs.q.shape[1], band.dilation
    parts = [_attend_band(inputs.residue_class(d, i), Band(band.width)) for i in range(min_(d, t))]
    rows = -(-t // d)
    parts = [F.pad(x, (0, 0, 0, 0, 0, rows - x.shape[1])) for x in parts]
    return rearrange(torch.stack(parts, 2), "b n d h c -> b (n d) h c")[:, :t]


def _attend_band(inputs: BandInputs, band: Band) -> Queries:
    """Fold queries and keys into chunks, attend and unfold."""
    t, s = inputs.q.shape[1], inputs.k.shape[1]
    size, chunks = (CHUNK, -(-t // CHUNK)) if t > CHUNK else (t, 1)
    reach = min_((band.width - 1) * band.dilation, max_(t, s) - 1)
    # Where the keys of the first chunk begin and end; those of later chunks are shifted with their queries.
    start = s - t - reach
    stop = s - t + size + (0 if inputs.causal else reach)
    if chunks == 1:
        start = max_(start, 0)
        stop = max_(min_(stop, s), start)
    chunking = _Chunking(start, stop - start, chunks, size)
    device = inputs.q.device
    p = torch.arange(size, device=device)[:, None] + (s - t)
    keys = torch.arange(start, stop, device=device)
    # The window is the same in every chunk, because it depends on distances only.
    near = WindowMask(band.width, band.dilation).mask(p, keys, p + 1)
    if inputs.causal:
        near = near & (keys <= p)
    shift = torch.arange(chunks, device=device)[:, None] * size
    real = (keys + shift >= band.global_keys) & (keys + shift < s)
    mask = near & real[:, None]
    first = min_(band.global_keys, s)
    if first:
        past = torch.arange(first, device=device) <= p + shift[:, :, None]
        mask = torch.cat([past if inputs.causal else torch.ones_like(past), mask], -1)
    if inputs.keep is not None:
        mask = mask & chunking.fold(inputs.keep, first)[:, :, None]
    nonfinite = None if inputs.nonfinite is None else chunking.fold(inputs.nonfinite, first)
    q = F.pad(inputs.q, (0, 0, 0, 0, 0, chunks * size - t))
    mask = mask if mask.ndim == 4 else mask[None]
    k, v = chunking.fold(inputs.k, first), chunking.fold(inputs.v, first)
    return _attend_chunks(q, k, v, mask, nonfinite)[:, :t]


class _Chunking(NamedTuple):
    """The keys of each chunk: ``length`` positions from ``start``, each chunk ``step`` later."""

    start: int
    length: int
    chunks: int
    step: int

    def fold(self, x: Shaped[Tensor, "B S *rest"], global_keys: int) -> Shaped[Tensor, "B N L *rest"]:
        """Fold keys, or values or masks, with the global ones first in every chunk."""
        total = self.length + (self.chunks - 1) * self.step
        begin = max_(self.start, 0)
        end = max_(begin, min_(self.start + total, x.shape[1]))
        before = min_(max_(-self.start, 0), total)
        rest = (0, 0) * (x.ndim - 2)
        padded = F.pad(x[:, begin:end], (*rest, before, total - before - (end - begin)))
        near = torch.movedim(padded.unfold(1, self.length, self.step), -1, 2)
        if not global_keys:
            return near
        shared = x[:, None, :global_keys].expand(-1, self.chunks, *(-1 for _ in x.shape[1:]))
        return torch.cat([shared, near], 2)


def _attend_chunks(
    q: Queries, k: ChunkedKeys, v: ChunkedKeys, visible: ChunkMask, nonfinite: ChunkedNonfinite | None
) -> Queries:
    """Call PyTorch's attention on chunks; a row without visible keys attends to all, then is erased."""
    chunks, each = k.shape[1], q.shape[2] // k.shape[3]
    visible = visible.expand(q.shape[0], -1, -1, -1)
    empty = ~visible.any(-1, keepdim=True)
    mask = repeat(visible | empty, "b n c l -> (b n) 1 (each c) l", each=each)
    # The queries of a group are rows of one matrix, so shared keys are not repeated.
    rows = rearrange(q, "b (n c) (g each) d -> (b n) g (each c) d", n=chunks, each=each)
    k, v = (rearrange(x, "b n l g d -> (b n) g l d") for x in (k, v))
    with sdpa_kernel(SDPBackend.MATH) if is_transformed() else nullcontext():
        out = F.scaled_dot_product_attention(rows, k, v, mask)
    out = rearrange(out, "(b n) g (each c) d -> b n c (g each) d", n=chunks, each=each)
    out = out.masked_fill(empty[..., None], 0.0)
    if nonfinite is not None:
        # A product counts them: a table of queries, keys and heads would be larger than the scores.
        affected = torch.einsum("bncl,bnlg->bncg", visible.float(), nonfinite.float()) > 0
        out = out.masked_fill(repeat(affected, "b n c g -> b n c (g each) 1", each=each), float("nan"))
    return rearrange(out, "b n c h d -> b (n c) h d")
