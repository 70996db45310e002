r"""Strided sparse attention: a local band and every l-th position before.

.. math::
    A_i^{(1)} = \{\, j : 0 \le i - j < l \,\}, \qquad A_i^{(2)} = \{\, j \le i : (i - j) \bmod l = 0 \,\}

    o_i = \sum_{j \in A_i^{(1)} \cup A_i^{(2)}} a_{ij} v_j, \qquad
    a_i = \mathrm{softmax}_{j} \left(\frac{q_i^\top k_j}{\sqrt{D}}\right)

Each position sees the l positions up to its own and, like a column in an image of width l, every l-th one
before. Two layers then connect any two positions: one step along the row, one along the column. It pays
where the data has such a period (images row by row, music in bars) and sequences are long; with the stride
near the root of the length, both parts cost alike. Text has no period: there ``fixed`` is better.

Causal:  as above; otherwise both parts reach as far the other way: :math:`|i - j| < l` and
         :math:`(i - j) \bmod l = 0`.
Cost:    time O(T (l + S / l) D), which is O(T \sqrt{T} D) for l near the root of T; memory O((T + S) D),
         forward and backward.
Source:  Child et al. 2019, arXiv:1904.10509, sections 4.3 (strided) and 5.1 (both parts merged in a head).
Differs: the paper's band holds l + 1 positions, from i - l on; here i - l belongs to the column, which shows
         it anyway, so the union is the same. ``torch.compile`` uses the reference. No second derivative.
"""

from nhin.attention.sparse.kernel import SparseAttention
from nhin.attention.sparse.layouts import StridedMask, sparse_facts
from nhin.ranges import check_size


class Strided(SparseAttention):
    """Softmax over the nearest positions and every ``stride``-th position.

    Args:
        stride: Width of the band, and distance between the positions of a column.
    """

    facts = sparse_facts(
        "strided",
        "Sparse Transformer, strided",
        "O(T·(l + S/l)·D)",
        use="For long sequences with a period, such as images row by row.",
    )

    def __init__(self, stride: int = 128) -> None:
        super().__init__()
        self.pattern = StridedMask(check_size("stride", stride))
