r"""General score: a learned matrix stands between query and key.

.. math::
    \mathrm{score}(h_t, \bar h_s) = h_t^\top W_a \bar h_s, \qquad
    a_t = \mathrm{softmax}_s(\mathrm{score}(h_t, \bar h_s))

The matrix learns which channel of a query asks for which channel of a key, so both may come from networks
that never met, such as an encoder and a decoder. Where queries and keys are projected anyway, as in a
Transformer, it says nothing new: two projections already hold such a matrix.

Cost:    time O(T S D + T D^2); memory O(T S).
Source:  Luong et al. 2015, arXiv:1508.04025, section 3.1 (general).
Differs: the matrix is shared by the heads and begins near the identity over the root of D; a query that may
         see nothing gives zeros.
"""

from nhin.attention.alignment.base import AlignmentAttention
from nhin.attention.base import Facts


class GeneralAttention(AlignmentAttention):
    """Scores pairs through a matrix.

    Args:
        head_dim: Width of one head.
    """

    facts = Facts(
        "general",
        "General (Luong)",
        "O(T·S·D)",
        "O(T·S)",
        False,
        "arXiv:1508.04025",
        frozenset({"causal", "keep", "cross", "grouped", "convex", "unordered", "decode", "truncate"}),
        family="scores",
        state="2·S·G·D",
        use="For an encoder and a decoder whose states were made apart, without other projections.",
    )

    def __init__(self, head_dim: int) -> None:
        super().__init__("general", head_dim)
