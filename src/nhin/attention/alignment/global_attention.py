r"""Global alignment: attends to every position of the source, by a score of your choice.

.. math::
    a_t(s) = \frac{\exp(\mathrm{score}(h_t, \bar h_s))}{\sum_{s'} \exp(\mathrm{score}(h_t, \bar h_{s'}))},
    \qquad
    c_t = \sum_s a_t(s)\, \bar h_s

Luong's name for a softmax over all keys, as opposed to local-m and local-p, which attend only to keys near an
aligned position. The score may be Luong's dot, general, concat or location, or Bahdanau's additive.

Cost:    time O(T S D); memory O(T S).
Source:  Luong et al. 2015, arXiv:1508.04025, section 3.1, eq. (7).
Differs: the parameters of a score are shared by the heads.
"""

from nhin.attention.alignment.base import AlignmentAttention, reach_facts


class GlobalAttention(AlignmentAttention):
    """Weighs every key, by one of the scores."""

    facts = reach_facts(
        "global",
        "Global alignment (Luong)",
        use="For translation and other pairs of sequences whose order differs freely.",
    )

    def __init__(self, head_dim: int, score: str = "general", context: int = 512) -> None:
        super().__init__(score, head_dim, context)
