"""The results of a ladder: a row for every model, lines over depth, and claims."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from nhin.metrics.perplexity import TextCost
from nhin.metrics.statistics import Interval, LinearFit, confidence_interval, fit_line

Answer = Literal["yes", "no", "cannot be told"]


@dataclass(frozen=True, slots=True, kw_only=True)
class LadderRow:
    """The results of one model.

    Args:
        depth: Number of blocks; of n-grams the order.
        parameters: Weights, or different n-grams.
        nats: Per token, of each seed; None where it diverged.
        cpu_seconds: Of training, the mean over seeds.
        ms: CPU time of a step, the median.
        memory: Bytes of activations that one sequence keeps for the gradient.
        rate: The best learning rate.
        edge: The best rate is the lowest or the highest that was tried.
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
    def finite_nats(self) -> tuple[float, ...]:
        """The nats of all seeds; empty if one of them diverged."""
        return tuple(one for one in self.nats if one is not None) if None not in self.nats else ()

    @property
    def mean(self) -> float | None:
        """The mean nats."""
        return confidence_interval(self.finite_nats).mean if self.finite_nats else None

    @property
    def half(self) -> float | None:
        """Half the width of the confidence interval of the mean; None for a single seed."""
        return confidence_interval(self.finite_nats).half_width if len(self.finite_nats) > 1 else None

    @property
    def perplexity(self) -> float | None:
        """Of the mean nats; None where it overflows."""
        value = math.inf if self.mean is None else TextCost(self.mean, 1, 0, 0).perplexity
        return value if math.isfinite(value) else None

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain values."""
        return asdict(self) | {"mean": self.mean, "half": self.half, "perplexity": self.perplexity}


@dataclass(frozen=True, slots=True)
class Claim:
    """A claim of the sources, whether it holds here, and the numbers behind the answer."""

    claim: str
    answer: Answer
    figures: str


@dataclass(frozen=True, slots=True)
class LadderResults:
    """Everything that is reported.

    Args:
        rows: N-grams first, then networks, smallest first.
        lines: By family, time per step and memory per sequence over depth.
        searches: By model, the nats of every learning rate that was tried.
    """

    about: Mapping[str, Any]
    rows: tuple[LadderRow, ...]
    lines: Mapping[str, Mapping[str, LinearFit]]
    verdicts: tuple[Claim, ...]
    searches: Mapping[str, Mapping[str, float | None]]

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain values."""
        return {
            "about": dict(self.about),
            "rows": [row.to_dict() for row in self.rows],
            "lines": {name: {k: asdict(v) for k, v in both.items()} for name, both in self.lines.items()},
            "verdicts": [asdict(claim) for claim in self.verdicts],
            "searches": {name: dict(tried) for name, tried in self.searches.items()},
        }


def improvement(one: LadderRow, two: LadderRow) -> Interval | None:
    """Return how many nats ``two`` is below ``one``, paired by seed; None where one diverged."""
    if not one.finite_nats or not two.finite_nats:
        return None
    return confidence_interval([a - b for a, b in zip(one.finite_nats, two.finite_nats, strict=True)])


def fit_lines(rows: Sequence[LadderRow]) -> dict[str, LinearFit]:
    """Fit "time" per step and "memory" over depth, each where at least two values are known."""
    lines = {}
    for name, field in (("time", "ms"), ("memory", "memory")):
        values = [(row.depth, getattr(row, field)) for row in rows]
        points = [(depth, float(value)) for depth, value in values if value is not None]
        if len(points) > 1:
            lines[name] = fit_line([x for x, _ in points], [y for _, y in points])
    return lines
