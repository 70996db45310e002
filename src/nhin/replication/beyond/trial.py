"""The paper's test for other kernels: the same data and the same random y for all of them.

A network fires where the largest inner product of a row of C and a column of y exceeds the threshold. How
well that separates D1 from D0 is told twice: by P_sep, the chance of firing on D1 times that of silence on
D0, which depends on the threshold; and by the area under the curve (AUC), the chance that the largest inner
product is larger on D1 than on D0, which has none.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from numpy.random import SeedSequence
from numpy.typing import NDArray

from nhin.errors import UsageError
from nhin.replication.attention import dense
from nhin.replication.attention.draws import draw
from nhin.replication.attention.setting import Setting
from nhin.replication.beyond.kernels import Mix, kernels
from nhin.replication.bounds import whole
from nhin.replication.nets import GUARD

Heard = NDArray[np.float64]  # (draws, ys)
HELD = 1 << 26  # most inner products at once: half a gigabyte
MOST_DRAWS, MOST_YS, MOST_SPIKES = 1000, 10**5, 1000
_CURVE = tuple(round(0.1 + 0.1 * step, 1) for step in range(30))


@dataclass(frozen=True, slots=True)
class Trial:
    """What is to be measured.

    Args:
        setting: The sizes and numbers of the data; its a1 is not used.
        spikes: The sizes a1 of the table.
        curve: Further ones for the figure.
        draws: How often the rows of the spikes are drawn, and the features of kernels that draw some.
        ys: How many y are drawn for each.
        names: The kernels; all when empty.
        seed: Of all that is drawn.

    Raises:
        UsageError: A number is out of range, or what is asked for is not this test.
        UnknownName: There is no such kernel.
    """

    setting: Setting = field(default_factory=Setting)
    spikes: tuple[float, ...] = (0.8, 1.2, 2.0, 3.0)
    curve: tuple[float, ...] = _CURVE
    draws: int = 10
    ys: int = 100
    names: tuple[str, ...] = ()
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse what cannot be measured."""
        whole("draws", self.draws, 1, MOST_DRAWS)
        whole("ys", self.ys, 1, MOST_YS)
        whole("seed", self.seed, 0, 2**63)
        if not 1 <= len(self.spikes) + len(self.curve) <= MOST_SPIKES:
            raise UsageError(f"give 1 to {MOST_SPIKES} sizes of the spike")
        for a1 in (*self.spikes, *self.curve):
            replace(self.setting, a1=a1)  # checks it
        if self.setting.inner != "eye" or self.setting.weights != "shared":
            raise UsageError("kernels are compared with X = I and one y for all networks")
        n, columns = self.setting.n, self.ys * self.setting.m
        if max(n * n, n * columns, self.setting.d * columns) > HELD:
            raise UsageError(
                f"n is {n}, with {columns} columns of y at once: n x n matrices and the inner products of "
                f"all rows and columns may have {HELD} numbers, so lower n, m or ys"
            )
        kernels(self.names)

    @property
    def every(self) -> tuple[float, ...]:
        """All sizes of the spike, rising."""
        return tuple(sorted({*self.spikes, *self.curve}))


@dataclass(frozen=True, slots=True)
class Estimate:
    """A number and its standard error over the draws of spikes; None from a single draw."""

    value: float
    error: float | None


@dataclass(frozen=True, slots=True)
class Point:
    """One kernel at one size of the spike.

    Args:
        kernel: Its name.
        a1: The spike of D1.
        fires1: How often it fires on D1.
        fires0: How often it fires on D0.
        separates: P_sep.
        auc: The threshold-free one.
    """

    kernel: str
    a1: float
    fires1: Estimate
    fires0: Estimate
    separates: Estimate
    auc: Estimate


