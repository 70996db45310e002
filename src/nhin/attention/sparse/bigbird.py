r"""BigBird: the nearest blocks, the first blocks, and a few random blocks.

.. math::
    A_i = \{\, j : |I - J| < w \;\lor\; J < g \;\lor\; I < g \;\lor\; J \in R_I \,\}, \qquad
    I = \lfloor i / b \rfloor, \quad J = \lfloor j / b \rfloor

    o_i = \sum_{j \in A_i} \mathrm{softmax}_{j} \left(\frac{q_i^\top k_j}{\sqrt{D}}\right) v_j

The window covers near keys, the first g blocks attend to all and are seen by all, and the r blocks of
:math:`R_I`, drawn at random for each block of queries, connect any two positions in few steps, as in a random
graph. It pays on long documents, from some thousands of positions on.

Drawing is a fixed hash of seed, query block and key block: :math:`R_I` holds the r smallest among the blocks
that a query has (causally, those up to its own) and does not see anyway. So forward and backward pass, every
device, every length and every step of decoding agree.

Causal:  the positions up to its own, and random blocks among those up to its own.
Cost:    time O(T (w + g + r) b D), and O(T^2 / b^2) to draw; memory O((T + S) D), forward and backward.
Source:  Zaheer et al. 2020, arXiv:2007.14062, section 2 and appendix D (blocks, internal global tokens).
Differs: ``window`` counts the blocks up to one's own, and as many are visible on the other side, so the
         paper's 3 are ``window=2`` here; the window does not wrap around at the ends; blocks come from a
         hash, where the paper draws them once; all heads share them; the paper is not causal.
         ``torch.compile`` uses the reference. No second derivative.
"""

from nhin.attention.sparse.kernel import SparseAttention
from nhin.attention.sparse.layouts import BigBirdBlocks, sparse_facts
from nhin.ranges import check_size


class BigBird(SparseAttention):
    """Softmax over a window, the first blocks and random blocks.

    Args:
        block: Positions in a block.
        window: Nearest blocks, its own included; when not causal, as many on the other side.
        globals: Blocks at the start that all queries see and, when not causal, whose queries see all keys.
        random: Blocks drawn for each block of queries.
        seed: Seed of the draw.
    """

    facts = sparse_facts(
        "bigbird",
        "BigBird",
        "O(T·(w + g + r)·b·D)",
        source="arXiv:2007.14062",
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
