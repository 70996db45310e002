"""Softmax over scores with a number added that depends on the distance alone.

The biases for all distances are one line for each head; the T x S table of them is that line slid along. It
is written out for one tile at a time, and again in the backward pass, so memory does not grow like T x S; the
gradient of the line is a sum along diagonals. PyTorch's own attention takes a bias as a mask, but holds all
of it, and computes slowly and with all weights at once when the bias is learned.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from nhin.attention.base import Keep, Keys, Queries, WeightRows
from nhin.attention.masked_softmax import (
    all_finite,
    autocast_inputs,
    is_transformed,
    mask_keys,
    propagate_nan,
    zero_nonfinite,
)
from nhin.attention.masks import KeyPositions, QueryPositions
from nhin.attention.sliced_tiles import attend
from nhin.attention.softmax_base import SoftmaxAttention
from nhin.attention.tiles import TileGrid

QUERY_BLOCK, KEY_BLOCK = 128, 256  # of a tile

Gap = Int[Tensor, "*shape"]


class BiasedAttention(SoftmaxAttention):
    """A softmax over scaled dot products plus a bias that depends on the gap between query and key."""

    def __init__(self, heads: int) -> None:
        super().__init__()
        self.heads = heads

    def bias(self, gap: Gap) -> Float[Tensor, "H *shape"]:
        """Return what is added to the scores of each head when the key is ``gap`` places before the query."""
        raise NotImplementedError

    def scores(
        self, q: Queries, k: Keys, p: QueryPositions, s: KeyPositions, size: QueryPositions
    ) -> WeightRows:
        """Return scaled dot products with the bias added."""
        products = super().scores(q, k, p, s, size)
        return (products + self.bias(p - s)).to(products.dtype)

    def _attend(self, q: Queries, k: Keys, v: Keys, causal: bool, keep: Keep | None) -> Queries:
        traced = torch.compiler.is_compiling() or torch.onnx.is_in_onnx_export() or is_transformed()
        if traced or 0 in (q.numel(), k.numel()):
            return self.forward_reference(q, k, v, causal=causal, keep=keep)
        q, k, v = autocast_inputs(q, k, v)
        k, v, broken = mask_keys(k, keep), mask_keys(v, keep), None
        if causal and q.shape[1] != 1 and not all_finite(k, v):
            k, v, broken = zero_nonfinite(k, v)
        # From the key furthest behind the first query to the one furthest ahead of the last, the other way.
        gaps = torch.arange(k.shape[1] - 1, -q.shape[1], -1, device=q.device)
        line = self.bias(gaps)
        line = line.to(q.dtype if q.dtype == torch.float64 else torch.float32)
        out = attend(q, k, v, TileGrid(QUERY_BLOCK, KEY_BLOCK), causal=causal, keep=keep, bias=line)
        return out if broken is None else propagate_nan(out, broken)

    def explain(
        self, q: Queries, k: Keys, v: Keys, *, causal: bool = False, keep: Keep | None = None
    ) -> dict[str, Tensor]:
        """Return dot products, bias, their sum, who sees whom, weights and output."""
        self.check(q, k, v, causal=causal, keep=keep)
        t, s = q.shape[1], k.shape[1]
        keys = torch.arange(s, device=q.device)
        p = (torch.arange(t, device=q.device) + (s - t))[:, None]
        told = {"products": super().scores(q, mask_keys(k, keep), p, keys, p), "bias": self.bias(p - keys)}
        return told | super().explain(q, k, v, causal=causal, keep=keep)
