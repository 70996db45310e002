r"""Linear attention with the feature map elu + 1.

.. math::
    o_t = \frac{\phi(q_t)^\top \sum_s \phi(k_s) v_s^\top}{\phi(q_t)^\top \sum_s \phi(k_s)},
    \qquad \phi(x) = \mathrm{elu}(x) + 1

The softmax's exponential of a product is replaced by a product of features. Products associate, so each
key and value is summed once and the sums are shown to all queries. One formula has three forms with one
result: the implied T x S matrix (``weights``), chunks with a carried state (the causal call), and the state
alone, place by place (``new_state``), whose size and time per step do not grow with what was read.

It pays from about a thousand places on, in training and most of all in decoding. It does not where a
query must single out one key among many: D features cannot hold more than D keys apart.

Causal:  the sums run over s <= t only: S_t = S_{t-1} + phi(k_t) v_t^T and Z_t = Z_{t-1} + phi(k_t).
Cost:    time O((T + S) D^2); memory O(D^2), causally O(T D^2 / chunk) to train.
Source:  Katharopoulos et al. 2020, arXiv:2006.16236, eq. (5), (7) and (9) to (12).
Differs: a query that may see nothing gives zeros, where the formula gives 0/0, as does one whose
         features all underflow; causally chunks of products instead of one state per place.
"""

from nhin.attention.base import Facts
from nhin.attention.linear.base import LINEAR_ABILITIES, KernelizedAttention


class Linear(KernelizedAttention):
    """Scores factor, so each key is summed once and shared by all queries."""

    feature_map = "elu"
    facts = Facts(
        "linear",
        "Linear (elu + 1)",
        "O((T + S)·D²)",
        "O(D²)",
        False,
        "arXiv:2006.16236",
        LINEAR_ABILITIES | {"convex"},
        family="linear",
        state="G·(D² + 2·D)",
        use="For long texts on little hardware: time linear in length, decoding at a constant cost.",
    )
