r"""Softmax attention, written as the formula says it.

.. math::
    \mathrm{Attention}(Q, K, V) = \mathrm{softmax}\left(\frac{Q K^\top}{\sqrt{D}}\right) V

Causal:  scores of later keys become minus infinity before the softmax.
Cost:    time O(T S D); memory O(T S), the weights themselves.
Source:  Vaswani et al. 2017, arXiv:1706.03762, eq. (1).
Differs: a query that may see nothing gives zeros, where the formula gives 0/0.
"""

from torch import nn

from nhin.attention._scores import hide, mix, shield, taint, visible, weigh, weights_of
from nhin.attention.base import Facts, Keep, Keys, Queries, Shown, check


class Naive(nn.Module):
    """The reference: slow, obvious, right in float64; every exact path is tested against it."""

    facts = Facts(
        "naive",
        "Softmax, as the formula says",
        "O(T·S·D)",
        "O(T·S)",
        True,
        "arXiv:1706.03762",
        frozenset({"causal", "keep", "cross", "grouped", "convex", "unordered", "weights"}),
    )

    def forward(
        self, q: Queries, k: Keys, v: Keys, *, causal: bool = False, keep: Keep | None = None
    ) -> Queries:
        """Mix values with softmax weights; see ``attention.base`` for the contract."""
        check(q, k, v, keep)
        k, v, broken = hide(k, keep), hide(v, keep), None
        if causal:
            k, v, broken = shield(k, v)
        weights = weigh(q, k, visible((q.shape[1], k.shape[1]), q.device, causal, keep))
        out = mix(weights, v)
        return out if broken is None else taint(out, broken)

    def weights(
        self,
        q: Queries,
        k: Keys,
        *,
        causal: bool = False,
        keep: Keep | None = None,
        rows: slice | None = None,
    ) -> Shown:
        """Return what each query (of ``rows``, all when None) gives each key."""
        check(q, k, k, keep)
        return weights_of(q, k, causal=causal, keep=keep, rows=rows)
