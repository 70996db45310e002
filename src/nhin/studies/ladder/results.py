"""The results of a ladder: a row for every model, lines over depth, and the sources' claims checked."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any, Literal

from nhin.format import count_noun
from nhin.metrics.perplexity import TextCost
from nhin.metrics.statistics import Interval, LinearFit, confidence_interval, fit_line

Answer = Literal["yes", "no", "cannot be told"]
UNKNOWN: Answer = "cannot be told"
_MIN_FIT = 0.99
_BASELINE_ORDER = 5
_MIN_POINTS = 3  # any two points lie on a line


@dataclass(frozen=True, slots=True, kw_only=True)
class LadderRow:
    """The results of one model."""

    rung: str
    family: str
    depth: int  # number of blocks; of n-grams the order
    parameters: int  # weights, or different n-grams
    nats: tuple[float | None, ...]  # per token, of each seed; None where it diverged
    bits_per_byte: float | None
    cpu_seconds: float  # of training, the mean over seeds
    ms: float | None = None  # CPU time of a step, the median
    memory: int | None = None  # bytes of activations that one sequence keeps for the gradient
    rate: float | None = None  # the best learning rate
    edge: bool = False  # the best rate is the lowest or the highest that was tried

    @property
    def finite_nats(self) -> tuple[float, ...]:
        """The nats of all seeds; empty if one of them diverged."""
        return tuple(nats for nats in self.nats if nats is not None) if None not in self.nats else ()

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
    """Everything that is reported."""

    about: Mapping[str, Any]
    rows: tuple[LadderRow, ...]  # N-grams first, then networks, smallest first
    lines: Mapping[str, Mapping[str, LinearFit]]  # by family: time per step and memory over depth
    verdicts: tuple[Claim, ...]
    searches: Mapping[str, Mapping[str, float | None]]  # by model: nats of every rate that was tried

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain values."""
        return asdict(self) | {"rows": [row.to_dict() for row in self.rows]}


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


def check_claims(rows: Sequence[LadderRow], lines: Mapping[str, Mapping[str, LinearFit]]) -> Iterator[Claim]:
    """Check the claims of the sources against the results of a ladder."""
    singles = [row for row in rows if row.family in ("lm-bigram", "lm-one-head", "lm-one-block")]
    if len(singles) > 1:
        yield _claim_order("each part buys something", singles, [row.rung for row in singles])
    for family, both in lines.items():
        stack = [row for row in rows if row.family == family]
        names = [str(row.depth) for row in stack]
        yield _claim_order(f"{family}: perplexity falls with depth", stack, names)
        if "time" in both:
            yield _claim_linear(f"{family}: time of a step is linear in depth", both["time"], stack, "ms")
        if "memory" in both:
            yield _claim_linear(f"{family}: memory is linear in depth", both["memory"], stack, "KB")
    baseline = next((row for row in rows if (row.family, row.depth) == ("lm-ngram", _BASELINE_ORDER)), None)
    networks = [row for row in rows if row.family != "lm-ngram" and row.mean is not None]
    if baseline is not None and baseline.mean is not None and networks:
        yield _claim_beats(baseline, baseline.mean, networks)


def _claim_order(claim: str, rows: Sequence[LadderRow], names: Sequence[str]) -> Claim:
    """Check that each model has fewer nats than the one before, by differences paired by seed."""
    answers, parts = [], []
    for (one, two), (first, second) in zip(pairwise(rows), pairwise(names), strict=True):
        gain = improvement(one, two)
        answers.append(_is_positive(gain))
        parts.append(f"{first} over {second} {_format_gain(gain)} ({answers[-1]})")
    edges = [row.rung for row in rows if row.edge]
    note = f"; the best rate of {', '.join(edges)} is at the edge of those tried" if edges else ""
    seeds = count_noun(len(rows[0].nats), "seed")
    answer = "no" if "no" in answers else UNKNOWN if UNKNOWN in answers else "yes"
    figures = f"{', '.join(parts)} nats; paired over {seeds}, 95%{note}"
    return Claim(f"{claim}, {' > '.join(names)}", answer, figures)


def _is_positive(gain: Interval | None) -> Answer:
    if gain is None or gain.low <= 0 <= gain.high:
        return UNKNOWN
    return "yes" if gain.low > 0 else "no"


def _format_gain(gain: Interval | None) -> str:
    if gain is None:
        return "diverged"
    return f"{gain.mean:+.4f}" + (f" ± {gain.half_width:.4f}" if gain.half_width < float("inf") else "")


def _claim_linear(claim: str, line: LinearFit, rows: Sequence[LadderRow], unit: str) -> Claim:
    scale = 1024 if unit == "KB" else 1
    figures = (
        f"R² {line.fit:.5f}, {_MIN_FIT} wanted: {line.start / scale:.1f} {unit} and {line.slope / scale:.1f} "
        f"{unit} a block, from depths {', '.join(str(row.depth) for row in rows)}"
    )
    if len(rows) < _MIN_POINTS:
        return Claim(claim, UNKNOWN, f"{figures}; a line goes through any two, give {_MIN_POINTS} depths")
    return Claim(claim, "yes" if line.fit >= _MIN_FIT else "no", figures)


def _claim_beats(baseline: LadderRow, level: float, networks: Sequence[LadderRow]) -> Claim:
    gains = {row.rung: confidence_interval([level - nats for nats in row.finite_nats]) for row in networks}
    best = min(networks, key=lambda row: row.mean or 0.0)
    gain = gains[best.rung]
    better = [rung for rung, interval in gains.items() if _is_positive(interval) == "yes"]
    figures = f"the best network, {best.rung}, has {best.mean:.4f} nats and {baseline.rung} {level:.4f}: "
    figures += f"{abs(gain.mean):.4f} {'less' if gain.mean > 0 else 'more'}"
    if better:
        figures += f"; surely better: {', '.join(better)}"
    return Claim(f"a network beats the {_BASELINE_ORDER}-gram", _is_positive(gain), figures)
