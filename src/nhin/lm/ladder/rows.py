"""The figures of a rung."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from nhin.metrics.perplexity import TextCost
from nhin.metrics.statistics import Interval, LinearFit, confidence_interval, fit_line


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """The figures of one rung.

    Args:
        rung: Its name.
        family: The recipe that it comes from.
        depth: Blocks; of n-grams the order.
        parameters: Weights, or different grams.
        nats: Per token, of each seed; None where it diverged.
        bits_per_byte: Their mean.
        cpu_seconds: Of training, the mean.
        ms: Of CPU time a step, the median.
        memory: Bytes that one text of a batch leaves for the gradient.
        rate: The best.
        edge: No higher, or no lower, rate was tried.
    """

    rung: str
    family: str
    depth: int
    parameters: int
    nats: tuple[float | None, ...]
    bits_per_byte: float | None
    cpu_seconds: float
    ms: float | None = None
    memory: int | None = None
    rate: float | None = None
    edge: bool = False

    @property
    def whole(self) -> tuple[float, ...]:
        """The nats of all seeds; nothing if one of them diverged."""
        return tuple(one for one in self.nats if one is not None) if None not in self.nats else ()

    @property
    def mean(self) -> float | None:
        """The mean nats."""
        return confidence_interval(self.whole).mean if self.whole else None

    @property
    def half(self) -> float | None:
        """How far to either side the true mean may lie; None from a single value."""
        return confidence_interval(self.whole).half_width if len(self.whole) > 1 else None

    @property
    def perplexity(self) -> float | None:
        """Of the mean nats; None for what no number is large enough for."""
        found = math.inf if self.mean is None else TextCost(self.mean, 1, 0, 0).perplexity
        return found if math.isfinite(found) else None

    def as_tree(self) -> dict[str, Any]:
        """Return everything as plain values."""
        worked_out = {"mean": self.mean, "half": self.half, "perplexity": self.perplexity}
        return asdict(self) | worked_out


def gained(one: Row, two: Row) -> Interval | None:
    """Return how many nats ``two`` costs less than ``one``, seed by seed; None where one has no number."""
    if not one.whole or not two.whole:
        return None
    return confidence_interval([a - b for a, b in zip(one.whole, two.whole, strict=True)])


def lines(rows: Sequence[Row]) -> dict[str, LinearFit]:
    """Fit lines over depth: of the time of a step, and of memory, where at least two are known."""
    names: tuple[Literal["time", "memory"], ...] = ("time", "memory")
    return {name: one for name in names if (one := _line(rows, name)) is not None}


def _line(rows: Sequence[Row], name: Literal["time", "memory"]) -> LinearFit | None:
    values = [(row.depth, row.ms if name == "time" else row.memory) for row in rows]
    points = [(depth, float(value)) for depth, value in values if value is not None]
    return fit_line([x for x, _ in points], [y for _, y in points]) if len(points) > 1 else None
