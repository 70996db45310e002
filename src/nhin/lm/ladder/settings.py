"""What a climb is to do, as plain values."""

import math
from dataclasses import dataclass

from nhin.errors import UsageError

_MOST = {"seeds": 100, "dim": 2**14, "heads": 1024, "context": 2**16, "batch": 2**16, "threads": 1024}
_MOST_DEPTH, _MOST_ORDER, _MOST_LISTED, _MOST_STEPS, _MOST_HOURS = 256, 8, 16, 10**9, 10**4


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings of one climb; its sizes suit a laptop, and are the same on every rung.

    Args:
        data: A folder made by ``nhin prepare``, or a text; the sources of Python's own library when None.
        tokenizer: For a text that is not prepared.
        budget: CPU-seconds that all runs together may take, timing and measuring included.
        seeds: Runs of every rung, from seed 0 on.
        depths: Of ``lm-blocks`` and ``lm-modern``, rising.
        rates: Rates to try on every rung, rising; three around each rung's own when there are none. A single
            one is taken untried.
        orders: Of the n-grams.
        dim: Width.
        heads: Query heads, where a rung has several.
        context: Tokens that are read at once.
        batch: Texts of a step.
        steps: Of a full run; what the budget allows when None.
        threads: Processors to use.

    Raises:
        UsageError: A number is out of range.
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
        """Refuse what is no climb."""
        for name, most in _MOST.items():
            _within(name, getattr(self, name), most)
        if self.dim % self.heads:
            raise UsageError(f"heads is {self.heads}, which does not divide dim {self.dim}; choose a divisor")
        if self.steps is not None:
            _within("steps", self.steps, _MOST_STEPS)
        if not 0 < self.budget <= 3600 * _MOST_HOURS:
            raise UsageError(
                f"the budget is {self.budget:g} seconds; give more than 0, {_MOST_HOURS}h at most"
            )
        _rising("depths", self.depths, _MOST_DEPTH)
        _rising("orders", self.orders, _MOST_ORDER)
        if len(self.rates) > _MOST_LISTED or any(not 0 < rate < math.inf for rate in self.rates):
            raise UsageError(f"give {_MOST_LISTED} rates at most, each above 0")
        if list(self.rates) != sorted(set(self.rates)):
            raise UsageError(f"rates are {self.rates}; give each once, rising")


def _within(name: str, value: int, most: int) -> None:
    if not 1 <= value <= most:
        raise UsageError(f"{name} is {value}; give 1 to {most}")


def _rising(name: str, values: tuple[int, ...], most: int) -> None:
    if not 1 <= len(values) <= _MOST_LISTED or list(values) != sorted(set(values)):
        raise UsageError(f"{name} are {values}; give each once, rising, {_MOST_LISTED} at most")
    for value in values:
        _within(f"each of {name}", value, most)
