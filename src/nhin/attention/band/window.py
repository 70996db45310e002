r"""Sliding window: softmax attention over the nearest keys.

.. math::
    o_t = \sum_{s \in N(t)} \mathrm{softmax}_{s \in N(t)} \left(\frac{q_t^\top k_s}{\sqrt{D}}\right) v_s,
    \qquad N(t) = \{ s : |t - s| < W \}

Distant words seldom matter, so only near keys are visible, and time and memory grow with the length, not
with its square. Information from further away arrives through layers: after :math:`n` of them a position
depends on :math:`n (W - 1)` positions before it. It pays once the sequence is several windows long; not where
one distant key must be found in one layer.

Causal:  :math:`N(t) = \{ s : 0 \le t - s < W \}`: exactly W keys, the query's own position included.
Cost:    time O(T W D); memory O((T + S) D), in traced graphs O(T W).
Source:  Beltagy et al. 2020, arXiv:2004.05150, sec. 3.1 (the window); Child et al. 2019, arXiv:1904.10509;
         Jiang et al. 2023, arXiv:2310.06825 (causal, with a rolling buffer).
Differs: W counts one side and the query itself, where Longformer's w counts both sides.
"""

from nhin.attention.band.base import BandAttention, band_facts
from nhin.attention.band.chunked import Band
from nhin.ranges import check_size


class SlidingWindow(BandAttention):
    """Every query attends to the nearest keys."""

    facts = band_facts(
        "window",
        "Sliding window",
        "O(T·W·D)",
        state="2·W·G·D",
        use="For long sequences whose meaning is local: as good as softmax nearby, linear in length.",
    )

    def __init__(self, window: int = 256) -> None:
        super().__init__(Band(check_size("window", window)))
