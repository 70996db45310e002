r"""Strided sparse attention: a local band and every l-th place before.

.. math::
    A_i^{(1)} = \{\, j : 0 \le i - j < l \,\}, \qquad A_i^{(2)} = \{\, j \le i : (i - j) \bmod l = 0 \,\}

    o_i = \sum_{j \in A_i^{(1)} \cup A_i^{(2)}} a_{ij} v_j, \qquad
    a_i = \mathrm{softmax}_{j} \left(\frac{q_i^\top k_j}{\sqrt{D}}\right)

Each place reads the l places up to its own and, like a column in a picture of width l, every l-th place
before it. Two layers then join any two places: one step along the row, one along the column. It pays where
the data has such a period (pictures row by row, music in bars) and sequences are long; with the stride near
the root of the length, both parts cost alike. Text has no period: there ``fixed`` is the better choice.

The band is answered in runs of queries and the columns remainder by remainder; the two are joined in one
softmax by their largest scores and sums.

Causal:  as above; otherwise both parts reach as far the other way: :math:`|i - j| < l` and
         :math:`(i - j) \bmod l = 0`.
Cost:    time O(T (l + S / l) D), which is O(T \sqrt{T} D) for l near the root of T; memory O((T + S) D),
         forward and backward.
Source:  Child et al. 2019, arXiv:1904.10509, sections 4.3 (strided) and 5.1 (both parts merged in a head).
Differs: the paper's band holds l + 1 places, from i - l on; here place i - l belongs to the column, which
         shows it anyway, so the union is the same. A query that may see nothing gives zeros. While
         ``torch.compile`` traces, the slow twin with its T x S table answers. No second derivative.
"""

from nhin.attention.base import Facts
from nhin.attention.sparse.kernel import SparseAttention
from nhin.attention.sparse.layouts import StridedMask as Pattern
from nhin.ranges import check_size


class Strided(SparseAttention):
    """Softmax over the nearest places and every ``stride``-th place.

    Args:
        stride: Places of the band, and from one place of the column to the next.
    """

    facts = Facts(
        "strided",
        "Sparse Transformer, strided",
        "O(T·(l + S/l)·D)",
        "O((T + S)·D)",
        False,
        "arXiv:1904.10509",
        frozenset({"causal", "keep", "cross", "grouped", "convex", "decode", "truncate"}),
        family="sparse",
        state="2·S·G·D",
        use="For long sequences with a period, such as pictures row by row.",
    )

    def __init__(self, stride: int = 128) -> None:
        super().__init__()
        self.pattern = Pattern(check_size("stride", stride))
