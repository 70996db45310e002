r"""The probability of every outcome, without drawing anything.

Given the data, columns of y are independent, so with :math:`s_A` the probability that one column leaves all
networks of a set A silent, m columns do with :math:`s_A^m`; in particular success, softmax alone firing and
on D1 alone, has the probability :math:`q^m - r^m`. A column matters by y_1, y_d, the signs of the at most
four classes that hold spikes and how many of the others are positive, a binomial: a few thousand cases. The
data matter by which of those classes coincide.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import product

import numpy as np
from numpy.typing import NDArray

from nhin.replication.attention.rows import Column, strongest
from nhin.replication.attention.setting import Setting
from nhin.replication.nets import CODES, GUARD, NETS, codes, outcomes_apart, outcomes_of, silent_of

Places = tuple[int, int, int, int]


@dataclass(frozen=True, slots=True)
class Pattern:
    """One way in which the classes of spikes coincide.

    Args:
        places: The class of the spike query and the spike key of D1, then of D0, numbered as they come.
        chance: How likely it is.
        silent: (16,): how likely one column leaves all networks of a set silent, by code.
    """

    places: Places
    chance: float
    silent: tuple[float, ...]


def outcomes(setting: Setting) -> NDArray[np.float64]:
    """Return how likely exactly each set of networks fires, by code: (16,)."""
    total = np.zeros(CODES)
    for pattern in patterns(setting):
        total += pattern.chance * given(setting, pattern)
    return total


def given(setting: Setting, pattern: Pattern) -> NDArray[np.float64]:
    """Return how likely exactly each set of networks fires, given how spikes coincide."""
    silent = np.array(pattern.silent) ** setting.m
    return (outcomes_of if setting.weights == "shared" else outcomes_apart)(silent)


def patterns(setting: Setting) -> tuple[Pattern, ...]:
    """Return every way in which the classes of spikes coincide; the number of columns does not matter."""
    return _patterns(replace(setting, m=1, weights="shared"))


@lru_cache(maxsize=4096)
def _patterns(setting: Setting) -> tuple[Pattern, ...]:
    found = []
    for places, chance in _coincidences(setting):
        cases, likely = _cases(setting, places)
        fires = np.stack(
            [
                strongest(setting, net[:3], setting.spikes[at // 2], cases[at // 2])
                > setting.threshold + GUARD
                for at, net in enumerate(NETS)
            ],
            -1,
        )
        single = np.bincount(codes(fires), weights=likely, minlength=CODES).astype(np.float64)
        found.append(Pattern(places, chance, tuple(silent_of(single))))
    return tuple(found)


def _coincidences(setting: Setting) -> Iterator[tuple[Places, float]]:
    """Yield which of four uniform classes coincide, and how likely; two in self-attention."""
    k = setting.classes
    if setting.kind == "self":
        yield (0, 0, 0, 0), 1 / k
        if k > 1:
            yield (0, 0, 1, 1), 1 - 1 / k
        return
    for second, third, fourth in product(range(2), range(3), range(4)):
        places = (0, second, third, fourth)
        if third <= second + 1 and fourth <= max(second, third) + 1 and max(places) < k:
            blocks = max(places) + 1
            yield places, math.perm(k, blocks) / k**4


def _cases(setting: Setting, places: Places) -> tuple[list[Column], NDArray[np.float64]]:
    """Return every kind of column, as D1 and as D0 hear it, and how likely each is."""
    named = max(places) + 1
    others = setting.classes - named
    axes = [np.array([-1, 1])] * (2 + named) + [np.arange(others + 1)]
    first, last, *signs, plus = (axis.reshape(-1) for axis in np.meshgrid(*axes, indexing="ij"))
    total = sum(signs, 2 * plus - others)
    binomial = np.array([math.comb(others, many) / 2**others for many in range(others + 1)])
    likely = binomial[plus] / 2 ** (2 + named)
    cases = []
    for query, key in (places[:2], places[2:]):
        same = np.full(first.shape, query == key)
        cases.append(Column(first, last, total, signs[key], signs[query], same))
    return cases, likely
