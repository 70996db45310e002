r"""Block-sparse attention: a layout defines which blocks see which.

.. math::
    A_i = \{\, j : M_{\lfloor i / b \rfloor \lfloor j / b \rfloor} = 1 \,\}, \qquad
    o_i = \sum_{j \in A_i} \mathrm{softmax}_{j} \left(\frac{q_i^\top k_j}{\sqrt{D}}\right) v_j

The layout M is data: rows are blocks of queries, columns blocks of keys. It repeats beyond its edges, so a
small layout is a rule for any length. Without one, a block sees itself and those 1, 2, 4, 8, ... blocks away:
the layers that connect two positions, and the cost of a position, grow like a logarithm. It pays wherever it
is known which parts must see each other.

Causal:  within the visible blocks, the positions up to its own.
Cost:    time O(T m b D) for m visible blocks, log2(S / b) + 2 of them without a layout; memory O((T + S) D),
         forward and backward.
Source:  Child et al. 2019, arXiv:1904.10509, section 5.5 (block-sparse kernels);
         the default layout: after Li et al. 2019, arXiv:1907.00235, section 4.2 (LogSparse), over blocks
         where the paper has single positions.
Differs: all heads share one layout. ``torch.compile`` uses the reference. No second derivative.
"""

from nhin.attention.sparse.kernel import SparseAttention
from nhin.attention.sparse.layouts import BlockLayout, PowerOfTwoBlocks, sparse_facts
from nhin.errors import ShapeError
from nhin.ranges import check_size


class BlockSparse(SparseAttention):
    """Softmax over the blocks of a layout.

    Args:
        block: Positions in a block.
        layout: Row i marks the blocks of keys that the i-th block of queries sees; None for those at a
            distance of 0, 1, 2, 4, 8 and so on.
    """

    facts = sparse_facts(
        "block-sparse",
        "Block-sparse",
        "O(T·m·b·D)",
        source="arXiv:1904.10509, arXiv:1907.00235",
        use="When it is known which parts of a long sequence must see each other.",
    )

    def __init__(self, block: int = 64, layout: tuple[tuple[bool, ...], ...] | None = None) -> None:
        super().__init__()
        check_size("block", block)
        if layout is None:
            self.pattern = PowerOfTwoBlocks(block)
        else:
            self.pattern = BlockLayout(block, _check_layout(layout))


def _check_layout(layout: tuple[tuple[bool, ...], ...]) -> tuple[tuple[bool, ...], ...]:
    """Return a layout as plain booleans.

    Raises:
        ShapeError: It has no rows, or rows that are empty or of different lengths.
    """
    table = tuple(tuple(bool(visible) for visible in row) for row in layout)
    lengths = sorted({len(row) for row in table})
    if len(lengths) != 1 or lengths[0] == 0:
        raise ShapeError(f"layout has rows of {lengths or 'no'} blocks; give one or more rows, all as long")
    return table
