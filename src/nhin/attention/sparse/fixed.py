r"""Fixed sparse attention: one's own block and the last positions of every earlier block.

.. math::
    A_i^{(1)} = \{\, j \le i : \lfloor j / l \rfloor = \lfloor i / l \rfloor \,\}, \qquad
    A_i^{(2)} = \{\, j \le i : j \bmod l \ge l - c \,\}

    o_i = \sum_{j \in A_i^{(1)} \cup A_i^{(2)}} a_{ij} v_j, \qquad
    a_i = \mathrm{softmax}_{j} \left(\frac{q_i^\top k_j}{\sqrt{D}}\right)

The last c positions of each block of l are its summary: they have seen their entire block, and all later ones
see them. Information travels through the summary of a block in two layers. It pays on long text, where
``strided`` finds no period; all depends on few positions, so c should grow with the amount to remember (the
paper takes 8 to 32 for l of 128 or 256).

Causal:  as above; otherwise the entire own block and the summaries of all blocks, later ones too.
Cost:    time O(T (l + c S / l) D); memory O((T + S) D), forward and backward.
Source:  Child et al. 2019, arXiv:1904.10509, sections 4.3 (fixed) and 5.1 (both parts merged in a head).
Differs: the paper lets heads choose different positions of the block as summary; here it is the last ones for
         all. ``torch.compile`` uses the reference. No second derivative.
"""

from nhin.attention.sparse.kernel import SparseAttention
from nhin.attention.sparse.layouts import FixedMask, sparse_facts
from nhin.errors import ShapeError
from nhin.ranges import check_size


class Fixed(SparseAttention):
    """Softmax over one's own block and the summaries of the others.

    Args:
        stride: Positions in a block.
        summary: How many of them, at its end, later blocks see; 0 for none.
    """

    facts = sparse_facts(
        "fixed",
        "Sparse Transformer, fixed",
        "O(T·(l + c·S/l)·D)",
        use="For long text in blocks, whose last positions summarize them.",
    )

    def __init__(self, stride: int = 128, summary: int = 8) -> None:
        super().__init__()
        check_size("stride", stride)
        if check_size("summary", summary, 0) > stride:
            raise ShapeError(
                f"summary is {summary}; a block has stride={stride} positions, so give that or less"
            )
        self.pattern = FixedMask(stride, summary)
