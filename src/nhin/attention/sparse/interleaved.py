r"""Strided sparse attention, one part a layer: a local band, then columns.

.. math::
    A_i = \begin{cases}
        \{\, j : 0 \le i - j < l \,\} & \text{layer even} \\
        \{\, j \le i : (i - j) \bmod l = 0 \,\} & \text{layer odd}
    \end{cases} \qquad
    o_i = \sum_{j \in A_i} \mathrm{softmax}_{j} \left(\frac{q_i^\top k_j}{\sqrt{D}}\right) v_j

The same two parts as in ``strided``, but each layer has only one of them, in turn: what one layer collects
along the row, the next carries along the column, so two layers connect any two positions at half the cost.
Give each layer of a stack its own number. It pays in deep stacks; a single layer sees half of what it should.

Causal:  as above; otherwise :math:`|i - j| < l`, and columns in both directions.
Cost:    time O(T l D) in even layers, O(T S D / l) in odd ones; memory O((T + S) D), forward and backward.
Source:  Child et al. 2019, arXiv:1904.10509, sections 4.3 (strided) and 5.1, one type of attention per layer,
         interleaved (the paper's first way).
Differs: the paper's band holds l + 1 positions; here exactly l, its own included. ``torch.compile`` uses the
         reference. No second derivative.
"""

from nhin.attention.sparse.kernel import SparseAttention
from nhin.attention.sparse.layouts import Columns, LocalBand, sparse_facts
from nhin.ranges import check_size


class Interleaved(SparseAttention):
    """Softmax over the nearest positions in even layers, over every ``stride``-th position in odd ones.

    Args:
        stride: Width of the band, and distance between the positions of a column.
        layer: Index of its layer, from 0.
    """

    facts = sparse_facts(
        "interleaved",
        "Sparse Transformer, interleaved over layers",
        "O(T·l·D), O(T·S/l·D)",
        use="In deep stacks over long sequences with a period; give each layer its number.",
    )

    def __init__(self, stride: int = 128, layer: int = 0) -> None:
        super().__init__()
        check_size("stride", stride)
        self.pattern = Columns(stride) if check_size("layer", layer, 0) % 2 else LocalBand(stride)
