r"""YaRN: fast hands are left alone, slow ones squeezed, those between in part; and softmax is sharpened.

.. math::
    \mathrm{angle}_i(m) = m\, \theta_i \Bigl( \gamma_i + \frac{1 - \gamma_i}{factor} \Bigr), \qquad
    \gamma_i = \mathrm{clamp}\Bigl( \frac{high - i}{high - low}, 0, 1 \Bigr), \qquad
    q, k \mathrel{*}= 0.1 \ln factor + 1

Pair :math:`i` makes :math:`L \theta_i / 2\pi` rounds within the trained length :math:`L`. One that makes many
(``fast`` or more) has shown a model every angle and tells near places apart: it stays. One that makes less
than one (``slow``) has not, and is squeezed as in position interpolation. ``low`` and ``high`` are the pairs
that make ``fast`` and ``slow`` rounds, taken to whole pairs, and a ramp lies between them. Over more keys a
softmax grows flatter, so both queries and keys get a little longer. The best of the family after some further
training, and good without.

Cost:    as ``rotary``.
Source:  Peng et al. 2023, arXiv:2309.00071, sec. 3.2 to 3.4.
Differs: the ramp is over the number of the pair, as in the authors' code, not over its rounds as in the text.
"""

import math
from dataclasses import dataclass

import torch

from nhin.attention.positions.rotary import Angles, Positions, Rotary, inv_freq
from nhin.errors import UsageError
from nhin.ranges import check_range


@dataclass(frozen=True, slots=True)
class YaRN:
    """Squeezes the slow pairs and lengthens queries and keys.

    Args:
        factor: Length wanted over length trained on, at least 1.
        trained: Length trained on.
        fast: Pairs that make as many rounds within it are left alone.
        slow: Pairs that make no more are squeezed wholly.
        temperature: What queries and keys are multiplied by; None for 0.1 ln(factor) + 1.
    """

    factor: float = 4.0
    trained: int = 2048
    fast: float = 32.0
    slow: float = 1.0
    temperature: float | None = None

    def __post_init__(self) -> None:
        """Refuse settings that squeeze nothing sensibly."""
        check_range("factor", self.factor, 1)
        check_range("trained", self.trained, 1)
        check_range("slow", self.slow, above=0)
        if self.temperature is not None:
            check_range("temperature", self.temperature, above=0)
        if self.fast <= self.slow:
            raise UsageError(f"fast is {self.fast} and slow is {self.slow}; give more rounds for fast")

    @property
    def attention_scale(self) -> float:
        """See ``Far``."""
        return 0.1 * math.log(self.factor) + 1 if self.temperature is None else self.temperature

    def angles(self, positions: Positions, head_dim: int, base: float) -> Angles:
        """See ``Far``."""
        low = max(math.floor(self._pair_index(self.fast, head_dim, base)), 0)
        high = min(math.ceil(self._pair_index(self.slow, head_dim, base)), head_dim - 1)
        # A ramp of no width is a step.
        width = max(high - low, 0.001)
        left = 1 - ((torch.arange(head_dim // 2, dtype=torch.float64) - low) / width).clamp(0, 1)
        return positions[:, None] * inv_freq(head_dim, base) * (left + (1 - left) / self.factor)

    def _pair_index(self, rounds: float, head_dim: int, base: float) -> float:
        """Return which pair makes so many rounds within the trained length."""
        return head_dim * math.log(self.trained / (rounds * 2 * math.pi)) / (2 * math.log(base))


def yarn(  # noqa: PLR0913  # every knob of what it is made of
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
) -> Rotary:
    """Build rotary positions for ``factor`` times the trained length; see ``YaRN`` and ``Rotary``."""
    far = YaRN(factor, trained, fast, slow, temperature)
    return Rotary(head_dim, base=base, context=context, pairs=pairs, rope_scaling=far)
