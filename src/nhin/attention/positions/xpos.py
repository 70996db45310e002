r"""xPos: rotary positions whose scores also fade with the distance.

.. math::
    q_m \mapsto \zeta_i^{(m - c)/decay}\, R_m q_m, \qquad k_n \mapsto \zeta_i^{-(n - c)/decay}\, R_n k_n,
    \qquad \zeta_i = \frac{2i/D + \gamma}{1 + \gamma}

so that the score of a pair at distance :math:`m - n` is that of ``rotary`` times
:math:`\zeta_i^{(m - n)/decay} \le 1`. Fast pairs, whose match at a distance is chance, fade first; the slow
ones carry distant keys. For causal attention only: to a later key the factor grows with the distance.

The center :math:`c` cancels in scores, but not in a cache: far behind it queries fade and keys grow. So it is
one constant position, the middle of ``context``, whatever the length: a cached key stays valid however long
the text becomes. Positions whose factor would exceed :math:`e^{40}` (:math:`e^8` in float16) are refused:
with the defaults, positions further than 16,348 (3,269) from the center.

Cost:    as ``rotary``, and a table of context x D/2 factors.
Source:  Sun et al. 2022, arXiv:2212.10554, algorithm 1; gamma 0.4 and decay 512 as there.
Differs: pairs are halves by default; the center is constant, where the authors' code takes the middle of each
         text, which a cache cannot.
Extends: Distant keys fade, so longer texts disturb less; a window helps further.
Use:     For causal models trained short and read long.
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
    """Rotates heads by their position and lets scores fade; queries and keys are scaled oppositely.

    Args:
        decay: Positions over which a score fades by the factor zeta.
        gamma: Evens out the fading of fast and slow pairs.
        context: Longest text expected, whose middle is the center.
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
        """Rotate and scale queries, or keys; see ``Rotary``.

        Raises:
            UsageError: A position is too far from the center for this dtype.
        """
        self._check_offset(x, start)
        self._ensure_length(x, start)
        cos, sin, scale = (table_rows(table, start, x.shape[1]) for table in (self.cos, self.sin, self.scale))
        scale = 1 / scale if key else scale
        return self._rotate(x, cos * scale, sin * scale)

    def rotate_qk(
        self, q: RotaryQueries, k: RotaryKeys, *, start: int | Sequence[int] = 0
    ) -> tuple[RotaryQueries, RotaryKeys]:
        """Rotate and scale queries and keys of the same positions."""
        return self(q, start=start), self(k, start=start, key=True)

    def max_offset(self, dtype: torch.dtype) -> int:
        """Return the maximum distance of a position from the center."""
        fastest = -math.log(self.gamma / (1 + self.gamma))
        return int(LIMITS.get(dtype, LIMIT) * self.decay / fastest)

    def _check_offset(self, x: Tensor, start: int | Sequence[int]) -> None:
        if torch.compiler.is_compiling() or not x.numel():
            return
        starts = (start,) if isinstance(start, int) else start
        limit, last = self.max_offset(x.dtype), max(starts) + x.shape[1] - 1
        for position in (min(starts), last):
            if abs(position - self.center) > limit:
                raise UsageError(
                    f"position {position} is more than {limit} from the center {self.center}, and {x.dtype} "
                    "cannot hold xPos's factors; build it with a larger decay or another context"
                )

    def compute_tables(self) -> dict[str, Tensor]:
        """Return those of ``Rotary`` and the scale of queries at every position."""
        share = torch.arange(0, self.head_dim, 2, dtype=torch.float64) / self.head_dim
        zeta = (share + self.gamma) / (1 + self.gamma)
        power = (torch.arange(self.table_length, dtype=torch.float64)[:, None] - self.center) / self.decay
        # Positions beyond the limit are refused; in the table they need only be finite.
        scale = (power * zeta.log()).clamp(-LIMIT, LIMIT).exp()
        return super().compute_tables() | {"scale": scale.float()}
