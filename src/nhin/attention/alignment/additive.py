r"""Additive attention: a small network scores each pair of query and key.

.. math::
    e_{ts} = v_a^\top \tanh(W_a q_t + U_a k_s), \qquad \alpha_{ts} = \mathrm{softmax}_s(e_{ts}), \qquad
    c_t = \sum_s \alpha_{ts} v_s

The first attention: a translator that writes word by word attends to the sentence it has read. The network
can score by more than similarity, and its scores stay within the sum of :math:`|v_a|` for heads of any width,
so they need no scaling. It costs a tanh for each pair and channel, tens of times a dot product.

Cost:    time O(T S D) with a tanh in it; memory O(T S), and for T S D in blocks of queries only.
Source:  Bahdanau et al. 2014, arXiv:1409.0473, section 3.1 and appendix A.1.2.
Differs: queries, keys and hidden units are all head_dim wide and the parameters are shared by the heads; the
         paper has one head, and its query is the state before the word is written.
"""

from nhin.attention.alignment.base import AlignmentAttention, score_facts


class AdditiveAttention(AlignmentAttention):
    """Scores pairs by a network with one hidden layer, as wide as a head."""

    facts = score_facts(
        "additive",
        "Additive (Bahdanau)",
        source="arXiv:1409.0473",
        use="For short sequences and small data, and to study where attention came from.",
    )

    def __init__(self, head_dim: int) -> None:
        super().__init__("additive", head_dim)
