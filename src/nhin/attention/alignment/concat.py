r"""Concat score: query and key side by side go through a small network.

.. math::
    \mathrm{score}(h_t, \bar h_s) = v_a^\top \tanh(W_a [h_t; \bar h_s]), \qquad
    a_t = \mathrm{softmax}_s(\mathrm{score}(h_t, \bar h_s))

A matrix times two vectors side by side is the sum of its halves times each, so this is additive attention
under another name, with one matrix to draw at random where that has two. Luong found it the weakest of his
scores; that it is here lets you see for yourself.

Cost:    time O(T S D) with a tanh in it; memory O(T S), and for T S D in blocks of queries only.
Source:  Luong et al. 2015, arXiv:1508.04025, section 3.1 (concat).
Differs: the hidden layer is head_dim wide and the parameters are shared by the heads; a query that may see
         nothing gives zeros.
"""

from nhin.attention.alignment.base import AlignmentAttention
from nhin.attention.base import Facts


class ConcatAttention(AlignmentAttention):
    """Scores pairs, side by side, by a network of one hidden layer.

    Args:
        head_dim: Width of one head and of the hidden layer.
    """

    facts = Facts(
        "concat",
        "Concat (Luong)",
        "O(T·S·D)",
        "O(T·S)",
        False,
        "arXiv:1508.04025",
        frozenset({"causal", "keep", "cross", "grouped", "convex", "unordered", "decode", "truncate"}),
        family="scores",
        state="2·S·G·D",
        use="To compare with additive, which it equals but for how it begins.",
    )

    def __init__(self, head_dim: int) -> None:
        super().__init__("concat", head_dim)
