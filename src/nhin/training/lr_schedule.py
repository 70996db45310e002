"""The learning rate over a run: a linear warmup, then a decay to a floor."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Literal

from nhin.ranges import Range

Shape = Literal["cosine", "sqrt", "constant"]

# The factor of the rate after a fraction (0 to 1) of the decay.
_SHAPES: dict[str, Callable[[float], float]] = {
    "cosine": lambda done: 0.5 + 0.5 * math.cos(math.pi * done),
    "sqrt": lambda done: 1.0 - math.sqrt(done),
    "constant": lambda done: 1.0,
}


@dataclass(frozen=True, slots=True)
class LRSchedule:
    """The settings of ``compute_lr``.

    ``rate`` is the peak, ``steps`` the budget, ``warmup`` the steps of the linear rise, ``decay`` the last
    fraction of the budget, in which the rate falls, and ``floor`` the fraction of the peak at its end.
    """

    rate: Annotated[float, Range(0, 1e3)] = 1e-3
    steps: Annotated[int, Range(1, 10**12)] = 10_000
    warmup: Annotated[int, Range(0, 10**12)] = 500
    shape: Shape = "cosine"
    decay: Annotated[float, Range(0, 1)] = 1.0
    floor: Annotated[float, Range(0, 1)] = 0.01


def compute_lr(schedule: LRSchedule, step: int) -> float:
    """Return the learning rate of a step; the first step is 1."""
    s = schedule
    if step <= s.warmup:
        return s.rate * step / s.warmup
    begin = max(s.warmup, min(s.steps - 1, round(s.steps * (1.0 - s.decay))))
    done = min(1.0, max(0.0, (step - begin) / max(1, s.steps - begin)))
    return s.rate * (s.floor + (1.0 - s.floor) * _SHAPES[s.shape](done))
