r"""Sliding window: softmax attention over the nearest keys.

.. math::
    o_t = \sum_{s \in N(t)} \frac{\exp(q_t^\top k_s / \sqrt{D})}
                                 {\sum_{r \in N(t)} \exp(q_t^\top k_r / \sqrt{D})}\, v_s,
    \qquad N(t) = \{ s : |t - s| < W \}

Far words seldom matter to a near one, so they are not looked at, and time and memory grow with the length,
not with its square. What stands further away still arrives through layers: after :math:`n` of them a place
has heard of :math:`n (W - 1)` places before it. It pays once the sequence is several windows long, in
training as in reading, and decoding keeps a ring of :math:`W` places however long the text. It does not pay
for sequences shorter than the window, where it is softmax attention, nor where one far key must be found in
one layer.

Causal:  :math:`N(t) = \{ s : 0 \le t - s < W \}`: exactly W keys, the query's own place included.
Cost:    time O(T W D); memory O((T + S) D), in traced graphs O(T W).
Source:  Beltagy et al. 2020, arXiv:2004.05150, sec. 3.1 (the window); Child et al. 2019, arXiv:1904.10509;
         Jiang et al. 2023, arXiv:2310.06825 (causal, with a rolling buffer).
Differs: W counts one side and the query itself, where Longformer's w counts both sides; a query that may see
         nothing gives zeros.
"""

from nhin.attention.band.base import BandAttention
from nhin.attention.band.chunked import Band
from nhin.attention.base import Facts
from nhin.ranges import check_size


class SlidingWindow(BandAttention):
    """Every query sees the nearest keys.

    Args:
        window: How many keys a causal query sees, itself included; else one fewer on either side.
    """

    facts = Facts(
        "window",
        "Sliding window",
        "O(T·W·D)",
        "O(T + S)",
        False,
        "arXiv:2004.05150",
        frozenset({"causal", "keep", "cross", "grouped", "convex", "decode"}),
        family="sparse",
        state="2·W·G·D",
        use="For long sequences whose meaning is local: as good as softmax near by, linear in length.",
    )

    def __init__(self, window: int = 256) -> None:
        super().__init__(Band(check_size("window", window)))
