r"""Linear attention with the feature map ReLU.

.. math::
    o_t = \frac{\phi(q_t)^\top \sum_s \phi(k_s) v_s^\top}{\phi(q_t)^\top \sum_s \phi(k_s)},
    \qquad \phi(x) = \max(x, 0)

Linear attention with features that may be zero: a query attends only to keys that share a positive channel
with it, so the implied weights are sparse. It pays where cheap, sparse features suffice. It does not for
narrow heads, where a query and all its keys may have no positive channel in common.

Causal:  the sums run over s <= t only.
Cost:    time O((T + S) D^2); memory O(D^2), causally O(T D^2 / chunk) to train.
Source:  Katharopoulos et al. 2020, arXiv:2006.16236, eq. (5); the map: Qin et al. 2022, arXiv:2202.08791,
         section 3.1, without its cosine weighting.
Differs: a query that shares no positive channel with any visible key gives zeros, where the formula gives
         0/0: no epsilon is added, which would shrink every output a little. So the weights of a row sum to
         one or to zero, and the ability "convex" is not claimed.
"""

from nhin.attention.linear.base import LINEAR_ABILITIES, KernelizedAttention, linear_facts


class LinearReLU(KernelizedAttention):
    """Linear attention whose features may be zero."""

    feature_map = "relu"
    facts = linear_facts(
        "linear-relu",
        "Linear (ReLU)",
        abilities=LINEAR_ABILITIES,
        use="As linear, where a query should be able to ignore keys altogether.",
    )
