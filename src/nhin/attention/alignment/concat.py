r"""Concat score: query and key, concatenated, go through a small network.

.. math::
    \mathrm{score}(h_t, \bar h_s) = v_a^\top \tanh(W_a [h_t; \bar h_s]), \qquad
    a_t = \mathrm{softmax}_s(\mathrm{score}(h_t, \bar h_s))

A matrix times a concatenation is the sum of its halves times each part, so this is additive attention under
another name, with one matrix to initialize instead of two. Luong found it the weakest of his scores.

Cost:    time O(T S D) with a tanh in it; memory O(T S), and for T S D in blocks of queries only.
Source:  Luong et al. 2015, arXiv:1508.04025, section 3.1 (concat).
Differs: the hidden layer is head_dim wide and the parameters are shared by the heads.
"""

from nhin.attention.alignment.base import AlignmentAttention, score_facts


class ConcatAttention(AlignmentAttention):
    """Scores concatenated pairs by a network with one hidden layer, as wide as a head."""

    facts = score_facts(
        "concat",
        "Concat (Luong)",
        use="To compare with additive, from which only its initialization differs.",
    )

    def __init__(self, head_dim: int) -> None:
        super().__init__("concat", head_dim)
