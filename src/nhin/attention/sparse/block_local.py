r"""Block-local attention: each place sees its own block and nothing else.

.. math::
    A_i = \{\, j : \lfloor j / b \rfloor = \lfloor i / b \rfloor \,\}, \qquad
    o_i = \sum_{j \in A_i} \mathrm{softmax}_{j} \left(\frac{q_i^\top k_j}{\sqrt{D}}\right) v_j

The cheapest of all: softmax attention over blocks of b places, one after the other. Nothing crosses the edge
of a block, however many layers are stacked, so it is for data that comes in such pieces, or for a stack
whose other layers look further. A place at the start of its block sees little when looking causally; a
sliding window gives every place as much, at twice the cost.

Causal:  of its own block, the places up to its own.
Cost:    time O(T b D); memory O((T + S) D), forward and backward.
Source:  Liu et al. 2018, arXiv:1801.10198, section 4.2.4 (local attention).
Differs: blocks are counted from the first key, also when there are fewer queries than keys. A query that may
         see nothing gives zeros. While ``torch.compile`` traces, the slow twin with its T x S table answers.
         No second derivative.
"""

from nhin.attention.base import Facts
from nhin.attention.sparse.kernel import SparseAttention
from nhin.attention.sparse.layouts import BlockDiagonal
from nhin.ranges import check_size


class BlockLocal(SparseAttention):
    """Softmax over one's own block.

    Args:
        block: Places in a block.
    """

    facts = Facts(
        "block-local",
        "Block-local",
        "O(T·b·D)",
        "O((T + S)·D)",
        False,
        "arXiv:1801.10198",
        frozenset({"causal", "keep", "cross", "grouped", "convex", "decode", "truncate"}),
        family="sparse",
        state="2·S·G·D",
        use="For data that comes in pieces of one size, or beside layers that look further.",
    )

    def __init__(self, block: int = 128) -> None:
        super().__init__()
        self.pattern = BlockDiagonal(check_size("block", block))
