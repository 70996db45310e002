r"""Position interpolation: places are squeezed evenly into those that training knew.

.. math::
    \mathrm{angle}_i(m) = \frac{m}{factor}\, \theta_i, \qquad \theta_i = base^{-2i/D}

A model trained on 4,096 places and asked about 16,384 sees, with a factor of 4, no angle that is new; between
two known places there are now four. That is learned in some hundred steps of further training and nearly
right without. Near neighbours come to stand closer together than they ever did, which costs some of the
skill with short texts; ``ntk`` and ``yarn`` spare the fast hands for that reason.

Cost:    as ``rotary``.
Source:  Chen et al. 2023, arXiv:2306.15595, eq. (3).
Differs: nothing.
"""

from dataclasses import dataclass

from nhin.attention.positions.rotary import Angles, Positions, Rotary, inv_freq
from nhin.ranges import check_range


@dataclass(frozen=True, slots=True)
class Interpolation:
    """Squeezes places.

    Args:
        factor: Length wanted over length trained on, at least 1.
    """

    factor: float = 4.0
    attention_scale: float = 1.0

    def __post_init__(self) -> None:
        """Refuse a factor that would stretch."""
        check_range("factor", self.factor, 1)

    def angles(self, positions: Positions, head_dim: int, base: float) -> Angles:
        """See ``Far``."""
        return (positions / self.factor)[:, None] * inv_freq(head_dim, base)


def interpolation(
    head_dim: int, *, factor: float = 4.0, base: float = 10000.0, context: int = 512, pairs: str = "half"
) -> Rotary:
    """Build rotary positions with places squeezed ``factor`` times; see ``Rotary``."""
    return Rotary(head_dim, base=base, context=context, pairs=pairs, rope_scaling=Interpolation(factor))
