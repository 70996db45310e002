r"""Dot product: a key scores by how far it points in the direction of the query.

.. math::
    \mathrm{score}(h_t, \bar h_s) = h_t^\top \bar h_s, \qquad
    a_t = \mathrm{softmax}_s(\mathrm{score}(h_t, \bar h_s))

The simplest score: no parameters, one product. It is scaled dot-product attention without the scale, and
shows why there is one: with D independent channels of size 1 the scores spread by :math:`\sqrt{D}`, so wide
heads attend to one key only and learn slowly.

Cost:    time O(T S D); memory O(T S).
Source:  Luong et al. 2015, arXiv:1508.04025, section 3.1 (dot).
Differs: nothing.
"""

from nhin.attention.alignment.base import AlignmentAttention, score_facts


class DotAttention(AlignmentAttention):
    """Scores pairs by their product, unscaled."""

    facts = score_facts(
        "dot",
        "Dot product, unscaled (Luong)",
        use="For narrow heads, and to see what the scale of softmax attention is for.",
    )

    def __init__(self, head_dim: int) -> None:
        super().__init__("dot", head_dim)
