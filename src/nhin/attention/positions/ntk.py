r"""NTK-aware rotary positions: slow pairs are slowed further, fast ones left alone.

.. math::
    \mathrm{angle}_i(m) = m\, \bigl(base \cdot factor^{D/(D-2)}\bigr)^{-2i/D}

The larger base slows the slowest pair by exactly ``factor`` and the fastest not at all, and those between in
proportion: near positions stay as distinct as in training while distant ones come within range. It works
without further training, at some loss; a middle pair still turns somewhat past its trained angles, so the
usable length is less than factor times the trained one.

Cost:    as ``rotary``.
Source:  bloc97 2023, as written down by Peng et al. 2023, arXiv:2309.00071, sec. 3.1.
Differs: a head of two channels has no fast pair to spare and is left as it is.
Extends: To somewhat less than factor times the trained length, without further training.
Use:     To lengthen a rotary model that cannot be trained further.
"""

from nhin.attention.positions.interpolation import Interpolation
from nhin.attention.positions.rotary import Angles, Positions, inv_freq


class NTK(Interpolation):
    """Rotary positions whose slow pairs are slowed.

    Args:
        factor: How many times the slowest pair is slowed, at least 1.
    """

    def angles(self, positions: Positions) -> Angles:
        """Return the angle of each pair at each position, in float64."""
        d = self.head_dim
        growth = self.factor ** (d / (d - 2)) if d > 2 else 1.0
        return positions[:, None] * inv_freq(d, self.base * growth)
