r"""Dilated sliding window: nearby keys at regular distances.

.. math::
    o_t = \sum_{s \in N(t)} \mathrm{softmax}_{s \in N(t)} \left(\frac{q_t^\top k_s}{\sqrt{D}}\right) v_s,
    \qquad N(t) = \{ s : |t - s| < W d,\; d \mid t - s \}

A window with gaps of :math:`d` reaches :math:`d` times as far for the same cost. Positions whose distance is
no multiple of :math:`d` do not interact in one layer, so the sequence splits into :math:`d` interleaved ones,
each with a plain window: this is how it is computed, and why it is combined with undilated windows, in other
heads or other layers. Alone it does not see adjacent positions.

Causal:  :math:`N(t) = \{ t, t - d, \dots, t - (W - 1) d \}`: exactly W keys, the query's own included.
Cost:    time O(T W D); memory O((T + S) D), in traced graphs O(T W).
Source:  Beltagy et al. 2020, arXiv:2004.05150, sec. 3.1 (dilated sliding window).
Differs: W counts one side and the query itself, where Longformer's w counts both sides; one dilation for all
         heads of a mechanism.
"""

from nhin.attention.band.base import BandAttention, band_facts
from nhin.attention.band.chunked import Band
from nhin.ranges import check_size


class Dilated(BandAttention):
    """Every query attends to near keys, with gaps between them.

    Args:
        dilation: Distance between them; 1 is a plain window.
    """

    facts = band_facts(
        "dilated",
        "Dilated sliding window",
        "O(T·W·D)",
        state="2·W·d·G·D",
        use="To reach further than a window at its cost, beside layers that see the positions between.",
    )

    def __init__(self, window: int = 256, dilation: int = 2) -> None:
        super().__init__(Band(check_size("window", window), check_size("dilation", dilation)))
