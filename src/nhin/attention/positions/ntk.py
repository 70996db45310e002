r"""NTK-aware rotary positions: the slow hands are slowed, the fast ones left alone.

.. math::
    \mathrm{angle}_i(m) = m\, \bigl(base \cdot factor^{D/(D-2)}\bigr)^{-2i/D}

The larger base slows the slowest pair by exactly ``factor`` and the fastest not at all, with everything
between in proportion: near places stay as distinct as in training while far ones come within reach. It serves
without further training, at some loss; a middle pair still turns somewhat past what it knew, so the length
really reached is less than factor times the trained one.

Cost:    as ``rotary``.
Source:  bloc97 2023, as written down by Peng et al. 2023, arXiv:2309.00071, sec. 3.1.
Differs: a head of two channels has no fast pair to spare and is left as it is.
"""

from dataclasses import dataclass

from nhin.attention.positions.rotary import Angles, Positions, Rotary, inv_freq
from nhin.ranges import check_range


def ntk_base_scale(factor: float, head_dim: int) -> float:
    """Return by how much the base must grow to slow the slowest pair ``factor`` times."""
    return factor ** (head_dim / (head_dim - 2)) if head_dim > 2 else 1.0


@dataclass(frozen=True, slots=True)
class NTK:
    """Slows the slow pairs.

    Args:
        factor: How many times the slowest is slowed, at least 1.
    """

    factor: float = 4.0
    attention_scale: float = 1.0

    def __post_init__(self) -> None:
        """Refuse a factor that would stretch."""
        check_range("factor", self.factor, 1)

    def angles(self, positions: Positions, head_dim: int, base: float) -> Angles:
        """See ``Far``."""
        return positions[:, None] * inv_freq(head_dim, base * ntk_base_scale(self.factor, head_dim))


def ntk(
    head_dim: int, *, factor: float = 4.0, base: float = 10000.0, context: int = 512, pairs: str = "half"
) -> Rotary:
    """Build rotary positions with the slow pairs slowed ``factor`` times; see ``Rotary``."""
    return Rotary(head_dim, base=base, context=context, pairs=pairs, rope_scaling=NTK(factor))
