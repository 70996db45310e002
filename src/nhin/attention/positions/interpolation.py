r"""Position interpolation: positions are scaled down evenly into the range seen in training.

.. math::
    \mathrm{angle}_i(m) = \frac{m}{factor}\, \theta_i, \qquad \theta_i = base^{-2i/D}

A model trained on 4,096 positions and given 16,384 meets, with a factor of 4, no angle that is new. It needs
some hundred steps of further training, and is nearly right without. Adjacent positions come closer together
than in training, which costs some accuracy on short texts; ``ntk`` and ``yarn`` avoid that.

Cost:    as ``rotary``.
Source:  Chen et al. 2023, arXiv:2306.15595, eq. (3).
Differs: nothing.
Extends: To factor times the trained length, after some further training.
Use:     To lengthen a rotary model evenly when it can be trained a little more.
"""

from nhin.attention.positions.rotary import Angles, Positions, Rotary, inv_freq
from nhin.ranges import check_range


class Interpolation(Rotary):
    """Rotary positions divided by ``factor``.

    Args:
        factor: Wanted length over trained length, at least 1.
    """

    def __init__(
        self,
        head_dim: int,
        *,
        factor: float = 4.0,
        base: float = 10000.0,
        context: int = 512,
        pairs: str = "half",
    ) -> None:
        self.factor = check_range("factor", factor, 1)
        super().__init__(head_dim, base=base, context=context, pairs=pairs)

    def angles(self, positions: Positions) -> Angles:
        """Return the angle of each pair at each position, in float64."""
        return (positions / self.factor)[:, None] * inv_freq(self.head_dim, self.base)
