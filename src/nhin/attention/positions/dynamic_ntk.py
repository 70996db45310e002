r"""Dynamic NTK: no change up to the trained length; beyond it each position slows its own slow pairs.

.. math::
    \mathrm{angle}_i(m) = m\, \bigl(base \cdot stretch(m)^{D/(D-2)}\bigr)^{-2i/D}, \qquad
    stretch(m) = \max\Bigl(1,\; factor\, \frac{m + 1}{L} - (factor - 1)\Bigr)

:math:`L` is the trained length. A text that fits is read exactly as in training, and no factor must be chosen
in advance. With factor 1 the slowest pair stops at the angle it had at the end of training.

The original formula takes one base from the length of the entire text: a step from a cache then meets older
keys rotated by older bases. Here the base depends on the position, so a position has one constant angle, and
a full pass, any division into parts and single steps give one output. The price: beyond the trained length
scores no longer depend on the distance alone.

Cost:    as ``rotary``.
Source:  emozilla 2023, as written down by Peng et al. 2023, arXiv:2309.00071, sec. 3.3.
Differs: one base for each position, where others take one for the entire text. Token by token from a cache,
         Hugging Face's code computes the same; its pass over a long text does not.
Extends: Exactly as trained up to the trained length, then degrades gently.
Use:     To lengthen a rotary model without loss on short texts.
"""

import torch

from nhin.attention.positions.rotary import Angles, Positions, Rotary, inv_freq
from nhin.ranges import check_range


class DynamicNTK(Rotary):
    """Rotary positions whose slow pairs are slowed beyond the trained length.

    Args:
        trained: Length in training.
        factor: How much faster than the length the base grows, at least 1.
    """

    def __init__(
        self,
        head_dim: int,
        *,
        trained: int = 2048,
        factor: float = 1.0,
        base: float = 10000.0,
        context: int = 512,
        pairs: str = "half",
    ) -> None:
        self.trained, self.factor = check_range("trained", trained, 1), check_range("factor", factor, 1)
        super().__init__(head_dim, base=base, context=context, pairs=pairs)

    def angles(self, positions: Positions) -> Angles:
        """Return the angle of each pair at each position, in float64."""
        stretch = (self.factor * (positions + 1) / self.trained - (self.factor - 1)).clamp_min(1.0)
        share = torch.arange(0, self.head_dim, 2, dtype=torch.float64) / max(self.head_dim - 2, 1)
        # (base x stretch^(D / (D - 2)))^(-2i / D), its two factors apart: one stretch for every position.
        return positions[:, None] * inv_freq(self.head_dim, self.base) * stretch[:, None] ** -share
