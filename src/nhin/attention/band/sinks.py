r"""Attention sinks: a sliding window, and the first few keys for good.

.. math::
    o_t = \sum_{s \in N(t)} \frac{\exp(q_t^\top k_s / \sqrt{D})}
                                 {\sum_{r \in N(t)} \exp(q_t^\top k_r / \sqrt{D})}\, v_s,
    \qquad N(t) = \{ s : |t - s| < W \} \cup \{ 0, \dots, F - 1 \}

A softmax must put its weight somewhere. Models that read from left to right learn to put what they do not
need on the first places, which every later one can see; a plain window loses these as soon as they leave it,
and the model fails at once. Keeping :math:`F` of them, four are enough, lets a model trained on full
attention read on without end through a window. Nothing far is remembered by it: what left the window and is
no sink is gone.

Causal:  :math:`N(t) = \{ s : 0 \le t - s < W \} \cup \{ s : s < F, s \le t \}`.
Cost:    time O(T (W + F) D); memory O((T + S) D), in traced graphs O(T (W + F)).
Source:  Xiao et al. 2023, arXiv:2309.17453, sec. 3.2 (StreamingLLM: rolling cache with attention sinks).
Differs: keys keep their true places, where StreamingLLM numbers places anew inside its cache, so a model
         with rotary positions meets distances here that it would not meet there; the learnt sink token of
         sec. 3.3 is the model's affair; also usable not causally; a query that may see nothing gives zeros.
"""

from nhin.attention.band.base import BandAttention
from nhin.attention.band.chunked import Band
from nhin.attention.base import Facts
from nhin.ranges import check_size


class Sinks(BandAttention):
    """Every query sees the nearest keys and the first few.

    Args:
        window: How many near keys a causal query sees, itself included; else one fewer on either side.
        sinks: How many keys at the start everybody sees; 0 is a plain window.
    """

    facts = Facts(
        "sinks",
        "Attention sinks",
        "O(T·(W+F)·D)",
        "O(T + S)",
        False,
        "arXiv:2309.17453",
        frozenset({"causal", "keep", "cross", "grouped", "convex", "decode"}),
        family="sparse",
        state="2·(W+F)·G·D",
        use="To let a model trained with full attention read a stream without end.",
    )

    def __init__(self, window: int = 256, sinks: int = 4) -> None:
        super().__init__(Band(check_size("window", window), global_keys=check_size("sinks", sinks, 0)))
