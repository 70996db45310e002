r"""Softmax attention, computed as the formula says.

.. math::
    \mathrm{Attention}(Q, K, V) = \mathrm{softmax}\left(\frac{Q K^\top}{\sqrt{D}}\right) V

Causal:  scores of later keys become minus infinity before the softmax.
Cost:    time O(T S D); memory O(T S), the weights themselves.
Source:  Vaswani et al. 2017, arXiv:1706.03762, eq. (1).
Differs: a query without visible keys gives zeros, where the formula gives 0/0.
"""

from nhin.attention.softmax_base import SoftmaxAttention, softmax_facts


class Naive(SoftmaxAttention):
    """The reference: slow and simple; every exact path is tested against it in float64."""

    facts = softmax_facts(
        "naive",
        "Softmax, as the formula says",
        memory="O(T·S)",
        exact=True,
        source="arXiv:1706.03762",
        family="exact",
        use="To learn, and to test against: every intermediate is at hand.",
    )
