"""Measurements as rows of the CSV file, and the agreement of counts with exact probabilities."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from nhin import __version__
from nhin.format import Cell
from nhin.studies.separation.attention_nets.config import AttentionConfig
from nhin.studies.separation.measure import Measurement
from nhin.studies.separation.options import Method
from nhin.studies.separation.outcomes import NETS, firing_rates

_SLACK = 1e-9  # an exact 0 is in an interval that begins at 1e-18
_Z95 = 1.959963984540054


def make_row(result: Measurement, method: Method, seed: int) -> dict[str, Cell]:
    """Return one row of the CSV file."""
    point, config = result.point, result.point.config
    cells: dict[str, Cell] = {"family": point.family, "X": point.inner, "sweep": point.sweep, "x": point.x}
    cells["definition"] = "reconstruction" if point.family == "cross" else "paper"
    attention = isinstance(config, AttentionConfig)
    for name in ("n", "d", "m", "a0", "a1", "b", "c", "margin"):
        cells[name] = getattr(config, name, None)
    cells["tau"] = config.threshold * math.sqrt(config.log_n) if attention else config.tau
    cells |= {"kind": config.kind if attention else "", "weights": config.weights, "method": method}
    cells["exact"] = result.chance
    low, high = wilson_interval(result.successes, result.repeats) if result.repeats else (None, None)
    cells |= {"k": result.successes, "R": result.repeats, "lo": low, "hi": high}
    rates = None if result.exact is None else firing_rates(result.exact)
    counts = None if result.counts is None else firing_rates(result.counts.astype(float))
    for number, net in enumerate(NETS):
        cells[f"{net}_exact"] = None if rates is None else float(rates[number])
        cells[f"{net}_k"] = None if counts is None else int(counts[number])
    return cells | {"seed": seed, "version": __version__}


@dataclass(frozen=True, slots=True)
class Agreement:
    """The agreement of counts with exact probabilities.

    Args:
        worst: The largest distance in standard errors.
        square: The mean squared distance; 1 is expected.
        covered: How many Wilson intervals contain the exact probability.
    """

    points: int
    worst: float
    square: float
    covered: int


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
    for (sweep, inner), group in groups.items():
        yield sweep, inner, group


def wilson_interval(successes: int, trials: int, z: float = _Z95) -> tuple[float, float]:
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
