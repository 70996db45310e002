"""What a mechanism would cost at a length, from rows at other lengths."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from nhin.bench.cells import BenchRow
from nhin.bench.growth import FITTED
from nhin.metrics.statistics import Interval, slope_weights, weigh_means

Measure = Callable[[BenchRow], float | None]


@dataclass(frozen=True, slots=True)
class CostEstimate:
    """The cost of one mechanism at a length.

    Args:
        mechanism: Its name.
        length: Where it would cost that.
        seconds: Of one call.
        ratio: To PyTorch's kernel; None where a row was not compared with it.
        low: Lower end of the ratio's interval, or of the seconds' where there is no ratio.
        high: Its upper end.
        peak_bytes: Inputs, outputs, cache and working memory.
        how: "measured", "interpolated" between two lengths or "extrapolated" from the longest or shortest.
        rows: What it rests on.
    """

    mechanism: str
    length: int
    seconds: float
    ratio: float | None
    low: float
    high: float
    peak_bytes: float
    how: str
    rows: tuple[BenchRow, ...]

    def is_tied(self, other: "CostEstimate", margin: float = 0.02) -> bool:
        """Return whether the error of measurement, or 2%, is more than what the costs differ by.

        Where both took turns, their rounds are compared one by one: what slowed both does not count.
        Otherwise their intervals must overlap.
        """
        quotient = compare_rounds(self, other)
        if quotient is not None:
            return quotient.low <= 0 <= quotient.high or abs(quotient.mean) <= math.log1p(margin)
        one, two = (x.seconds if None in (self.ratio, other.ratio) else x.ratio or 0.0 for x in (self, other))
        return (self.low <= other.high and other.low <= self.high) or abs(one - two) <= margin * min(one, two)


def estimate_cost(rows: Sequence[BenchRow], how: str, length: int, has_ratios: bool) -> CostEstimate:
    """Estimate a cost from rows of one mechanism.

    Args:
        rows: What ``choose_rows`` chose.
        how: How they stand to the length.
        length: Where the cost is wanted.
        has_ratios: Whether all candidates were compared with the baseline, so that ratios are compared.
    """

    def at(measure: Measure) -> float:
        return _interpolate(rows, length, measure)

    seconds, ratio = at(lambda row: row.seconds), at(lambda row: row.ratio) if has_ratios else None
    # The relative width of the widest interval: ends that are fitted by themselves may cross.
    spreads = [
        (low / value, high / value)
        for row in rows
        for low, value, high in [
            (row.ratio_low, row.ratio, row.ratio_high) if has_ratios else (row.low, row.seconds, row.high)
        ]
        if low is not None and high is not None and value
    ]
    cost = seconds if ratio is None else ratio
    return CostEstimate(
        mechanism=rows[0].cell.mechanism,
        length=length,
        seconds=seconds,
        ratio=ratio,
        low=cost * min((low for low, _ in spreads), default=1.0),
        high=cost * max((high for _, high in spreads), default=1.0),
        peak_bytes=at(total_bytes),
        how=how,
        rows=tuple(rows),
    )


def total_bytes(row: BenchRow) -> float:
    """Return the bytes of a row with those of its queries, keys and values."""
    cell = row.cell
    used = max(row.peak_bytes or 0, row.predicted_bytes or 0)
    positions = 1 if cell.phase in ("decode", "generate") else cell.length
    width = 4 if cell.dtype == "float32" else 2
    return used + width * cell.batch * positions * (cell.heads + 2 * cell.kv_heads) * cell.head_dim


def choose_rows(curve: Sequence[BenchRow], length: int) -> tuple[list[BenchRow], str]:
    """Return the row of a length, the two around it, or those at the end that is nearer."""
    same = [row for row in curve if row.cell.length == length]
    if same:
        return same[-1:], "measured"
    below = [row for row in curve if row.cell.length < length]
    above = [row for row in curve if row.cell.length > length]
    if below and above:
        return [below[-1], above[0]], "interpolated"
    return (list(curve[-FITTED:]) if below else list(curve[:2])), "extrapolated"


def compare_rounds(one: CostEstimate, two: CostEstimate) -> Interval | None:
    """Return the logarithm of the quotient of two costs; None where they did not take turns."""
    pairs = list(zip(one.rows, two.rows, strict=False))
    if len(one.rows) != len(two.rows) or not all(_took_turns(a, b) for a, b in pairs):
        return None
    quotients = [[math.log(x / y) for x, y in zip(a.rounds, b.rounds, strict=False)] for a, b in pairs]
    return weigh_means(quotients, _weigh_lengths(one.rows, one.length))


def _took_turns(one: BenchRow, two: BenchRow) -> bool:
    same = one.cell.group == two.cell.group and one.began == two.began
    return same and bool(one.rounds and two.rounds)


def _interpolate(rows: Sequence[BenchRow], length: int, measure: Measure) -> float:
    """Return a measure at a length: on the line that fits its logarithm over that of the length."""
    weights = _weigh_lengths(rows, length)
    logs = (math.log2(max(measure(row) or 0.0, 1e-12)) for row in rows)
    return 2 ** math.fsum(weight * log for weight, log in zip(weights, logs, strict=True))


def _weigh_lengths(rows: Sequence[BenchRow], length: int) -> list[float]:
    """Return how much the logarithm of each row counts at a length, on the line that is fitted to all.

    The line is moved through the nearest point: else a curve had a step where it begins to be extrapolated.
    """
    xs, x = [math.log2(row.cell.length) for row in rows], math.log2(length)
    near = min(xs, key=lambda one: abs(one - x))
    return [(one == near) + (x - near) * weight for one, weight in zip(xs, slope_weights(xs), strict=True)]
