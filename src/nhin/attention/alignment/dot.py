r"""Dot product: a key counts by how much it points the query's way.

.. math::
    \mathrm{score}(h_t, \bar h_s) = h_t^\top \bar h_s, \qquad
    a_t = \mathrm{softmax}_s(\mathrm{score}(h_t, \bar h_s))

The simplest score: no parameters, one product. It is scaled dot-product attention without the scale, and
shows why there is one: with D independent channels of size 1 the scores spread by :math:`\sqrt{D}`, so wide
heads look at one key only and learn slowly.

Cost:    time O(T S D); memory O(T S).
Source:  Luong et al. 2015, arXiv:1508.04025, section 3.1 (dot).
Differs: a query that may see nothing gives zeros.
"""

from nhin.attention.alignment.base import AlignmentAttention
from nhin.attention.base import Facts


class DotAttention(AlignmentAttention):
    """Scores pairs by their product, unscaled.

    Args:
        head_dim: Width of one head.
    """

    facts = Facts(
        "dot",
        "Dot product, unscaled (Luong)",
        "O(T·S·D)",
        "O(T·S)",
        False,
        "arXiv:1508.04025",
        frozenset({"causal", "keep", "cross", "grouped", "convex", "unordered", "decode", "truncate"}),
        family="scores",
        state="2·S·G·D",
        use="For narrow heads, and to see what the scale of softmax attention is for.",
    )

    def __init__(self, head_dim: int) -> None:
        super().__init__("dot", head_dim)
