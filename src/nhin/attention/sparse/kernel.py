"""The fast path of sparse patterns: only the keys of the pattern are read, tile by tile.

How many tiles there are depends on the length, so a compiler is given the slow twin instead.
"""

import torch
from einops import rearrange, repeat
from jaxtyping import Bool
from torch import Tensor

from nhin.attention.base import Keep, Keys, Queries
from nhin.attention.masked_softmax import (
    all_finite,
    attention_weights,
    autocast_inputs,
    is_transformed,
    mask_keys,
    weighted_sum,
    zero_nonfinite,
)
from nhin.attention.masks import Pattern
from nhin.attention.sliced_tiles import as_slice, attend, index_keys, mask_parts, take_keys
from nhin.attention.softmax_base import SoftmaxAttention
from nhin.attention.tiles import TileBuilder, TiledPattern


class SparseAttention(SoftmaxAttention):
    """A softmax over the keys a pattern shows, the others not being touched."""

    pattern: TiledPattern  # pyright: ignore[reportIncompatibleVariableOverride] # narrower, and set once

    def _attend(self, q: Queries, k: Keys, v: Keys, causal: bool, keep: Keep | None) -> Queries:
        if torch.compiler.is_compiling() or is_transformed():
            return self.forward_reference(q, k, v, causal=causal, keep=keep)
        q, k, v = autocast_inputs(q, k, v)
        if q.shape[1] == 1:
            return attend_last_query(q, k, v, self.pattern, keep)
        k, v, broken = mask_keys(k, keep), mask_keys(v, keep), None
        if not all_finite(k, v):
            k, v, broken = zero_nonfinite(k, v)
        out = attend(q, k, v, self.pattern, causal=causal, keep=keep)
        if broken is not None:
            out = out.masked_fill(sees_nonfinite(self.pattern, broken, q, causal), float("nan"))
        return out


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
    pattern: TiledPattern, nonfinite: Bool[Tensor, "B S G"], q: Queries, causal: bool
) -> Bool[Tensor, "B T H 1"]:
    """Tell which queries attend to a key that is no number."""
    cut = TileBuilder(q.shape[1], nonfinite.shape[1], causal)
    bad = nonfinite.new_zeros(nonfinite.shape[0], q.shape[1], nonfinite.shape[2])
    for piece in pattern.tiles(cut):
        keys = take_keys(nonfinite, index_keys(piece.keys, nonfinite.device))
        there = repeat(keys, "b l g -> b g r l", r=len(piece.rows)).clone()
        for columns, hidden in mask_parts(piece, cut, nonfinite.device, {}):
            there[..., columns] &= ~hidden
        bad[:, as_slice(piece.rows)] |= rearrange(there.any(-1), "b g r -> b r g")
    return repeat(bad, "b t g -> b t (g each) 1", each=q.shape[2] // nonfinite.shape[2])
