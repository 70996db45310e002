r"""BigBird: the nearest blocks, the first blocks, and a few blocks drawn by lot.

.. math::
    A_i = \{\, j : |I - J| < w \;\lor\; J < g \;\lor\; I < g \;\lor\; J \in R_I \,\}, \qquad
    I = \lfloor i / b \rfloor, \quad J = \lfloor j / b \rfloor

    o_i = \sum_{j \in A_i} \mathrm{softmax}_{j} \left(\frac{q_i^\top k_j}{\sqrt{D}}\right) v_j

The window serves what is near, the first g blocks see everybody and are seen by everybody, and the r blocks
of :math:`R_I`, drawn by lot for each block of queries, make any place reachable from any other in few steps,
as in a random graph. It pays on long documents, from some thousands of places on.

The lot is a fixed hash of seed, query block and key block: :math:`R_I` holds the r smallest among the blocks
that a query has (causally, those up to its own) and does not see anyway. Nothing is stored and no generator
is asked, so a forward and a backward pass, every device, every length and every step of decoding agree.

Causal:  the places up to its own, and lots among the blocks up to its own.
Cost:    time O(T (w + g + r) b D), and O(T^2 / b^2) to draw lots; memory O((T + S) D), forward and backward.
Source:  Zaheer et al. 2020, arXiv:2007.14062, section 2 and appendix D (blocks, internal global tokens).
Differs: ``window`` counts the blocks up to one's own, and as many are seen on the other side, so the paper's
         3 are ``window=2`` here; the window does not wrap around at the ends; lots are a hash, where the
         paper draws them once; all heads share them; causal looking is not in the paper. A query that may
         see nothing gives zeros. While ``torch.compile`` traces, the slow twin with its T x S table answers.
         No second derivative.
"""

from nhin.attention.base import Facts
from nhin.attention.sparse.kernel import SparseAttention
from nhin.attention.sparse.layouts import BigBirdBlocks
from nhin.ranges import check_size


class BigBird(SparseAttention):
    """Softmax over a window, the first blocks and blocks drawn by lot.

    Args:
        block: Places in a block.
        window: Nearest blocks, its own included; when not causal, as many on the other side.
        globals: Blocks at the start that everybody sees and, when not causal, that see everybody.
        random: Blocks drawn for each block of queries.
        seed: Another seed, other lots.
    """

    facts = Facts(
        "bigbird",
        "BigBird",
        "O(T·(w + g + r)·b·D)",
        "O((T + S)·D)",
        False,
        "arXiv:2007.14062",
        frozenset({"causal", "keep", "cross", "grouped", "convex", "decode", "truncate"}),
        family="sparse",
        state="2·S·G·D",
        use="For long documents, where anything may matter to anything.",
    )

    def __init__(
        self, block: int = 64, window: int = 4, globals: int = 1, random: int = 3, seed: int = 0
    ) -> None:
        super().__init__()
        self.pattern = BigBirdBlocks(
            check_size("block", block),
            check_size("window", window),
            check_size("globals", globals, 0),
            check_size("random", random, 0),
            seed,
        )
