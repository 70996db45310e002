r"""Location: the query alone chooses positions, whatever their keys.

.. math::
    a_t = \mathrm{softmax}(W_a h_t)

Each position of the source has a row of :math:`W_a`, so a state that encodes its own position can attend
there without comparing anything. It works where source and target advance in step, and for lengths seen in
training; it cannot find a word that has moved.

Causal:  positions up to the query's own.
Cost:    time O(T S D); memory O(T S), and context D parameters.
Source:  Luong et al. 2015, arXiv:1508.04025, eq. (8).
Differs: the matrix is shared by the heads; a shorter source uses its first rows, as in the paper, and a
         longer one than ``context`` is refused. Keys are not used, so they get no gradient.
"""

from nhin.attention.alignment.base import AlignmentAttention, score_facts
from nhin.attention.base import ABILITIES


class LocationAttention(AlignmentAttention):
    """Scores positions by the query alone."""

    facts = score_facts(
        "location",
        "Location (Luong)",
        abilities=frozenset(ABILITIES) - {"unordered"},
        use="Where source and target advance in step; to show how far position alone carries.",
    )

    def __init__(self, head_dim: int, context: int = 512) -> None:
        super().__init__("location", head_dim, context)
