"""Base of mechanisms that weigh keys by a softmax of scores.

A subclass defines its ``scores``, its ``pattern`` of visible keys, or both; reference, weights, explanation
and cache follow from them. A fast ``_attend`` may replace the reference.
"""

from functools import partial

import torch
from einops import repeat
from jaxtyping import Bool
from torch import Tensor

from nhin.attention.base import (
    ABILITIES,
    Cache,
    CacheSpec,
    Facts,
    Keep,
    Keys,
    Mechanism,
    Queries,
    WeightRows,
)
from nhin.attention.kv_cache import KVCache
from nhin.attention.masked_softmax import (
    ScoreMask,
    mask_keys,
    masked_softmax,
    repeat_heads,
    weighted_sum,
    zero_nonfinite,
)
from nhin.attention.masks import KeyPositions, Pattern, QueryPositions

RowMask = Bool[Tensor, "#B #H #rows S"]

softmax_facts = partial(Facts, time="O(T·S·D)", exact=False, abilities=frozenset(ABILITIES), state="2·S·G·D")


class SoftmaxAttention(Mechanism):
    """A softmax over the scores of the visible keys."""

    pattern: Pattern | None = None

    def scores(
        self, q: Queries, k: Keys, p: QueryPositions, s: KeyPositions, size: QueryPositions
    ) -> WeightRows:
        """Return the logits of the softmax: scaled dot products, unless a mechanism overrides this.

        Args:
            q: Some of the queries.
            k: All keys; the hidden ones are zeros.
            p: Positions of these queries among the keys.
            s: Positions of the keys.
            size: Number of keys of each query, hidden ones included; p + 1 when causal.
        """
        return torch.einsum("bthd,bshd->bhts", q, repeat_heads(k, q.shape[2])) * q.shape[-1] ** -0.5

    def mask(
        self, q: Queries, k: Keys, p: QueryPositions, s: KeyPositions, size: QueryPositions
    ) -> ScoreMask | None:
        """Return which keys the mechanism itself shows to each query; None for all."""
        return None if self.pattern is None else self.pattern.mask(p, s, size)[None, None]

    def forward_reference(
        self, q: Queries, k: Keys, v: Keys, *, causal: bool = False, keep: Keep | None = None
    ) -> Queries:
        """Mix values with all weights at once, as the formula says: the reference of every fast path."""
        k, v, nonfinite = zero_nonfinite(mask_keys(k, keep), mask_keys(v, keep))
        weights, mask = self._weights_and_mask(q, k, causal, keep, slice(None))
        out = weighted_sum(weights, v)
        mask = weights.new_ones(1, 1, *weights.shape[2:], dtype=torch.bool) if mask is None else mask
        # A visible key that is not finite was mixed as zero, but must show.
        nonfinite = repeat(nonfinite, "b s g -> b (g n) 1 s", n=q.shape[2] // k.shape[2])
        affected = (mask & nonfinite).any(-1)
        return out.masked_fill(affected.transpose(1, 2)[..., None], float("nan"))

    def init_cache(self, spec: CacheSpec) -> Cache:
        """Build an empty cache of all keys and values."""
        if "decode" not in self.facts.abilities:
            return super().init_cache(spec)
        return KVCache(spec, self)

    def _attend(self, q: Queries, k: Keys, v: Keys, causal: bool, keep: Keep | None) -> Queries:
        return self.forward_reference(q, k, v, causal=causal, keep=keep)

    def _weights(self, q: Queries, k: Keys, causal: bool, keep: Keep | None, rows: slice) -> WeightRows:
        return self._weights_and_mask(q, mask_keys(k, keep), causal, keep, rows)[0]

    def _explain(self, q: Queries, k: Keys, v: Keys, causal: bool, keep: Keep | None) -> dict[str, Tensor]:
        """Return scores, mask and weights."""
        k = mask_keys(k, keep)
        scores, mask = self._scores_and_mask(q, k, causal, keep, slice(None))
        visible = {} if mask is None else {"visible": mask}
        weights = self._weights_and_mask(q, k, causal, keep, slice(None))[0]
        return {"scores": scores} | visible | {"weights": weights}

    def _weights_and_mask(
        self, q: Queries, k: Keys, causal: bool, keep: Keep | None, rows: slice
    ) -> tuple[WeightRows, RowMask | None]:
        """Return the weights of some queries and which keys are visible to them."""
        scores, mask = self._scores_and_mask(q, k, causal, keep, rows)
        return masked_softmax(scores, mask), mask

    def _scores_and_mask(
        self, q: Queries, k: Keys, causal: bool, keep: Keep | None, rows: slice
    ) -> tuple[WeightRows, RowMask | None]:
        """Return the scores of some queries and which keys are visible to them."""
        t, s = q.shape[1], k.shape[1]
        keys = torch.arange(s, device=q.device)
        p = (torch.arange(t, device=q.device) + (s - t))[rows, None]
        size = p + 1 if causal else torch.full_like(p, s)
        q = q[:, rows]
        mask = self.mask(q, k, p, keys, size)
        past = (keys <= p)[None, None] if causal else None
        for limit in (past, None if keep is None else keep[:, None, None, :]):
            if limit is not None:
                mask = limit if mask is None else mask & limit
        return self.scores(q, k, p, keys, size), mask
