r"""Dilated sliding window: every so manieth of the nearest keys.

.. math::
    o_t = \sum_{s \in N(t)} \frac{\exp(q_t^\top k_s / \sqrt{D})}
                                 {\sum_{r \in N(t)} \exp(q_t^\top k_r / \sqrt{D})}\, v_s,
    \qquad N(t) = \{ s : |t - s| < W d,\; d \mid t - s \}

A window with gaps of :math:`d` reaches :math:`d` times as far for the same cost. Places whose distance is no
multiple of :math:`d` never meet in one layer, so the sequence falls apart into :math:`d` interleaved ones,
each with a plain window: that is how it is computed, and why it is used together with undilated windows, in
other heads or other layers. Alone it is blind to its neighbours.

Causal:  :math:`N(t) = \{ t, t - d, \dots, t - (W - 1) d \}`: exactly W keys, the query's own place included.
Cost:    time O(T W D); memory O((T + S) D), in traced graphs O(T W).
Source:  Beltagy et al. 2020, arXiv:2004.05150, sec. 3.1 (dilated sliding window).
Differs: W counts one side and the query itself, where Longformer's w counts both sides; one dilation for all
         heads of a mechanism; a query that may see nothing gives zeros.
"""

from nhin.attention.band.base import BandAttention
from nhin.attention.band.chunked import Band
from nhin.attention.base import Facts
from nhin.ranges import check_size


class Dilated(BandAttention):
    """Every query sees near keys, with gaps between them.

    Args:
        window: How many keys a causal query sees, itself included; else one fewer on either side.
        dilation: From one of them to the next; 1 is a plain window.
    """

    facts = Facts(
        "dilated",
        "Dilated sliding window",
        "O(T·W·D)",
        "O(T + S)",
        False,
        "arXiv:2004.05150",
        frozenset({"causal", "keep", "cross", "grouped", "convex", "decode"}),
        family="sparse",
        state="2·W·d·G·D",
        use="To reach further than a window at its cost, beside layers that see what lies between.",
    )

    def __init__(self, window: int = 256, dilation: int = 2) -> None:
        super().__init__(Band(check_size("window", window), check_size("dilation", dilation)))
