"""Arithmetic of a softmax over the visible keys: masks, shielding from NaN, weights, weighted sums."""

import torch
from einops import rearrange, repeat
from jaxtyping import Bool, Float, Shaped
from torch import Tensor

from nhin.attention.base import Keep, Keys, Queries, Weights

ScoreMask = Bool[Tensor, "#B #H #T S"]
NonfiniteKeys = Bool[Tensor, "B S G"]


def make_mask(
    size: tuple[int, int], device: torch.device, causal: bool, keep: Keep | None
) -> ScoreMask | None:
    """Return which keys each query may attend to; None when nothing is hidden.

    Args:
        size: Number of queries and of keys.
        device: Where to build the causal mask.
        causal: Hide key s from query t when s > S - T + t.
        keep: False for keys hidden from all queries.
    """
    mask = None if keep is None else rearrange(keep, "b s -> b 1 1 s")
    if causal:
        queries, keys = size
        last = torch.arange(queries, device=device) + (keys - queries)
        past = rearrange(torch.arange(keys, device=device) <= last[:, None], "t s -> 1 1 t s")
        mask = past if mask is None else mask & past
    return mask


def is_transformed() -> bool:
    """Tell whether ``torch.func`` (vmap, grad, jvp) runs the code: it can take plain operations only."""
    return torch._C._are_functorch_transforms_active()


def repeat_heads(x: Shaped[Tensor, "B S G D"], heads: int) -> Shaped[Tensor, "B S H D"]:
    """Copy keys, values or features of every key/value head for each of its query heads."""
    return repeat(x, "b s g d -> b s (g n) d", n=heads // x.shape[2])


def upcast(x: Tensor) -> Tensor:
    """Return float32 at least, to sum in."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def autocast_inputs(q: Queries, k: Keys, v: Keys) -> tuple[Queries, Keys, Keys]:
    """Cast to the dtype of autocast, if it is on."""
    device = q.device.type
    if not torch.is_autocast_enabled(device):
        return q, k, v
    dtype = torch.get_autocast_dtype(device)
    return q.to(dtype), k.to(dtype), v.to(dtype)


def mask_keys(x: Keys, keep: Keep | None) -> Keys:
    """Replace hidden keys or values by zeros, so that their contents cannot spread."""
    return x if keep is None else x.masked_fill(rearrange(~keep, "b s -> b s 1 1"), 0.0)


def shield_inputs(
    k: Keys, v: Keys, keep: Keep | None, *, nonfinite: bool = True
) -> tuple[Keys, Keys, NonfiniteKeys | None]:
    """Zero hidden keys and values and, with ``nonfinite``, those that are not finite.

    Returns:
        Keys, values, and which visible keys were not finite; None when none was replaced.
    """
    k, v = mask_keys(k, keep), mask_keys(v, keep)
    return zero_nonfinite(k, v) if nonfinite and not all_finite(k, v) else (k, v, None)


def all_finite(k: Keys, v: Keys) -> bool:
    """Tell cheaply that all is finite; False where only a branch-free replacement will do.

    Exported graphs are taken to receive finite numbers. On an accelerator the check would wait for the
    device, and a compiled or vmapped function cannot branch on values.
    """
    if torch.compiler.is_exporting() or torch.onnx.is_in_onnx_export():
        return True
    if torch.compiler.is_compiling() or k.device.type != "cpu":
        return False
    try:
        return bool((k.detach().sum() + v.detach().sum()).isfinite())
    except RuntimeError:
        return False


def find_nonfinite(k: Float[Tensor, "*keys D"], v: Float[Tensor, "*keys D"]) -> Bool[Tensor, "*keys"]:
    """Return which keys, or their values, are not finite."""
    return ~(k.isfinite().all(-1) & v.isfinite().all(-1))


def zero_nonfinite(k: Keys, v: Keys) -> tuple[Keys, Keys, NonfiniteKeys]:
    """Replace keys and values that are not finite by zeros, and return which they were.

    A hidden key has weight zero, but zero times NaN is NaN: a later NaN would reach earlier queries.
    """
    nonfinite = find_nonfinite(k, v)
    cover = nonfinite[..., None]
    return k.masked_fill(cover, 0.0), v.masked_fill(cover, 0.0), nonfinite


def propagate_nan(out: Queries, nonfinite: NonfiniteKeys | None) -> Queries:
    """Put NaN in the outputs of queries that, causally, attend to a key that is not finite."""
    if nonfinite is None:
        return out
    t, s = out.shape[1], nonfinite.shape[1]
    affected = nonfinite.long().cumsum(1) > 0
    if t > s:
        affected = torch.cat([affected.new_zeros(affected.shape[0], t - s, affected.shape[2]), affected], 1)
    affected = repeat_heads(affected[:, affected.shape[1] - t :, :, None], out.shape[2])
    return out.masked_fill(affected, float("nan"))


def attention_weights(q: Queries, k: Keys, mask: ScoreMask | None) -> Weights:
    """Return the softmax weights of scaled dot products; zeros for hidden keys."""
    scores = torch.einsum("bthd,bshd->bhts", q, repeat_heads(k, q.shape[2]))
    return masked_softmax(scores * q.shape[-1] ** -0.5, mask)


def masked_softmax(scores: Weights, mask: ScoreMask | None) -> Weights:
    """Return weights: zero for hidden keys, all zeros for a query without visible keys."""
    if mask is None:
        return scores.softmax(-1)
    # An empty row attends to all keys, then is erased: -inf everywhere would give 0/0.
    empty = ~mask.any(-1, keepdim=True)
    return scores.masked_fill(~(mask | empty), float("-inf")).softmax(-1).masked_fill(empty, 0.0)


def weighted_sum(weights: Weights, v: Keys) -> Queries:
    """Return the weighted sum of the values for each query."""
    return torch.einsum("bhts,bshd->bthd", weights.to(v.dtype), repeat_heads(v, weights.shape[1]))
