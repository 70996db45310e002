r"""YaRN: fast pairs are left alone, slow ones interpolated, those between in part; queries and keys grow.

.. math::
    \mathrm{angle}_i(m) = m\, \theta_i \Bigl( \gamma_i + \frac{1 - \gamma_i}{factor} \Bigr), \qquad
    \gamma_i = \mathrm{clamp}\Bigl( \frac{high - i}{high - low}, 0, 1 \Bigr), \qquad
    q, k \mathrel{*}= 0.1 \ln factor + 1

Pair :math:`i` makes :math:`L \theta_i / 2\pi` turns within the trained length :math:`L`. One that makes many
(``fast`` or more) has shown a model every angle and distinguishes near positions: it stays. One that makes
less than one (``slow``) has not, and is interpolated. ``low`` and ``high`` are the pairs that make ``fast``
and ``slow`` turns, rounded to pairs, with a ramp between them. Over more keys a softmax grows flatter, so
queries and keys are scaled up a little. The best of the family after some further training, and good without.

Cost:    as ``rotary``.
Source:  Peng et al. 2023, arXiv:2309.00071, sec. 3.2 to 3.4.
Differs: the ramp is over the index of the pair, as in the authors' code, not over its turns as in the text.
Extends: To factor times the trained length, best after some further training.
Use:     To lengthen a rotary model as far as possible.
"""

import math

import torch

from nhin.attention.positions.rotary import Angles, Positions, Rotary, inv_freq
from nhin.errors import UsageError
from nhin.ranges import check_range


class YaRN(Rotary):
    """Rotary positions with slow pairs interpolated, and scaled queries and keys.

    Args:
        factor: Wanted length over trained length, at least 1.
        trained: Length in training.
        fast: Pairs that make as many turns within it are left alone.
        slow: Pairs that make no more turns are interpolated fully.
        temperature: Scale of queries and keys; None for 0.1 ln(factor) + 1.
    """

    def __init__(  # noqa: PLR0913  # all settings of YaRN and of Rotary
        self,
        head_dim: int,
        *,
        factor: float = 4.0,
        trained: int = 2048,
        fast: float = 32.0,
        slow: float = 1.0,
        temperature: float | None = None,
        base: float = 10000.0,
        context: int = 512,
        pairs: str = "half",
    ) -> None:
        self.factor, self.trained = check_range("factor", factor, 1), check_range("trained", trained, 1)
        self.fast, self.slow = fast, check_range("slow", slow, above=0)
        if temperature is None:
            temperature = 0.1 * math.log(factor) + 1
        self.attention_scale = check_range("temperature", temperature, above=0)
        if fast <= slow:
            raise UsageError(f"fast is {fast} and slow is {slow}; give more turns for fast")
        super().__init__(head_dim, base=base, context=context, pairs=pairs)

    def angles(self, positions: Positions) -> Angles:
        """Return the angle of each pair at each position, in float64."""
        low = max(math.floor(self._pair_index(self.fast)), 0)
        high = min(math.ceil(self._pair_index(self.slow)), self.head_dim - 1)
        # A ramp of no width is a step.
        width = max(high - low, 0.001)
        left = 1 - ((torch.arange(self.head_dim // 2, dtype=torch.float64) - low) / width).clamp(0, 1)
        share = left + (1 - left) / self.factor
        return positions[:, None] * inv_freq(self.head_dim, self.base) * share

    def _pair_index(self, turns: float) -> float:
        """Return the (fractional) index of the pair that makes that many turns in the trained length."""
        wavelengths = self.trained / (turns * 2 * math.pi)
        return self.head_dim * math.log(wavelengths) / (2 * math.log(self.base))
