"""How measured costs grow with the length: p of cost ~ length^p, fitted on a log-log scale."""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

from nhin.bench.cells import BenchRow
from nhin.metrics.statistics import Interval, slope_weights, weigh_means

FITTED = 3  # the longest lengths: shorter ones show fixed costs, and windows that nothing exceeds
Measure = Literal["seconds", "peak_bytes"]


def group_curves(
    rows: Iterable[BenchRow], measure: Measure = "seconds"
) -> dict[tuple[Any, ...], list[BenchRow]]:
    """Return measured rows by all but their length, the shortest first."""
    curves: defaultdict[tuple[Any, ...], list[BenchRow]] = defaultdict(list)
    for row in sorted(rows, key=lambda row: row.cell.length):
        if getattr(row, measure):
            curves[row.cell.curve].append(row)
    return dict(curves)


def fit_growth(curve: Sequence[BenchRow], measure: Measure = "seconds") -> Interval | None:
    """Fit log2 of a cost over log2 of the longest lengths; None of fewer than two.

    Returns:
        The exponent and its interval, which knows of the spread of the rounds and of nothing else; infinite
        where they were not kept.
    """
    rows = [row for row in curve if getattr(row, measure)][-FITTED:]
    lengths = [math.log2(row.cell.length) for row in rows]
    if len(set(lengths)) < 2:
        return None
    weights = slope_weights(lengths)
    slope = math.fsum(
        weight * math.log2(getattr(row, measure)) for weight, row in zip(weights, rows, strict=True)
    )
    if measure != "seconds" or not all(row.rounds for row in rows):
        return Interval(slope, math.inf)
    spread = weigh_means([[math.log2(seconds) for seconds in row.rounds] for row in rows], weights)
    return Interval(slope, spread.half_width)


def exponents(rows: Iterable[BenchRow], measure: Measure = "seconds") -> Mapping[tuple[Any, ...], float]:
    """Return the exponent of every curve of at least two lengths."""
    fits = {curve: fit_growth(points, measure) for curve, points in group_curves(rows, measure).items()}
    return {curve: fit.mean for curve, fit in fits.items() if fit is not None}
