"""How measured costs grow with the length: p of cost ~ length^p, fitted on a log-log scale."""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

from nhin.bench.cells import BenchRow
from nhin.metrics.statistics import LinearFit, fit_line

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


def fit_growth(curve: Sequence[BenchRow], measure: Measure = "seconds") -> LinearFit | None:
    """Fit log2 of a cost over log2 of the longest lengths; None of fewer than two."""
    points = [(row.cell.length, getattr(row, measure)) for row in curve if getattr(row, measure)][-FITTED:]
    if len({length for length, _ in points}) < 2:
        return None
    return fit_line(*([math.log2(value) for value in column] for column in zip(*points, strict=True)))


def exponents(rows: Iterable[BenchRow], measure: Measure = "seconds") -> Mapping[tuple[Any, ...], float]:
    """Return the exponent of every curve of at least two lengths."""
    fits = {curve: fit_growth(points, measure) for curve, points in group_curves(rows, measure).items()}
    return {curve: fit.slope for curve, fit in fits.items() if fit is not None}
