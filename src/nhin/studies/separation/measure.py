"""Measure every point of a sweep: exact probabilities, and counts of random samples."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import groupby

import numpy as np
from numpy.random import SeedSequence
from numpy.typing import NDArray

from nhin.studies.separation.attention_nets import exact as attention_exact
from nhin.studies.separation.attention_nets import monte_carlo as attention_mc
from nhin.studies.separation.attention_nets import reference as attention_reference
from nhin.studies.separation.attention_nets.config import AttentionConfig
from nhin.studies.separation.options import Method
from nhin.studies.separation.outcomes import SUCCESS, firing_rates
from nhin.studies.separation.regression import exact as regression_exact
from nhin.studies.separation.regression import monte_carlo as regression_mc
from nhin.studies.separation.regression import reference as regression_reference
from nhin.studies.separation.regression.config import RegressionConfig
from nhin.studies.separation.sweeps import SweepPoint

Outcomes = NDArray[np.float64]
Counts = NDArray[np.int64]
NESTED = 100  # columns of the samples that the points of the sweep over m share


@dataclass(frozen=True, slots=True)
class Measurement:
    """The outcomes of one point, (16,) by code.

    Args:
        exact: Probabilities; None where the exact method does not hold.
        counts: Of the repeats; None where nothing was sampled.
    """

    point: SweepPoint
    exact: Outcomes | None
    counts: Counts | None

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
        return self.successes / self.repeats if self.exact is None else float(self.exact[SUCCESS])

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
            table = regression_mc.count_nested(replace(first, m=NESTED), repeats, sequence)
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
    sequence, config = _seed_of(point, seed, nested), point.config
    if isinstance(config, AttentionConfig):
        return (attention_mc if method == "mc" else attention_reference).count_outcomes(
            config, repeats, sequence
        )
    if method == "mc" and not nested:
        return regression_mc.count_outcomes(config, repeats, sequence)
    return regression_reference.count_outcomes(config, repeats, sequence, NESTED if nested else None)


def _seed_of(point: SweepPoint, seed: int, nested: bool) -> SeedSequence:
    return SeedSequence(seed, spawn_key=(*point.index[:3], 0 if nested else point.index[3] + 1))
