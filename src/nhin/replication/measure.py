"""Every point of a sweep by the exact method, and by one that draws."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import groupby

import numpy as np
from numpy.random import SeedSequence
from numpy.typing import NDArray

from nhin.replication.attention import dense, exact, mc
from nhin.replication.attention.setting import Setting as Attention
from nhin.replication.choices import Method
from nhin.replication.nets import SUCCESS, fired
from nhin.replication.regression import dense as regression_dense
from nhin.replication.regression import exact as regression_exact
from nhin.replication.regression import mc as regression_mc
from nhin.replication.regression.setting import Setting as Regression
from nhin.replication.sweeps import Point

Outcomes = NDArray[np.float64]
Counts = NDArray[np.int64]
NESTED = 100  # columns of the one draw that the sweep over m uses


@dataclass(frozen=True, slots=True)
class Result:
    """What one point gave.

    Args:
        point: Which.
        exact: (16,): how likely exactly each set of networks fires; None where that is not known.
        counts: (16,): how many repeats let it fire; None where nothing was drawn.
    """

    point: Point
    exact: Outcomes | None
    counts: Counts | None

    @property
    def repeats(self) -> int:
        """How many were drawn."""
        return 0 if self.counts is None else int(self.counts.sum())

    @property
    def successes(self) -> int:
        """How many succeeded."""
        return 0 if self.counts is None else int(self.counts[SUCCESS])

    @property
    def chance(self) -> float | None:
        """How likely a success is."""
        return None if self.exact is None else float(self.exact[SUCCESS])

    @property
    def best(self) -> float:
        """The chance of a success, or what was counted where that is not known."""
        return self.successes / self.repeats if self.exact is None else float(self.exact[SUCCESS])

    @property
    def rates(self) -> Outcomes:
        """(4,): how often each network fires, exactly where that is known."""
        if self.exact is not None:
            return fired(self.exact)
        assert self.counts is not None, "a point was neither drawn nor known"
        return fired(self.counts.astype(float)) / self.repeats


def measured(
    points: Iterable[Point], method: Method, repeats: int, seed: int, independent: bool = False
) -> Iterator[Result]:
    """Yield what every point gives, in order.

    Args:
        points: Which.
        method: "exact" draws nothing; "mc" and "dense" draw the same.
        repeats: How many are drawn at every point.
        seed: Of all draws: every point has its own, which others do not change.
        independent: Draw anew for every m of the regression.
    """
    for _, group in groupby(points, key=lambda point: (point.family, point.sweep, point.inner)):
        some = list(group)
        nested = some[0].family == "regression" and some[0].sweep == "m" and not independent
        if nested and method == "mc":
            drawn = _nested(some, repeats, seed)
        else:
            drawn = (count(point, method, repeats, seed, nested) for point in some)
        for point, counts in zip(some, drawn, strict=True):
            yield Result(point, known(point.setting), counts)


def known(setting: Attention | Regression) -> Outcomes | None:
    """Return the exact outcomes, or None where the exact method does not hold."""
    if isinstance(setting, Attention):
        return exact.outcomes(setting)
    return regression_exact.outcomes(setting) if setting.spike_decides else None


def count(point: Point, method: Method, repeats: int, seed: int, nested: bool = False) -> Counts | None:
    """Return the counts of one point; None for the method that draws nothing.

    Args:
        point: Which.
        method: How.
        repeats: How many.
        seed: Of all draws.
        nested: The point is one of a sweep whose points share their draws.
    """
    if method == "exact":
        return None
    sequence = _sequence(point, seed, nested)
    if isinstance(point.setting, Attention):
        return (mc if method == "mc" else dense).count(point.setting, repeats, sequence)
    if nested:
        return regression_dense.count(point.setting, repeats, sequence, NESTED)
    return (regression_mc if method == "mc" else regression_dense).count(point.setting, repeats, sequence)


def _nested(some: list[Point], repeats: int, seed: int) -> Iterator[Counts]:
    """Yield the counts of the first 1, 2, ... columns of one draw."""
    first = some[0]
    assert isinstance(first.setting, Regression)
    widest = replace(first.setting, m=NESTED)
    counts = regression_mc.counts(widest, repeats, _sequence(first, seed, True))
    for point in some:
        yield counts[point.setting.m - 1]


def _sequence(point: Point, seed: int, nested: bool) -> SeedSequence:
    return SeedSequence(seed, spawn_key=(*point.place[:3], 0 if nested else point.place[3] + 1))
