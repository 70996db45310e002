r"""Longformer: a sliding window, and a few global positions that see all and are seen by all.

.. math::
    o_t = \sum_{s \in N(t)} \mathrm{softmax}_{s \in N(t)} \left(\frac{q_t^\top k_s}{\sqrt{D}}\right) v_s,
    \qquad N(t) = \{ s : |t - s| < W \;\lor\; s < L \;\lor\; t < L \}

A window alone needs many layers to carry information from one end to the other. The first :math:`L`
positions, a classification token or a question, are global: in one layer they attend to all positions, and
in the next all attend to them. Causally a global position sees only earlier keys, and is a sink.

Causal:  :math:`N(t) = \{ s \le t : t - s < W \lor s < L \}`.
Cost:    time O((T (W + L) + L S) D); memory O((T + S) D + L S), in traced graphs O(T (W + L) + L S).
Source:  Beltagy et al. 2020, arXiv:2004.05150, sec. 3.1 (global attention).
Differs: global positions are the first ones, where the paper lets the task choose; queries, keys and values
         come from one projection, where the paper has a second one for global attention; W counts one side
         and the query itself, where the paper's w counts both.
"""

from nhin.attention.band.base import BandAttention, band_facts
from nhin.attention.band.chunked import Band
from nhin.ranges import check_size


class Longformer(BandAttention):
    """Every query attends to the nearest keys and to the global ones, whose queries attend to all.

    Args:
        global_tokens: Number of global positions, at the start; 0 is a plain window.
    """

    facts = band_facts(
        "longformer",
        "Longformer (window and global positions)",
        "O((T·(W+L) + L·S)·D)",
        memory="O(T + L·S)",
        state="2·(W+L)·G·D",
        use="To classify or question long documents: local attention, and one position that collects it all.",
    )

    def __init__(self, window: int = 256, global_tokens: int = 1) -> None:
        check_size("window", window)
        check_size("global_tokens", global_tokens, 0)
        super().__init__(Band(window, global_keys=global_tokens, global_queries=global_tokens))
