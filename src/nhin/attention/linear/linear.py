r"""Linear attention with the feature map elu + 1.

.. math::
    o_t = \frac{\phi(q_t)^\top \sum_s \phi(k_s) v_s^\top}{\phi(q_t)^\top \sum_s \phi(k_s)},
    \qquad \phi(x) = \mathrm{elu}(x) + 1

A product of features replaces the exponential of a product. Products associate, so each key and value is
summed once, for all queries. One formula has three forms with one result: the implied T x S matrix
(``weights``), chunks with a carried state (the causal call), and the state alone, step by step
(``init_cache``), whose size and time per step do not grow with the length.

It pays from about a thousand positions on, in training and most of all in decoding. It does not where a
query must single out one key among many: D features cannot tell more than D keys apart.

Causal:  the sums run over s <= t only: S_t = S_{t-1} + phi(k_t) v_t^T and Z_t = Z_{t-1} + phi(k_t).
Cost:    time O((T + S) D^2); memory O(D^2), causally O(T D^2 / chunk) to train.
Source:  Katharopoulos et al. 2020, arXiv:2006.16236, eq. (5), (7) and (9) to (12).
Differs: a query without visible keys gives zeros, where the formula gives 0/0, as does one whose features
         all underflow; causally chunks of products instead of one state per position.
"""

from nhin.attention.linear.base import KernelizedAttention, linear_facts


class Linear(KernelizedAttention):
    """Scores factor, so each key is summed once for all queries."""

    feature_map = "elu"
    facts = linear_facts(
        "linear",
        "Linear (elu + 1)",
        use="For long texts on little hardware: time linear in length, decoding at a constant cost.",
    )
