r"""Location: the query alone says where to look, whatever stands there.

.. math::
    a_t = \mathrm{softmax}(W_a h_t)

Each place of the source has a row of :math:`W_a`, so a state that knows how far it has come can point there
without comparing anything. It works where source and target go in step, and for lengths it was trained on;
it cannot find a word that has moved.

Causal:  places up to the query's own.
Cost:    time O(T S D); memory O(T S), and context D parameters.
Source:  Luong et al. 2015, arXiv:1508.04025, eq. (8).
Differs: the matrix is shared by the heads; a shorter source uses its first rows, as in the paper, and a
         longer one than ``context`` is refused; a query that may see nothing gives zeros. Keys are not
         looked at, so they take no gradient.
"""

from nhin.attention.alignment.base import AlignmentAttention
from nhin.attention.base import Facts


class LocationAttention(AlignmentAttention):
    """Scores places by the query alone.

    Args:
        head_dim: Width of one head.
        context: Most places of the source.
    """

    facts = Facts(
        "location",
        "Location (Luong)",
        "O(T·S·D)",
        "O(T·S)",
        False,
        "arXiv:1508.04025",
        frozenset({"causal", "keep", "cross", "grouped", "convex", "decode", "truncate"}),
        family="scores",
        state="2·S·G·D",
        use="Where source and target go in step; to show how far position alone carries.",
    )

    def __init__(self, head_dim: int, context: int = 512) -> None:
        super().__init__("location", head_dim, context)
