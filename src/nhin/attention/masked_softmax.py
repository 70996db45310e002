"""Arithmetic that mechanisms with a softmax over keys share."""

import torch
from einops import rearrange, repeat
from jaxtyping import Bool
from torch import Tensor

from nhin.attention.base import Keep, Keys, Queries, Weights

ScoreMask = Bool[Tensor, "#B #H #T S"]


def make_mask(
    size: tuple[int, int], device: torch.device, causal: bool, keep: Keep | None
) -> ScoreMask | None:
    """Return which keys each query may see; None when nothing is hidden.

    Args:
        size: Number of queries and of keys.
        device: Where the answer lives when ``keep`` is None.
        causal: Hide key s from query t when s > S - T + t.
        keep: True where a key may be seen.
    """
    seen = None if keep is None else rearrange(keep, "b s -> b 1 1 s")
    if causal:
        queries, keys = size
        last = torch.arange(queries, device=device) + (keys - queries)
        past = rearrange(torch.arange(keys, device=device) <= last[:, None], "t s -> 1 1 t s")
        seen = past if seen is None else seen & past
    return seen


def mask_keys(x: Keys, keep: Keep | None) -> Keys:
    """Put zeros where a key may not be seen, so that nothing written there can spread."""
    return x if keep is None else x.masked_fill(rearrange(~keep, "b s -> b s 1 1"), 0.0)


def all_finite(k: Keys, v: Keys) -> bool:
    """Tell cheaply that nothing needs shielding; False where only the branch-free shield will do.

    Exported graphs are taken to see finite numbers. Elsewhere than on a CPU the answer would make
    the device wait, and a compiled or vmapped function cannot branch on values.
    """
    if torch.compiler.is_exporting() or torch.onnx.is_in_onnx_export():
        return True
    if torch.compiler.is_compiling() or k.device.type != "cpu":
        return False
    try:
        return bool((k.detach().sum() + v.detach().sum()).isfinite())
    except RuntimeError:
        return False


def zero_nonfinite(k: Keys, v: Keys) -> tuple[Keys, Keys, Bool[Tensor, "B S G"]]:
    """Replace keys and values that are not finite by zeros and return where they stood.

    A hidden key has weight zero, but zero times NaN is NaN: a later NaN would reach earlier queries.
    """
    broken = ~(k.isfinite().all(-1) & v.isfinite().all(-1))
    cover = broken[..., None]
    return k.masked_fill(cover, 0.0), v.masked_fill(cover, 0.0), broken


def propagate_nan(out: Queries, nonfinite: Bool[Tensor, "B S G"]) -> Queries:
    """Give NaN to the queries that do see a broken key, with causal looking."""
    t, s, each = out.shape[1], nonfinite.shape[1], out.shape[2] // nonfinite.shape[2]
    reached = nonfinite.long().cumsum(1) > 0
    if t > s:
        reached = torch.cat([reached.new_zeros(reached.shape[0], t - s, reached.shape[2]), reached], 1)
    reached = repeat(reached[:, reached.shape[1] - t :], "b t g -> b t (g each) 1", each=each)
    return out.masked_fill(reached, float("nan"))


def attention_weights(q: Queries, k: Keys, mask: ScoreMask | None) -> Weights:
    """Return softmax weights: what each query gives each key; zeros where it may not look."""
    k = repeat(k, "b s g d -> b s (g each) d", each=q.shape[2] // k.shape[2])
    return masked_softmax(torch.einsum("bthd,bshd->bhts", q, k) * q.shape[-1] ** -0.5, mask)


def masked_softmax(scores: Weights, mask: ScoreMask | None) -> Weights:
    """Turn scores into weights: zero for keys that may not be seen, all zeros for a query that sees none."""
    if mask is None:
        return scores.softmax(-1)
    # An empty row is softened as if it saw all, then erased: -inf everywhere would give 0/0.
    empty = ~mask.any(-1, keepdim=True)
    return scores.masked_fill(~(mask | empty), float("-inf")).softmax(-1).masked_fill(empty, 0.0)


def weighted_sum(weights: Weights, v: Keys) -> Queries:
    """Return each query's weighted sum of values."""
    v = repeat(v, "b s g d -> b s (g each) d", each=weights.shape[1] // v.shape[2])
    return torch.einsum("bhts,bshd->bthd", weights.to(v.dtype), v)
