"""What mechanisms that weigh keys by a softmax of scores do alike.

Such a mechanism gives its own ``scores``, its own ``pattern``, or both; all the rest follows from them:
the slow answer, its weights by rows, the explanation. A fast ``forward`` may replace the slow one.
"""

import torch
from einops import repeat
from jaxtyping import Bool
from torch import Tensor

from nhin.attention.base import Cache, CacheSpec, Keep, Keys, Mechanism, Queries, WeightRows, check_call
from nhin.attention.kv_cache import KVCache
from nhin.attention.masked_softmax import ScoreMask, mask_keys, masked_softmax, weighted_sum, zero_nonfinite
from nhin.attention.masks import KeyPositions, Pattern, QueryPositions


class SoftmaxAttention(Mechanism):
    """A softmax over the scores of the keys that may be seen."""

    pattern: Pattern | None = None

    def scores(
        self, q: Queries, k: Keys, p: QueryPositions, s: KeyPositions, size: QueryPositions
    ) -> WeightRows:
        """Return what the softmax is taken of: scaled dot products, unless a mechanism says otherwise.

        Args:
            q: Some of the queries.
            k: All keys; the hidden ones are zeros.
            p: Where each of these queries stands among the keys.
            s: Where each key stands.
            size: How many keys each query has, hidden ones included; p + 1 when causal.
        """
        k = repeat(k, "b s g d -> b s (g each) d", each=q.shape[2] // k.shape[2])
        return torch.einsum("bthd,bshd->bhts", q, k) * q.shape[-1] ** -0.5

    def mask(
        self, q: Queries, k: Keys, p: QueryPositions, s: KeyPositions, size: QueryPositions
    ) -> ScoreMask | None:
        """Return which keys the mechanism itself lets each query see; None for all."""
        return None if self.pattern is None else self.pattern.mask(p, s, size)[None, None]

    def forward(
        self, q: Queries, k: Keys, v: Keys, *, causal: bool = False, keep: Keep | None = None
    ) -> Queries:
        """Mix values with softmax weights; see ``attention.base`` for the contract."""
        self.check(q, k, v, causal=causal, keep=keep)
        return self.forward_reference(q, k, v, causal=causal, keep=keep)

    def check(self, q: Queries, k: Keys, v: Keys, *, causal: bool, keep: Keep | None) -> None:
        """Refuse what does not fit; a mechanism built for sizes adds its own."""
        check_call(self.facts, q, k, v, causal=causal, keep=keep)

    def forward_reference(
        self, q: Queries, k: Keys, v: Keys, *, causal: bool = False, keep: Keep | None = None
    ) -> Queries:
        """Mix values the obvious way, with all weights at once: the twin every fast path must equal."""
        k, v, broken = zero_nonfinite(mask_keys(k, keep), mask_keys(v, keep))
        weights, seen = self._weights_and_mask(q, k, causal, keep, slice(None))
        out = weighted_sum(weights, v)
        seen = weights.new_ones(1, 1, *weights.shape[2:], dtype=torch.bool) if seen is None else seen
        # What a query sees must show when it is no number, though it was mixed as zero.
        bad = repeat(broken, "b s g -> b (g each) 1 s", each=q.shape[2] // k.shape[2])
        reached = (seen & bad).any(-1)
        return out.masked_fill(reached.transpose(1, 2)[..., None], float("nan"))

    def weights(
        self,
        q: Queries,
        k: Keys,
        *,
        causal: bool = False,
        keep: Keep | None = None,
        rows: slice | None = None,
    ) -> WeightRows:
        """Return what each query (of ``rows``, all when None) gives each key."""
        self.check(q, k, k, causal=causal, keep=keep)
        return self._weights_and_mask(q, mask_keys(k, keep), causal, keep, rows or slice(None))[0]

    def explain(
        self, q: Queries, k: Keys, v: Keys, *, causal: bool = False, keep: Keep | None = None
    ) -> dict[str, Tensor]:
        """Return scores, who sees whom, weights and output, in the formula's order."""
        self.check(q, k, v, causal=causal, keep=keep)
        k = mask_keys(k, keep)
        scores, seen = self._scores_and_mask(q, k, causal, keep, slice(None))
        told = {"scores": scores}
        if seen is not None:
            told["visible"] = seen
        told["weights"] = self._weights_and_mask(q, k, causal, keep, slice(None))[0]
        return told | {"output": self(q, k, v, causal=causal, keep=keep)}

    def init_cache(self, spec: CacheSpec) -> Cache:
        """Build an empty state: all keys and values."""
        if "decode" not in self.facts.abilities:
            return super().init_cache(spec)
        return KVCache(spec, self)

    def _weights_and_mask(
        self, q: Queries, k: Keys, causal: bool, keep: Keep | None, rows: slice
    ) -> tuple[WeightRows, Bool[Tensor, "#B #H #rows S"] | None]:
        """Return the weights of some rows and who may be seen from them."""
        scores, seen = self._scores_and_mask(q, k, causal, keep, rows)
        return masked_softmax(scores, seen), seen

    def _scores_and_mask(
        self, q: Queries, k: Keys, causal: bool, keep: Keep | None, rows: slice
    ) -> tuple[WeightRows, Bool[Tensor, "#B #H #rows S"] | None]:
        """Return the scores of some rows and who may be seen from them."""
        t, s = q.shape[1], k.shape[1]
        keys = torch.arange(s, device=q.device)
        p = (torch.arange(t, device=q.device) + (s - t))[rows, None]
        size = p + 1 if causal else torch.full_like(p, s)
        q = q[:, rows]
        seen = self.mask(q, k, p, keys, size)
        for limit in ((keys <= p)[None, None] if causal else None, _keep_mask(keep)):
            if limit is not None:
                seen = limit if seen is None else seen & limit
        return self.scores(q, k, p, keys, size), seen


def _keep_mask(keep: Keep | None) -> ScoreMask | None:
    return None if keep is None else keep[:, None, None, :]
