r"""Llama 3's rotary positions: slow pairs are interpolated, fast ones left alone, those between in part.

.. math::
    \mathrm{angle}_i(m) = m\, \theta_i \Bigl( \gamma_i + \frac{1 - \gamma_i}{factor} \Bigr), \qquad
    \gamma_i = \mathrm{clamp}\Bigl( \frac{L \theta_i / 2\pi - slow}{fast - slow}, 0, 1 \Bigr)

Pair :math:`i` makes :math:`L \theta_i / 2\pi` turns within the trained length :math:`L`. One that makes
``fast`` turns or more stays as it is, one that makes ``slow`` or fewer is interpolated, and the ramp between
is over the number of turns. It is YaRN's idea without its scale of queries and keys.

Cost:    as ``rotary``.
Source:  Grattafiori et al. 2024, arXiv:2407.21783, as released with Llama 3.1.
Differs: nothing.
Extends: To factor times the trained length, after some further training.
Use:     For checkpoints of Llama 3.1 and later.
"""

import math

from nhin.attention.positions.rotary import Angles, Positions, Rotary, inv_freq
from nhin.errors import UsageError
from nhin.ranges import check_range


class Llama3Rotary(Rotary):
    """Rotary positions whose slow pairs are interpolated.

    Args:
        factor: Wanted length over trained length, at least 1.
        trained: Length in training.
        fast: Pairs that make as many turns within it are left alone.
        slow: Pairs that make no more turns are interpolated fully.
    """

    def __init__(  # noqa: PLR0913  # its own settings and those of Rotary
        self,
        head_dim: int,
        *,
        factor: float = 8.0,
        trained: int = 8192,
        fast: float = 4.0,
        slow: float = 1.0,
        base: float = 10000.0,
        context: int = 512,
        pairs: str = "half",
    ) -> None:
        self.factor, self.trained = check_range("factor", factor, 1), check_range("trained", trained, 1)
        self.fast, self.slow = check_range("fast", fast, above=0), check_range("slow", slow, above=0)
        if fast <= slow:
            raise UsageError(f"fast is {fast} and slow is {slow}; give more turns for fast")
        super().__init__(head_dim, base=base, context=context, pairs=pairs)

    def angles(self, positions: Positions) -> Angles:
        """Return the angle of each pair at each position, in float64."""
        speeds = inv_freq(self.head_dim, self.base)
        turns = self.trained * speeds / (2 * math.pi)
        kept = ((turns - self.slow) / (self.fast - self.slow)).clamp(0, 1)
        return positions[:, None] * speeds * (kept + (1 - kept) / self.factor)
