"""Base of mechanisms that attend within a band: chooses the computation, and caches only the band."""

from dataclasses import fields
from functools import partial

import torch
from einops import rearrange
from jaxtyping import Shaped
from torch import Tensor

from nhin.attention.band import chunked, row_blocks
from nhin.attention.band.chunked import Band, BandInputs, attend_chunked
from nhin.attention.band.ring_cache import SlidingWindowCache
from nhin.attention.base import ABILITIES, Cache, CacheSpec, Facts, Keep, Keys, Queries
from nhin.attention.masked_softmax import (
    all_finite,
    attention_weights,
    is_transformed,
    mask_keys,
    weighted_sum,
    zero_nonfinite,
)
from nhin.attention.masks import Pattern
from nhin.attention.sliced_tiles import attend
from nhin.attention.softmax_base import SoftmaxAttention

band_facts = partial(
    Facts,
    memory="O(T + S)",
    exact=False,
    source="arXiv:2004.05150",
    abilities=frozenset(ABILITIES) - {"unordered", "truncate"},
    family="sparse",
)


class BandAttention(SoftmaxAttention):
    """A softmax over the keys of a band: near ones, and perhaps the first few.

    Args:
        band: Which keys are visible.
        window: Visible keys when causal, the query's own included; otherwise one fewer on either side.
    """

    def __init__(self, band: Band) -> None:
        super().__init__()
        self.band = band
        self.pattern: Pattern | None = band.pattern

    def extra_repr(self) -> str:
        """Return the sizes of the band."""
        sizes = {field.name: getattr(self.band, field.name) for field in fields(self.band)}
        plain = {"dilation": 1, "global_keys": 0, "global_queries": 0}
        return ", ".join(f"{name}={size}" for name, size in sizes.items() if size != plain.get(name))

    def init_cache(self, spec: CacheSpec) -> Cache:
        """Build an empty cache of the keys and values that a later query may still see."""
        band = self.band
        return SlidingWindowCache(
            spec, self, band.width, dilation=band.dilation, global_keys=band.global_keys
        )

    def _attend(self, q: Queries, k: Keys, v: Keys, causal: bool, keep: Keep | None) -> Queries:
        t, s = q.shape[1], k.shape[1]
        if 0 in (q.shape[0], t, s):
            return q.masked_fill(torch.ones_like(q, dtype=torch.bool), 0.0)
        k, v = mask_keys(k, keep), mask_keys(v, keep)
        if t == 1:
            return self._attend_last_query(q, k, v, keep)
        if not all_finite(k, v):
            k, v, nonfinite = zero_nonfinite(k, v)
            return attend_chunked(BandInputs(q, k, v, causal, keep, nonfinite), self.band)
        # The list of row blocks is built on the CPU and pays once there are several.
        if t > chunked.CHUNK and q.device.type == "cpu" and not is_transformed():
            return attend(q, k, v, row_blocks.BandTiles(self.band), causal=causal, keep=keep)
        return attend_chunked(BandInputs(q, k, v, causal, keep), self.band)

    def _attend_last_query(self, q: Queries, k: Keys, v: Keys, keep: Keep | None) -> Queries:
        """Answer one query: it has the position of the last key, so causality hides nothing from it."""
        if k.shape[1] > max(self.band.global_keys, self.band.global_queries):
            k, v = self._visible_to_last(k), self._visible_to_last(v)
            keep = None if keep is None else self._visible_to_last(keep)
        mask = None if keep is None else rearrange(keep, "b s -> b 1 1 s")
        return weighted_sum(attention_weights(q, k, mask), v)

    def _visible_to_last(self, x: Shaped[Tensor, "B S *rest"]) -> Shaped[Tensor, "B L *rest"]:
        """Return the keys, or their values or mask, that the last position sees."""
        s, band = x.shape[1], self.band
        start = s - 1 - (band.width - 1) * band.dilation
        start = start if start >= 0 else (s - 1) % band.dilation
        if start <= band.global_keys and band.global_keys:
            return x
        near = x[:, start :: band.dilation]
        return torch.cat([x[:, : band.global_keys], near], 1) if band.global_keys else near
