"""Settings of a ladder."""

import math
from dataclasses import dataclass

from nhin.errors import UsageError
from nhin.ranges import check_int

_MAX = {"seeds": 100, "dim": 2**14, "heads": 1024, "context": 2**16, "batch": 2**16, "threads": 1024}
_MAX_LISTED = 16


@dataclass(frozen=True, slots=True)
class LadderSettings:
    """Settings of one ladder; the sizes suit a laptop and are the same for every model.

    Args:
        data: A folder made by ``nhin prepare``, or a text; the sources of Python's own library when None.
        tokenizer: For a text that is not prepared.
        budget: CPU-seconds of all runs together, timing and evaluation included.
        seeds: Runs of every model, from seed 0 on.
        depths: Of ``lm-blocks`` and ``lm-modern``, increasing.
        rates: Learning rates to try for every model, increasing; when empty, three around the model's
            default. A single one is used without a search.
        orders: Of the n-grams.
        steps: Of a full run; what the budget allows when None.
    """

    data: str | None = None
    tokenizer: str = "bpe:2048"
    budget: float = 1800.0
    seeds: int = 3
    depths: tuple[int, ...] = (2, 4, 8)
    rates: tuple[float, ...] = ()
    orders: tuple[int, ...] = (1, 2, 3, 4, 5)
    dim: int = 128
    heads: int = 4
    context: int = 64
    batch: int = 32
    steps: int | None = None
    threads: int = 1

    def __post_init__(self) -> None:
        for name, high in _MAX.items():
            check_int(name, getattr(self, name), 1, high)
        if self.dim % self.heads:
            raise UsageError(f"heads is {self.heads}, which does not divide dim {self.dim}; choose a divisor")
        if self.steps is not None:
            check_int("steps", self.steps, 1, 10**9)
        if not 0 < self.budget <= 3600 * 10**4:
            raise UsageError(f"the budget is {self.budget:g} seconds; give more than 0, 10000h at most")
        for name, high in (("depths", 256), ("orders", 8)):
            values = getattr(self, name)
            if not 1 <= len(values) <= _MAX_LISTED or list(values) != sorted(set(values)):
                raise UsageError(f"{name} are {values}; give each once, rising, {_MAX_LISTED} at most")
            for value in values:
                check_int(f"each of {name}", value, 1, high)
        if len(self.rates) > _MAX_LISTED or any(not 0 < rate < math.inf for rate in self.rates):
            raise UsageError(f"give {_MAX_LISTED} rates at most, each above 0")
        if list(self.rates) != sorted(set(self.rates)):
            raise UsageError(f"rates are {self.rates}; give each once, rising")
