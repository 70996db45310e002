r"""ALiBi: a penalty on every score that grows with the distance, and no other position information.

.. math::
    o_t = \sum_s \mathrm{softmax}_s\left( \frac{q_t^\top k_s}{\sqrt{D}} - m_h\, |t - s| \right) v_s,
    \qquad m_h = 2^{-8 h / H}, \quad h = 1, \dots, H

Each head has its own slope, constant and not learned: a steep head sees its neighbors, a flat one nearly all.
Nothing is added to the inputs. The penalty of a distance unseen in training only brings a weight nearer to
zero, so a model trained on short texts reads long ones with little loss. It does not pay where something
distant must be found exactly.

For H that is no power of two, with P the next one below: the slopes of P heads, then every other one, from
the first, of those of 2P.

Causal:  the penalty is :math:`m_h (t - s)`, as in the paper.
Cost:    time O(T S D); memory O((T + S) D) and one block of biases, forward and backward; O(T S) in traced
         graphs.
Source:  Press et al. 2021, arXiv:2108.12409, sec. 3; the slopes for any H are those of the authors' code.
Differs: also usable not causally, where the penalty grows on both sides alike; no second derivative, which
         ``forward_reference`` has.
Extends: Reads longer texts than trained on with little loss; distant keys fade.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from nhin.attention.base import ABILITIES
from nhin.attention.bias.kernel import BiasedAttention, Gap
from nhin.attention.softmax_base import softmax_facts
from nhin.attention.tables import ComputedTables
from nhin.ranges import check_size


def head_slopes(heads: int) -> list[float]:
    """Return the penalty per position of distance, for every head."""
    below = 1 << (heads.bit_length() - 1)
    steps = [2.0 ** (-8 * (i + 1) / below) for i in range(below)]
    between = [2.0 ** (-4 * (i + 1) / below) for i in range(0, 2 * below, 2)]
    return steps + between[: heads - below]


class ALiBi(BiasedAttention, ComputedTables):
    """Scores fall with the distance, in every head at its own rate.

    Args:
        heads: Query heads.
    """

    facts = softmax_facts(
        "alibi",
        "ALiBi: linear biases",
        memory="O(T + S)",
        source="arXiv:2108.12409",
        abilities=frozenset(ABILITIES) - {"unordered"},
        family="bias",
        use="To train on short texts and read long ones.",
    )

    slope: Tensor

    def __init__(self, heads: int) -> None:
        super().__init__(check_size("heads", heads))
        self._slopes = heads
        self.build_tables()

    def bias(self, gap: Gap) -> Float[Tensor, "H *shape"]:
        """Return minus the slope times the distance."""
        return -self.slope.reshape(-1, *[1] * gap.ndim) * gap.abs()

    def compute_tables(self) -> dict[str, Tensor]:
        """Return the slopes of all heads."""
        return {"slope": torch.tensor(head_slopes(self._slopes), dtype=torch.float32)}
