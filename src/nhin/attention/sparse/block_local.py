r"""Block-local attention: each position attends within its own block only.

.. math::
    A_i = \{\, j : \lfloor j / b \rfloor = \lfloor i / b \rfloor \,\}, \qquad
    o_i = \sum_{j \in A_i} \mathrm{softmax}_{j} \left(\frac{q_i^\top k_j}{\sqrt{D}}\right) v_j

The cheapest of all: softmax attention over blocks of b positions, one after the other. Nothing crosses the
edge of a block, however many layers are stacked, so it is for data that comes in such pieces, or for a stack
whose other layers see further. Causally a position at the start of its block sees little; a sliding window
shows every position as much, at twice the cost.

Causal:  within its own block, the positions up to its own.
Cost:    time O(T b D); memory O((T + S) D), forward and backward.
Source:  Liu et al. 2018, arXiv:1801.10198, section 4.2.4 (local attention).
Differs: blocks are counted from the first key, also when there are fewer queries than keys. ``torch.compile``
         uses the reference. No second derivative.
"""

from nhin.attention.sparse.kernel import SparseAttention
from nhin.attention.sparse.layouts import BlockDiagonal, sparse_facts
from nhin.ranges import check_size


class BlockLocal(SparseAttention):
    """Softmax over one's own block.

    Args:
        block: Positions in a block.
    """

    facts = sparse_facts(
        "block-local",
        "Block-local",
        "O(T·b·D)",
        source="arXiv:1801.10198",
        use="For data that comes in pieces of one size, or beside layers that see further.",
    )

    def __init__(self, block: int = 128) -> None:
        super().__init__()
        self.pattern = BlockDiagonal(check_size("block", block))
