"""What mechanisms that look through a band do alike: choose how to look, and remember only the band."""

from dataclasses import fields

import torch
from einops import rearrange
from jaxtyping import Shaped
from torch import Tensor

from nhin.attention.band import chunked, row_blocks
from nhin.attention.band.chunked import Band, BandInputs, attend_chunked
from nhin.attention.band.ring_cache import SlidingWindowCache
from nhin.attention.base import Cache, CacheSpec, Keep, Keys, Queries
from nhin.attention.masked_softmax import (
    all_finite,
    attention_weights,
    mask_keys,
    weighted_sum,
    zero_nonfinite,
)
from nhin.attention.masks import Pattern
from nhin.attention.sliced_tiles import attend
from nhin.attention.softmax_base import SoftmaxAttention


class BandAttention(SoftmaxAttention):
    """A softmax over the keys of a band: near ones, and perhaps the first few.

    Args:
        band: Who sees whom.
    """

    def __init__(self, band: Band) -> None:
        super().__init__()
        self.band = band
        self.pattern: Pattern | None = band.pattern

    def forward(
        self, q: Queries, k: Keys, v: Keys, *, causal: bool = False, keep: Keep | None = None
    ) -> Queries:
        """Mix values with the weights of a band; see ``attention.base`` for the contract."""
        self.check(q, k, v, causal=causal, keep=keep)
        t, s = q.shape[1], k.shape[1]
        if 0 in (q.shape[0], t, s):
            return q.masked_fill(torch.ones_like(q, dtype=torch.bool), 0.0)
        k, v = mask_keys(k, keep), mask_keys(v, keep)
        if t == 1:
            return self._attend_last_query(q, k, v, keep)
        # The table of strips is made on the CPU and pays once there are several.
        if all_finite(k, v):
            if t > chunked.CHUNK and q.device.type == "cpu":
                return attend(q, k, v, row_blocks.BandTiles(self.band), causal=causal, keep=keep)
            return attend_chunked(BandInputs(q, k, v, causal, keep), self.band)
        k, v, broken = zero_nonfinite(k, v)
        return attend_chunked(BandInputs(q, k, v, causal, keep, broken), self.band)

    def extra_repr(self) -> str:
        """Tell the sizes of the band."""
        sizes = {field.name: getattr(self.band, field.name) for field in fields(self.band)}
        plain = {"dilation": 1, "global_keys": 0, "global_queries": 0}
        return ", ".join(f"{name}={size}" for name, size in sizes.items() if size != plain.get(name))

    def init_cache(self, spec: CacheSpec) -> Cache:
        """Build an empty state: the keys and values a later place may still see."""
        band = self.band
        return SlidingWindowCache(
            spec, self, band.width, dilation=band.dilation, global_keys=band.global_keys
        )

    def _attend_last_query(self, q: Queries, k: Keys, v: Keys, keep: Keep | None) -> Queries:
        """Answer one query: it stands at the last key, so it sees all of a few keys, causally or not."""
        s, band = k.shape[1], self.band
        if s > max(band.global_keys, band.global_queries):
            k, v, keep = (
                self._visible_to_last(k),
                self._visible_to_last(v),
                None if keep is None else self._visible_to_last(keep),
            )
        return weighted_sum(
            attention_weights(q, k, None if keep is None else rearrange(keep, "b s -> b 1 1 s")), v
        )

    def _visible_to_last(self, x: Shaped[Tensor, "B S *rest"]) -> Shaped[Tensor, "B L *rest"]:
        """Return what the last place sees."""
        s, band = x.shape[1], self.band
        start = s - 1 - (band.width - 1) * band.dilation
        start = start if start >= 0 else (s - 1) % band.dilation
        if start <= band.global_keys and band.global_keys:
            return x
        near = x[:, start :: band.dilation]
        return torch.cat([x[:, : band.global_keys], near], 1) if band.global_keys else near
