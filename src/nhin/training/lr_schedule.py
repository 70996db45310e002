"""The learning rate over a run: a linear warm-up, then a decay to a floor."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

Shape = Literal["cosine", "sqrt", "constant"]

# What is left of the rate after a share (0 to 1) of the decay; all start at 1 and end at 0.
_SHAPES: dict[str, Callable[[float], float]] = {
    "cosine": lambda share: 0.5 + 0.5 * math.cos(math.pi * share),
    "sqrt": lambda share: 1.0 - math.sqrt(share),
    "constant": lambda share: 1.0,
}


@dataclass(frozen=True, slots=True)
class LRSchedule:
    """The learning rate at every step.

    ``rate`` is its peak, ``steps`` the budget, ``warmup`` the steps of the linear rise, ``decay`` the
    share of the budget (0 to 1, at its end) in which the rate falls, and ``floor`` the share of the
    peak that is left then.
    """

    rate: float = 1e-3
    steps: int = 10_000
    warmup: int = 500
    shape: Shape = "cosine"
    decay: float = 1.0
    floor: float = 0.01

    def at(self, step: int) -> float:
        """Return the rate of step number ``step``; the first step is 1."""
        if step <= self.warmup:
            return self.rate * step / self.warmup
        begin = max(self.warmup, min(self.steps - 1, round(self.steps * (1.0 - self.decay))))
        share = min(1.0, max(0.0, (step - begin) / max(1, self.steps - begin)))
        return self.rate * (self.floor + (1.0 - self.floor) * _SHAPES[self.shape](share))
