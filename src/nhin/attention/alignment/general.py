r"""General score: a learned matrix between query and key.

.. math::
    \mathrm{score}(h_t, \bar h_s) = h_t^\top W_a \bar h_s, \qquad
    a_t = \mathrm{softmax}_s(\mathrm{score}(h_t, \bar h_s))

The matrix learns which channels of a query match which channels of a key, so the two may come from networks
that were trained apart, such as an encoder and a decoder. Where queries and keys are projected anyway, as in
a Transformer, it adds nothing: two projections already contain such a matrix.

Cost:    time O(T S D + T D^2); memory O(T S).
Source:  Luong et al. 2015, arXiv:1508.04025, section 3.1 (general).
Differs: the matrix is shared by the heads and begins near the identity over the root of D.
"""

from nhin.attention.alignment.base import AlignmentAttention, score_facts


class GeneralAttention(AlignmentAttention):
    """Scores pairs through a matrix."""

    facts = score_facts(
        "general",
        "General (Luong)",
        use="For an encoder and a decoder trained apart, without other projections.",
    )

    def __init__(self, head_dim: int) -> None:
        super().__init__("general", head_dim)
