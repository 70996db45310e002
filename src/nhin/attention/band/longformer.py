r"""Longformer: a sliding window, and a few places that see all and are seen by all.

.. math::
    o_t = \sum_{s \in N(t)} \frac{\exp(q_t^\top k_s / \sqrt{D})}
                                 {\sum_{r \in N(t)} \exp(q_t^\top k_r / \sqrt{D})}\, v_s,
    \qquad N(t) = \{ s : |t - s| < W \;\lor\; s < L \;\lor\; t < L \}

A window alone needs many layers to carry something from one end to the other. The first :math:`L` places, a
classification token or a question, are leaders: in one layer they hear everybody, and in the next
everybody hears them. It suits whole documents that are classified or asked about. Not causally the leaders
cost a row of the table each; causally they see only what precedes them, so they are what sinks are.

Causal:  :math:`N(t) = \{ s \le t : t - s < W \lor s < L \}`.
Cost:    time O((T (W + L) + L S) D); memory O((T + S) D + L S), in traced graphs O(T (W + L) + L S).
Source:  Beltagy et al. 2020, arXiv:2004.05150, sec. 3.1 (global attention).
Differs: global places are the first ones, where the paper lets the task choose; queries, keys and values come
         from one projection, where the paper has a second one for global attention; W counts one side and the
         query itself, where the paper's w counts both sides; a query that may see nothing gives zeros.
"""

from nhin.attention.band.base import BandAttention
from nhin.attention.band.chunked import Band
from nhin.attention.base import Facts
from nhin.ranges import check_size


class Longformer(BandAttention):
    """Every query sees the nearest keys and the leaders, and these see everybody.

    Args:
        window: How many near keys a causal query sees, itself included; else one fewer on either side.
        leaders: How many places at the start see and are seen by all; 0 is a plain window.
    """

    facts = Facts(
        "longformer",
        "Longformer (window and global places)",
        "O((T·(W+L) + L·S)·D)",
        "O(T + L·S)",
        False,
        "arXiv:2004.05150",
        frozenset({"causal", "keep", "cross", "grouped", "convex", "decode"}),
        family="sparse",
        state="2·(W+L)·G·D",
        use="To classify or question long documents: local reading, and one place that gathers it all.",
    )

    def __init__(self, window: int = 256, leaders: int = 1) -> None:
        check_size("window", window)
        check_size("leaders", leaders, 0)
        super().__init__(Band(window, global_keys=leaders, global_queries=leaders))
