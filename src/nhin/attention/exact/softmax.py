r"""Softmax attention on PyTorch's fused kernels.

.. math::
    \mathrm{Attention}(Q, K, V) = \mathrm{softmax}\left(\frac{Q K^\top}{\sqrt{D}}\right) V

Causal:  aligned to the end, also when T and S differ; PyTorch's own ``is_causal`` aligns to the start.
Cost:    time O(T S D); memory O(T + S), O(T S) bytes when causal with T != S or ``keep``.
Source:  Vaswani et al. 2017, arXiv:1706.03762, eq. (1); Dao et al. 2022, arXiv:2205.14135 (the kernel).
Differs: a query without visible keys gives zeros; a graph exported with ``torch.export`` or to ONNX
         assumes finite keys and values.
"""

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float
from torch import Tensor

from nhin.attention.base import Keep, Keys, Queries
from nhin.attention.masked_softmax import (
    ScoreMask,
    attention_weights,
    is_transformed,
    make_mask,
    propagate_nan,
    shield_inputs,
    weighted_sum,
)
from nhin.attention.softmax_base import SoftmaxAttention, softmax_facts

MAX_UNFUSED_PAIRS = 256 * 256

ByHead = Float[Tensor, "B _ _ D"]


class Softmax(SoftmaxAttention):
    """Exact attention without a T x S table of scores: the default everywhere."""

    facts = softmax_facts(
        "softmax",
        "Softmax (fused)",
        memory="O(T + S)",
        exact=True,
        source="arXiv:1706.03762",
        family="exact",
        use="By default: exact, and fastest up to a few thousand positions.",
    )

    def _attend(self, q: Queries, k: Keys, v: Keys, causal: bool, keep: Keep | None) -> Queries:
        if is_transformed():
            return self.forward_reference(q, k, v, causal=causal, keep=keep)
        # The last query sees every key, so causality never limits a single query.
        if q.shape[1] == 1 and keep is None:
            # The heads that share keys are rows of one matrix, so keys are read once. In bf16 9x faster than
            # computing the weights, 4x in training. Without einops, which is slower: with it, here and where
            # a cache is written, a step over 512 keys takes 77 us instead of 52.
            packed = q[:, 0].unflatten(1, (k.shape[2], -1))
            out = F.scaled_dot_product_attention(packed, k.transpose(1, 2), v.transpose(1, 2))
            return out.flatten(1, 2)[:, None]
        causal = causal and q.shape[1] != 1
        k, v, nonfinite = shield_inputs(k, v, keep, nonfinite=causal)
        if _is_unfused_faster(q, k):
            mask = make_mask((q.shape[1], k.shape[1]), q.device, causal, keep)
            out = weighted_sum(attention_weights(q, k, mask), v)
        else:
            out = _attend_fused(q, k, v, causal, keep)
        return propagate_nan(out, nonfinite)


def _is_unfused_faster(q: Queries, k: Keys) -> bool:
    """Tell where computing the weights is faster: half precision on a CPU, whose fused backward is slow.

    Measured with torch 2.13, forward and backward in bf16: 5x at 15 positions, 3x at 100, 2x at 256.
    """
    half = q.dtype in (torch.bfloat16, torch.float16)
    return half and q.device.type == "cpu" and q.shape[1] * k.shape[1] <= MAX_UNFUSED_PAIRS


def _attend_fused(q: Queries, k: Keys, v: Keys, causal: bool, keep: Keep | None) -> Queries:
    """Choose the kernel's arguments: its own causality, a mask, or queries packed by group."""
    t, s, n = q.shape[1], k.shape[1], q.shape[2] // k.shape[2]
    mask = None if causal and t == s and keep is None else make_mask((t, s), q.device, causal, keep)
    k, v = rearrange(k, "b s g d -> b g s d"), rearrange(v, "b s g d -> b g s d")
    if n > 1 and not causal:
        # Queries that share keys are rows of one matrix: keys are read once for the group.
        packed = rearrange(q, "b t (g n) d -> b g (n t) d", n=n)
        return rearrange(_attend_masked(packed, k, v, mask), "b g (n t) d -> b t (g n) d", n=n)
    q = rearrange(q, "b t h d -> b h t d")
    out = _sdpa(q, k, v, causal=True) if causal and mask is None else _attend_masked(q, k, v, mask)
    return rearrange(out, "b h t d -> b t h d")


def _attend_masked(q: ByHead, k: ByHead, v: ByHead, mask: ScoreMask | None) -> ByHead:
    """Call the kernel with a mask; a row without visible keys attends to all, then is erased."""
    if mask is None:
        return _sdpa(q, k, v)
    empty = ~mask.any(-1, keepdim=True)
    return _sdpa(q, k, v, mask=mask | empty).masked_fill(empty, 0.0)


def _sdpa(q: ByHead, k: ByHead, v: ByHead, *, causal: bool = False, mask: Tensor | None = None) -> ByHead:
    """Call PyTorch's attention; with a branch, because its flag must not be a compiler's symbol."""
    if q.shape[1] != k.shape[1]:
        return F.scaled_dot_product_attention(q, k, v, mask, is_causal=causal, enable_gqa=True)
    return F.scaled_dot_product_attention(q, k, v, mask, is_causal=causal)