def measure(trial: Trial, told: Callable[[str], None] = lambda line: None) -> list[Point]:
    """Put kernels to the test.

    Args:
        trial: What is to be measured.
        told: Is told, a line for each kernel, how far it is.

    Returns:
        Kernel by kernel in the order of the table, spikes rising.
    """
    seeds = SeedSequence(trial.seed).spawn(trial.draws)
    points: list[Point] = []
    chosen = kernels(trial.names)
    for number, kernel in enumerate(chosen, 1):
        heard = [_heard(trial, kernel.make(trial.setting.d, _seed_of(seed)), seed) for seed in seeds]
        zeros = np.stack([zero for zero, _ in heard])
        for place, a1 in enumerate(trial.every):
            points.append(_point(trial, kernel.name, a1, np.stack([ones[place] for _, ones in heard]), zeros))
        told(f"{number}/{len(chosen)} {kernel.title}")
    return points


def auc(ones: Heard, zeros: Heard) -> float:
    """Return how often one of the first is larger than one of the second; equal ones count half."""
    ordered = np.sort(zeros, axis=None)
    below, upto = (np.searchsorted(ordered, ones.ravel(), side) for side in ("left", "right"))
    return float((below + upto).mean() / (2 * ordered.size))


def jackknife(statistic: Callable[[Heard, Heard], float], ones: Heard, zeros: Heard) -> Estimate:
    """Return a statistic of all draws, and its error from leaving out each draw in turn."""
    value, draws = statistic(ones, zeros), len(ones)
    if draws == 1:
        return Estimate(value, None)
    left = [statistic(np.delete(ones, i, 0), np.delete(zeros, i, 0)) for i in range(draws)]
    return Estimate(value, math.sqrt((draws - 1) * float(np.var(left))))


def _point(trial: Trial, kernel: str, a1: float, ones: Heard, zeros: Heard) -> Point:
    level = trial.setting.threshold + GUARD

    def fires1(ones: Heard, zeros: Heard) -> float:
        return float((ones > level).mean())

    def fires0(ones: Heard, zeros: Heard) -> float:
        return float((zeros > level).mean())

    def separates(ones: Heard, zeros: Heard) -> float:
        return fires1(ones, zeros) * (1 - fires0(ones, zeros))

    told = (jackknife(of, ones, zeros) for of in (fires1, fires0, separates, auc))
    return Point(kernel, a1, *told)


def _heard(trial: Trial, mix: Mix, seed: SeedSequence) -> tuple[Heard, list[Heard]]:
    """Return the largest inner product with each y of one draw: on D0, and on D1 for every spike."""
    setting = trial.setting
    drawn = next(draw(setting, trial.ys, seed, block=HELD))
    # By torch, whose threads the mechanisms use too: numpy's beside them make all four times as slow.
    y = torch.from_numpy(np.moveaxis(drawn.signs[:, 0], 0, 1).reshape(setting.d, -1).astype(np.float64))
    query1, key1, query0, key0 = map(int, drawn.rows[0])

    def loudest(a: float, query: int, key: int) -> Heard:
        keys = dense.matrix(setting, a, key)
        queries = keys if setting.kind == "self" else dense.queries(setting, a, query, drawn.order[0])
        heard = (torch.from_numpy(mix(queries, keys, keys)) @ y).numpy() / math.sqrt(setting.log_n)
        # Rounded, so that what is equal counts as equal however sums were added up.
        return heard.reshape(setting.n, trial.ys, setting.m).max((0, 2)).round(11)

    return loudest(setting.a0, query0, key0), [loudest(a1, query1, key1) for a1 in trial.every]


def _seed_of(seed: SeedSequence) -> int:
    """Return the seed of what a kernel draws, apart from those of the data and of y."""
    own = SeedSequence(seed.entropy, spawn_key=(*seed.spawn_key, 3))
    return int(own.generate_state(1)[0])


def titles(points: Sequence[Point]) -> dict[str, str]:
    """Return the titles of the kernels that were measured."""
    return {kernel.name: kernel.title for kernel in kernels(dict.fromkeys(p.kernel for p in points))}
