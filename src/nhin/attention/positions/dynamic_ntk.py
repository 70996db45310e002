r"""Dynamic NTK: nothing changes up to the trained length; from there each place slows its own slow hands.

.. math::
    \mathrm{angle}_i(m) = m\, \bigl(base \cdot stretch(m)^{D/(D-2)}\bigr)^{-2i/D}, \qquad
    stretch(m) = \max\Bigl(1,\; factor\, \frac{m + 1}{L} - (factor - 1)\Bigr)

:math:`L` is the trained length. A text that fits is read exactly as in training, and there is no factor to
choose in advance. With factor 1 the slowest hand stops at the angle it had reached at the end of training.

The formula as first given takes one base from the length of the whole text. A step from a cache then finds
older keys turned by older bases, and its answer is not the one of a pass over the whole text. Here the base
belongs to the place: it comes from the length reached when that place was read, so a place has one angle
for good, and a whole pass, any cut into parts and single steps give one answer. The price: beyond the
trained length scores no longer see the distance alone.

Cost:    as ``rotary``.
Source:  emozilla 2023, as written down by Peng et al. 2023, arXiv:2309.00071, sec. 3.3.
Differs: one base for each place, where others take one for the whole text. Token by token from a cache that
         is what Hugging Face's code also computes; its pass over a whole long text is not.
"""

from dataclasses import dataclass

import torch

from nhin.attention.positions.rotary import Angles, Positions, Rotary, inv_freq
from nhin.ranges import check_range


@dataclass(frozen=True, slots=True)
class DynamicNTK:
    """Slows the slow pairs of places beyond the trained length.

    Args:
        trained: Length trained on.
        factor: How much faster than the length the base grows, at least 1.
    """

    trained: int = 2048
    factor: float = 1.0
    attention_scale: float = 1.0

    def __post_init__(self) -> None:
        """Refuse settings that would stretch."""
        check_range("trained", self.trained, 1)
        check_range("factor", self.factor, 1)

    def angles(self, positions: Positions, head_dim: int, base: float) -> Angles:
        """See ``Far``."""
        stretch = (self.factor * (positions + 1) / self.trained - (self.factor - 1)).clamp_min(1.0)
        share = torch.arange(0, head_dim, 2, dtype=torch.float64) / max(head_dim - 2, 1)
        # (base x stretch^(D / (D - 2)))^(-2i / D), its two factors apart: one stretch for every place.
        return positions[:, None] * inv_freq(head_dim, base) * stretch[:, None] ** -share


def dynamic_ntk(
    head_dim: int,
    *,
    trained: int = 2048,
    factor: float = 1.0,
    base: float = 10000.0,
    context: int = 512,
    pairs: str = "half",
) -> Rotary:
    """Build rotary positions that slow from ``trained`` places on; see ``Rotary``."""
    return Rotary(head_dim, base=base, context=context, pairs=pairs, rope_scaling=DynamicNTK(trained, factor))
