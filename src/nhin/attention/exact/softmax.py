r"""Softmax attention on PyTorch's fused kernels.

.. math::
    \mathrm{Attention}(Q, K, V) = \mathrm{softmax}\left(\frac{Q K^\top}{\sqrt{D}}\right) V

Causal:  aligned to the end, also when T and S differ; PyTorch's own ``is_causal`` aligns to the start.
Cost:    time O(T S D); memory O(T + S), O(T S) bytes when causal with T != S or ``keep``.
Source:  Vaswani et al. 2017, arXiv:1706.03762, eq. (1); Dao et al. 2022, arXiv:2205.14135 (the kernel).
Differs: a query that may see nothing gives zeros; a graph exported with ``torch.export`` or to ONNX
         takes keys and values to be finite.
"""

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float
from torch import Tensor

from nhin.attention.base import Facts, Keep, Keys, Queries
from nhin.attention.masked_softmax import (
    ScoreMask,
    all_finite,
    attention_weights,
    make_mask,
    mask_keys,
    propagate_nan,
    weighted_sum,
    zero_nonfinite,
)
from nhin.attention.softmax_base import SoftmaxAttention

PLAIN_UP_TO = 256 * 256

ByHead = Float[Tensor, "B _ _ D"]


class Softmax(SoftmaxAttention):
    """Exact attention without a T x S table of scores: the default everywhere."""

    facts = Facts(
        "softmax",
        "Softmax (fused)",
        "O(T·S·D)",
        "O(T + S)",
        True,
        "arXiv:1706.03762",
        frozenset({"causal", "keep", "cross", "grouped", "convex", "unordered", "decode", "truncate"}),
        family="exact",
        state="2·S·G·D",
        use="By default: exact, and fastest up to a few thousand places.",
    )

    def forward(
        self, q: Queries, k: Keys, v: Keys, *, causal: bool = False, keep: Keep | None = None
    ) -> Queries:
        """Mix values with softmax weights; see ``attention.base`` for the contract."""
        self.check(q, k, v, causal=causal, keep=keep)
        # The last query sees every key, so one query alone is never limited by causality.
        if q.shape[1] == 1 and keep is None:
            return _decode(q, k, v)
        k, v, broken = mask_keys(k, keep), mask_keys(v, keep), None
        causal = causal and q.shape[1] != 1
        if causal and not all_finite(k, v):
            k, v, broken = zero_nonfinite(k, v)
        if _is_unfused_faster(q, k):
            seen = make_mask((q.shape[1], k.shape[1]), q.device, causal, keep)
            out = weighted_sum(attention_weights(q, k, seen), v)
        else:
            out = _attend(q, k, v, causal, keep)
        return out if broken is None else propagate_nan(out, broken)


def _is_unfused_faster(q: Queries, k: Keys) -> bool:
    """Tell where writing the weights out wins: half precision on a CPU, whose fused backward is slow.

    Measured with torch 2.13, forward and backward in bf16: 5x at 15 places, 3x at 100, 2x at 256.
    """
    half = q.dtype in (torch.bfloat16, torch.float16)
    return half and q.device.type == "cpu" and q.shape[1] * k.shape[1] <= PLAIN_UP_TO


def _decode(q: Queries, k: Keys, v: Keys) -> Queries:
    """Answer one query: its heads that share keys stand as rows of one matrix, and keys are read once.

    In the plainest operations there are: with einops, here and where a state is written, a step over 512
    keys takes 77 us instead of 52. Measured in bf16: 9x faster than the weights written out, 4x in training.
    """
    packed = q[:, 0].unflatten(1, (k.shape[2], -1))
    return _sdpa(packed, k.transpose(1, 2), v.transpose(1, 2)).flatten(1, 2)[:, None]


def _attend(q: Queries, k: Keys, v: Keys, causal: bool, keep: Keep | None) -> Queries:
    """Choose the kernel's arguments: its own causality, a mask, or queries packed by group."""
    t, s, each = q.shape[1], k.shape[1], q.shape[2] // k.shape[2]
    seen = None if causal and t == s and keep is None else make_mask((t, s), q.device, causal, keep)
    k, v = rearrange(k, "b s g d -> b g s d"), rearrange(v, "b s g d -> b g s d")
    if each > 1 and not causal:
        # Queries that share keys stand in one row of matrices: keys are read once for the group.
        packed = rearrange(q, "b t (g each) d -> b g (each t) d", each=each)
        return rearrange(_attend_masked(packed, k, v, seen), "b g (each t) d -> b t (g each) d", each=each)
    q = rearrange(q, "b t h d -> b h t d")
    out = _sdpa(q, k, v, causal=True) if causal and seen is None else _attend_masked(q, k, v, seen)
    return rearrange(out, "b h t d -> b t h d")


def _attend_masked(q: ByHead, k: ByHead, v: ByHead, mask: ScoreMask | None) -> ByHead:
    """Call the kernel with a mask; rows that see nothing are let see all, then erased."""
    if mask is None:
        return _sdpa(q, k, v)
    empty = ~mask.any(-1, keepdim=True)
    return _sdpa(q, k, v, mask=mask | empty).masked_fill(empty, 0.0)


def _sdpa(q: ByHead, k: ByHead, v: ByHead, *, causal: bool = False, mask: Tensor | None = None) -> ByHead:
    """Call PyTorch's attention; a branch, because its flag takes no symbol of a compiler."""
    if q.shape[1] != k.shape[1]:
        return F.scaled_dot_product_attention(q, k, v, mask, is_causal=causal, enable_gqa=True)
    return F.scaled_dot_product_attention(q, k, v, mask, is_causal=causal)
