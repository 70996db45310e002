"""Measure every point of a sweep: exact probabilities, counts of random samples, and how well they agree."""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

import numpy as np
from numpy.random import SeedSequence
from numpy.typing import NDArray

from nhin.studies.separation import attention_exact, monte_carlo, reference, regression_exact
from nhin.studies.separation.config import AttentionConfig, RegressionConfig
from nhin.studies.separation.options import Method
from nhin.studies.separation.outcomes import SUCCESS, firing_rates
from nhin.studies.separation.sweeps import SweepPoint

Outcomes = NDArray[np.float64]
Counts = NDArray[np.int64]
_SLACK = 1e-9  # an exact 0 is in an interval that begins at 1e-18
NESTED = 100  # columns of the samples that the points of the sweep over m share


@dataclass(frozen=True, slots=True)
class Measurement:
    """The outcomes of one point, (16,) by code."""

    point: SweepPoint
    exact: Outcomes | None  # probabilities; None where the exact method does not hold
    counts: Counts | None  # of the repeats; None where nothing was sampled

    @property
    def repeats(self) -> int:
        """Number of samples."""
        return 0 if self.counts is None else int(self.counts.sum())

    @property
    def successes(self) -> int:
        """Number of successes."""
        return 0 if self.counts is None else int(self.counts[SUCCESS])

    @property
    def chance(self) -> float | None:
        """The exact probability of success."""
        return None if self.exact is None else float(self.exact[SUCCESS])

    @property
    def success_rate(self) -> float:
        """The probability of success, or the share of successes where it is not known."""
        return self.successes / self.repeats if self.chance is None else self.chance

    @property
    def rates(self) -> Outcomes:
        """(4,): how often each network fires, exactly where that is known."""
        if self.exact is not None:
            return firing_rates(self.exact)
        assert self.counts is not None, "a point was neither sampled nor known"
        return firing_rates(self.counts.astype(float)) / self.repeats


def measure_points(
    points: Iterable[SweepPoint], method: Method, repeats: int, seed: int, independent: bool = False
) -> Iterator[Measurement]:
    """Yield the measurement of every point, in order.

    Every point has a seed of its own, whatever other points there are. "exact" samples nothing, "mc" and
    "dense" use the same samples; ``independent`` samples anew for every m of the regression.
    """
    for _, group in groupby(points, key=lambda point: (point.family, point.sweep, point.inner)):
        sweep = list(group)
        nested = sweep[0].family == "regression" and sweep[0].sweep == "m" and not independent
        if nested and method == "mc":
            first = sweep[0].config
            assert isinstance(first, RegressionConfig)
            sequence = _seed_of(sweep[0], seed, nested)
            table = monte_carlo.count_nested(replace(first, m=NESTED), repeats, sequence)
            counts = (table[point.config.m - 1] for point in sweep)
        else:
            counts = (count_point(point, method, repeats, seed, nested) for point in sweep)
        for point, one in zip(sweep, counts, strict=True):
            yield Measurement(point, exact_outcomes(point.config), one)


def exact_outcomes(config: AttentionConfig | RegressionConfig) -> Outcomes | None:
    """Return the exact outcomes, or None where the exact method does not hold."""
    if isinstance(config, AttentionConfig):
        return attention_exact.exact_outcomes(config)
    return regression_exact.exact_outcomes(config) if config.spike_decides else None


def count_point(
    point: SweepPoint, method: Method, repeats: int, seed: int, nested: bool = False
) -> Counts | None:
    """Count the outcomes of a point, (16,) by code; None for "exact". A nested sweep shares samples."""
    if method == "exact":
        return None
    sequence = _seed_of(point, seed, nested)
    if method == "mc" and not nested:
        return monte_carlo.count_outcomes(point.config, repeats, sequence)
    return reference.count_outcomes(point.config, repeats, sequence, NESTED if nested else None)


def _seed_of(point: SweepPoint, seed: int, nested: bool) -> SeedSequence:
    return SeedSequence(seed, spawn_key=(*point.index[:3], 0 if nested else point.index[3] + 1))


@dataclass(frozen=True, slots=True)
class Agreement:
    """The agreement of counts with exact probabilities."""

    points: int
    worst: float  # the largest distance in standard errors
    square: float  # the mean squared distance; 1 is expected
    covered: int  # how many Wilson intervals contain the exact probability


def measure_agreement(results: Sequence[Measurement]) -> Agreement | None:
    """Compare counts with exact probabilities; None where there are none to compare."""
    distances, points, covered = [], 0, 0
    for result in results:
        if not result.repeats or (chance := result.chance) is None:
            continue
        points += 1
        low, high = wilson_interval(result.successes, result.repeats)
        covered += low - _SLACK <= chance <= high + _SLACK
        # Where success is almost certain or impossible, one failure is many standard errors.
        if result.repeats * min(chance, 1 - chance) >= 1:
            distances.append(abs(standard_errors(result.successes, result.repeats, chance)))
    if not points:
        return None
    square = sum(z * z for z in distances) / max(1, len(distances))
    return Agreement(points, max(distances, default=0.0), square, covered)


def group_by_sweep(results: Sequence[Measurement]) -> Iterator[tuple[str, str, list[Measurement]]]:
    """Yield sweep, X and measurements, in order."""
    groups: dict[tuple[str, str], list[Measurement]] = {}
    for result in results:
        groups.setdefault((result.point.sweep, result.point.inner), []).append(result)
    yield from ((sweep, inner, group) for (sweep, inner), group in groups.items())


def wilson_interval(successes: int, trials: int, z: float = 1.959963984540054) -> tuple[float, float]:
    """Return the confidence interval of a proportion, 95% by default (Wilson 1927)."""
    share, fourth = successes / trials, z * z / trials
    center = (share + fourth / 2) / (1 + fourth)
    half = z / (1 + fourth) * math.sqrt(share * (1 - share) / trials + fourth / (4 * trials))
    low = 0.0 if successes == 0 else max(0.0, center - half)
    high = 1.0 if successes == trials else min(1.0, center + half)
    return low, high


def standard_errors(successes: int, trials: int, chance: float) -> float:
    """Return how many standard errors a proportion is from its probability; 0 where both are certain."""
    error = math.sqrt(max(0.0, chance * (1 - chance)) / trials)
    difference = successes / trials - chance
    if error < 1e-9:
        return 0.0 if abs(difference) < 1e-9 else math.inf
    return difference / error
