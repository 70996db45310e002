r"""Attention sinks: a sliding window, and the first few keys, which stay visible.

.. math::
    o_t = \sum_{s \in N(t)} \mathrm{softmax}_{s \in N(t)} \left(\frac{q_t^\top k_s}{\sqrt{D}}\right) v_s,
    \qquad N(t) = \{ s : |t - s| < W \} \cup \{ 0, \dots, F - 1 \}

A softmax must put its weight somewhere. Causal models learn to put what they do not need on the first
positions, which every later one sees; a plain window loses these as soon as they leave it, and the model
fails at once. Keeping :math:`F` of them, four are enough, lets a model trained on full attention continue
without end through a window. It remembers nothing distant: what left the window and is no sink is gone.

Causal:  :math:`N(t) = \{ s : 0 \le t - s < W \} \cup \{ s : s < F, s \le t \}`.
Cost:    time O(T (W + F) D); memory O((T + S) D), in traced graphs O(T (W + F)).
Source:  Xiao et al. 2023, arXiv:2309.17453, sec. 3.2 (StreamingLLM: rolling cache with attention sinks).
Differs: keys keep their positions, where StreamingLLM renumbers them inside its cache, so a model with rotary
         positions meets distances here that it would not meet there; the learned sink token of sec. 3.3 is
         left to the model; also usable not causally.
"""

from nhin.attention.band.base import BandAttention, band_facts
from nhin.attention.band.chunked import Band
from nhin.ranges import check_size


class Sinks(BandAttention):
    """Every query attends to the nearest keys and to the first few.

    Args:
        sinks: Keys at the start that every query sees; 0 is a plain window.
    """

    facts = band_facts(
        "sinks",
        "Attention sinks",
        "O(T·(W+F)·D)",
        source="arXiv:2309.17453",
        state="2·(W+F)·G·D",
        use="To let a model trained with full attention read a stream without end.",
    )

    def __init__(self, window: int = 256, sinks: int = 4) -> None:
        check_size("window", window)
        super().__init__(Band(window, global_keys=check_size("sinks", sinks, 0)))
