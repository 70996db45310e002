r"""xPos: rotary positions whose scores also fade with the distance.

.. math::
    q_m \mapsto \zeta_i^{(m - c)/decay}\, R_m q_m, \qquad k_n \mapsto \zeta_i^{-(n - c)/decay}\, R_n k_n,
    \qquad \zeta_i = \frac{2i/D + \gamma}{1 + \gamma}

so that the score of a pair at distance :math:`m - n` is that of ``rotary`` times
:math:`\zeta_i^{(m - n)/decay} \le 1`. Fast hands, whose agreement far away is chance, fade first; the slow
ones carry what is far. Only for looking backwards: to a later key the factor grows with the distance.

The centre :math:`c` cancels, but not in what is stored: far behind it queries fade and keys swell. It is
therefore one place for good, the middle of ``context``, and never moves with the length: a key in a cache
stays valid however long the text becomes. Places whose factor would pass :math:`e^{40}` (:math:`e^8` in
float16) are refused: with the defaults, places further than 16,348 (3,269) from the centre.

Cost:    as ``rotary``, and a table of context x D/2 factors.
Source:  Sun et al. 2022, arXiv:2212.10554, algorithm 1; gamma 0.4 and decay 512 as there.
Differs: pairs are halves unless asked otherwise; the centre is fixed, where the authors' code takes the
         middle of each text, which a cache cannot.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from nhin.attention.positions.rotary import Rotary, RotaryKeys, RotaryQueries, table_rows
from nhin.errors import UsageError
from nhin.ranges import check_range

LIMITS = {torch.float16: 8.0}
LIMIT = 40.0


class XPos(Rotary):
    """Turns heads by their place and lets them fade; queries and keys fade the opposite way.

    Args:
        head_dim: Width of one head, even.
        decay: Places over which the fading is as strong as zeta.
        gamma: Evens out the fading of fast and slow pairs.
        base: Slowest wavelength over 2 pi, in places.
        context: Longest text expected, whose middle is the centre.
        pairs: Which channels turn together; see ``Rotary``.
    """

    scale: Tensor

    def __init__(
        self,
        head_dim: int,
        *,
        decay: float = 512.0,
        gamma: float = 0.4,
        base: float = 10000.0,
        context: int = 4096,
        pairs: str = "half",
    ) -> None:
        self.decay, self.gamma = check_range("decay", decay, above=0), check_range("gamma", gamma, above=0)
        self.center = context // 2
        super().__init__(head_dim, base=base, context=context, pairs=pairs)

    def forward(
        self, x: RotaryQueries, *, start: int | Sequence[int] = 0, key: bool = False
    ) -> RotaryQueries:
        """Turn and fade queries, or keys; see ``Rotary``.

        Raises:
            UsageError: A place is too far from the centre for the numbers of this dtype.
        """
        self._check_offset(x, start)
        self._ensure_length(x, start)
        cos, sin, scale = (table_rows(table, start, x.shape[1]) for table in (self.cos, self.sin, self.scale))
        scale = 1 / scale if key else scale
        return self._rotate(x, cos * scale, sin * scale)

    def rotate_qk(
        self, q: RotaryQueries, k: RotaryKeys, *, start: int | Sequence[int] = 0
    ) -> tuple[RotaryQueries, RotaryKeys]:
        """Turn and fade queries and keys that stand at the same places."""
        return self(q, start=start), self(k, start=start, key=True)

    def max_offset(self, dtype: torch.dtype) -> int:
        """Return how far from the centre a place may stand."""
        fastest = -math.log(self.gamma / (1 + self.gamma))
        return int(LIMITS.get(dtype, LIMIT) * self.decay / fastest)

    def _check_offset(self, x: Tensor, start: int | Sequence[int]) -> None:
        if torch.compiler.is_compiling() or not x.numel():
            return
        starts = (start,) if isinstance(start, int) else start
        reach, last = self.max_offset(x.dtype), max(starts) + x.shape[1] - 1
        for place in (min(starts), last):
            if abs(place - self.center) > reach:
                raise UsageError(
                    f"place {place} is more than {reach} from the centre {self.center}, where {x.dtype} can "
                    "no longer hold xPos's factors; build it with a larger decay or another context"
                )

    def _build_table(self, length: int, device: torch.device | None) -> None:
        super()._build_table(length, device)
        with torch.inference_mode(False):
            share = torch.arange(0, self.head_dim, 2, dtype=torch.float64) / self.head_dim
            zeta = (share + self.gamma) / (1 + self.gamma)
            power = (torch.arange(length, dtype=torch.float64)[:, None] - self.center) / self.decay
            # Places out of reach are refused; tabled, they need only be numbers.
            scale = (power * zeta.log()).clamp(-LIMIT, LIMIT).exp()
            self.register_buffer("scale", scale.float().to(device), persistent=False)
