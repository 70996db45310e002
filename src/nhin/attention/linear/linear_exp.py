r"""Linear attention with exponential features.

.. math::
    o_t = \frac{\phi(q_t)^\top \sum_s \phi(k_s) v_s^\top}{\phi(q_t)^\top \sum_s \phi(k_s)},
    \qquad \phi(x) = \exp(x)

Linear attention with features that grow fast: a large channel of a key dominates, so the weights can be as
sharp as those of a softmax. They equal a softmax over keys of :math:`\log \sum_d \exp(q_{td} + k_{sd})`.
It pays where linear attention with elu + 1 is too blurred, and costs about a fifth more time.

Each query is divided by its largest feature, each channel of the keys by its largest so far: both cancel
between numerator and denominator, so nothing overflows, and no query depends on a later chunk.

Causal:  the sums run over s <= t only, rescaled when a channel's largest grows, as in an online softmax.
Cost:    time O((T + S) D^2); memory O(D^2), causally O(T D^2 / chunk) to train.
Source:  Katharopoulos et al. 2020, arXiv:2006.16236, eq. (5); online rescaling: Milakov and Gimelshein
         2018, arXiv:1805.02867.
Differs: a query without visible keys gives zeros, where the formula gives 0/0. Exported graphs, and
         calls under ``torch.func``, compute the weights of all pairs and hold T x S x D numbers.
"""

from nhin.attention.linear.base import KernelizedAttention, linear_facts


class LinearExp(KernelizedAttention):
    """Linear attention whose features are exponentials, relative to their largest."""

    feature_map = "exp"
    facts = linear_facts("linear-exp", "Linear (exp)", use="As linear, where weights must be sharper.")
