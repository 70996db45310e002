r"""Global alignment: every place of the source is weighed, by a score of your choice.

.. math::
    a_t(s) = \frac{\exp(\mathrm{score}(h_t, \bar h_s))}{\sum_{s'} \exp(\mathrm{score}(h_t, \bar h_{s'}))},
    \qquad
    c_t = \sum_s a_t(s)\, \bar h_s

What a softmax over all keys was called when it was one choice among several: local-m and local-p look near
an aligned place only. Any of Luong's scores fits in: dot, general, concat, location; and Bahdanau's
additive.

Cost:    time O(T S D); memory O(T S).
Source:  Luong et al. 2015, arXiv:1508.04025, section 3.1, eq. (7).
Differs: the parameters of a score are shared by the heads; a query that may see nothing gives zeros.
"""

from nhin.attention.alignment.base import AlignmentAttention
from nhin.attention.base import Facts


class GlobalAttention(AlignmentAttention):
    """Weighs every key, by one of the scores.

    Args:
        head_dim: Width of one head.
        score: dot, general, concat, location or additive.
        context: Most keys, for the score location.
    """

    facts = Facts(
        "global",
        "Global alignment (Luong)",
        "O(T·S·D)",
        "O(T·S)",
        False,
        "arXiv:1508.04025",
        frozenset({"causal", "keep", "cross", "grouped", "convex", "decode", "truncate"}),
        family="reach",
        state="2·S·G·D",
        use="For translation and other pairs of sequences whose order differs freely.",
    )

    def __init__(self, head_dim: int, score: str = "general", context: int = 512) -> None:
        super().__init__(score, head_dim, context)
