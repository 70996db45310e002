"""Results as rows of the tidy table, and how well the methods agree."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from nhin import __version__
from nhin.replication.attention.setting import Setting as Attention
from nhin.replication.choices import Method
from nhin.replication.measure import Result
from nhin.replication.nets import NETS, fired
from nhin.replication.stats import deviation, wilson
from nhin.replication.table import Cell

_SLACK = 1e-9  # an exact 0 is in an interval that begins at 1e-18


def row(result: Result, method: Method, seed: int) -> dict[str, Cell]:
    """Return one row of the tidy table."""
    point, setting = result.point, result.point.setting
    cells: dict[str, Cell] = {"family": point.family, "X": point.inner, "sweep": point.sweep, "x": point.x}
    cells["definition"] = "reconstruction" if point.family == "cross" else "paper"
    attention = isinstance(setting, Attention)
    for name in ("n", "d", "m", "a0", "a1", "b", "c", "margin"):
        cells[name] = getattr(setting, name, None)
    cells["tau"] = setting.threshold * math.sqrt(setting.log_n) if attention else setting.tau
    cells |= {"kind": setting.kind if attention else "", "weights": setting.weights, "method": method}
    cells["exact"] = result.chance
    low, high = wilson(result.successes, result.repeats) if result.repeats else (None, None)
    cells |= {"k": result.successes, "R": result.repeats, "lo": low, "hi": high}
    rates = None if result.exact is None else fired(result.exact)
    counts = None if result.counts is None else fired(result.counts.astype(float))
    for place, net in enumerate(NETS):
        cells[f"{net}_exact"] = None if rates is None else float(rates[place])
        cells[f"{net}_k"] = None if counts is None else int(counts[place])
    return cells | {"seed": seed, "version": __version__}


@dataclass(frozen=True, slots=True)
class Agreement:
    """How counts agree with exact chances.

    Args:
        points: How many points have both.
        worst: The largest distance in standard errors.
        square: The mean of its square; 1 where all is as it should be.
        covered: How many Wilson intervals hold the exact chance.
    """

    points: int
    worst: float
    square: float
    covered: int


def agreement(results: Sequence[Result]) -> Agreement | None:
    """Tell how counts agree with exact chances; None where there are none to compare."""
    pairs = [
        (result, chance) for result in results if result.repeats and (chance := result.chance) is not None
    ]
    if not pairs:
        return None
    far = [abs(deviation(result.successes, result.repeats, chance)) for result, chance in pairs]
    # Where success is all but certain or impossible, one failure is many standard errors.
    usual = [z for z, (result, chance) in zip(far, pairs, strict=True) if _usual(result.repeats, chance)]
    covered = sum(_covers(result, chance) for result, chance in pairs)
    return Agreement(
        len(pairs), max(usual, default=0.0), sum(z * z for z in usual) / max(1, len(usual)), covered
    )


def by_sweep(results: Sequence[Result]) -> Iterator[tuple[str, str, list[Result]]]:
    """Yield sweep, X and results, in order."""
    seen = dict.fromkeys((result.point.sweep, result.point.inner) for result in results)
    for sweep, inner in seen:
        yield sweep, inner, [r for r in results if (r.point.sweep, r.point.inner) == (sweep, inner)]


def _usual(repeats: int, chance: float) -> bool:
    return repeats * min(chance, 1 - chance) >= 1


def _covers(result: Result, chance: float) -> bool:
    low, high = wilson(result.successes, result.repeats)
    return low - _SLACK <= chance <= high + _SLACK
