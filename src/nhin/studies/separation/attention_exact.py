r"""The probability of every outcome, without sampling.

Given the data, columns of y are independent, so with :math:`s_A` the probability that one column leaves all
networks of a set A silent, m columns do with :math:`s_A^m`; in particular success, where softmax alone fires
and on D1 alone, has the probability :math:`q^m - r^m`. Of a column only y_1, y_d, the signs of the at most
four classes that hold spikes and the number of positive others, a binomial, matter: a few thousand cases. Of
the data only which of those classes coincide.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import product

import numpy as np
from numpy.typing import NDArray

from nhin.studies.separation.config import AttentionConfig
from nhin.studies.separation.outcomes import (
    CODES,
    GUARD,
    NETS,
    column_outcomes,
    encode_outcomes,
    silence_of_outcomes,
)
from nhin.studies.separation.row_products import ColumnSigns, max_row_product

Classes = tuple[int, int, int, int]


@dataclass(frozen=True, slots=True)
class SpikePattern:
    """One way in which the classes of spikes coincide."""

    classes: Classes  # of spike query and key of D1, then of D0, numbered as they come
    chance: float
    silent: tuple[float, ...]  # (16,): by code, the probability that one column leaves a set silent


def exact_outcomes(config: AttentionConfig) -> NDArray[np.float64]:
    """Return the probability of every outcome, (16,) by code."""
    total = np.zeros(CODES)
    for pattern in spike_patterns(config):
        total += pattern.chance * conditional_outcomes(config, pattern)
    return total


def conditional_outcomes(config: AttentionConfig, pattern: SpikePattern) -> NDArray[np.float64]:
    """Return the probability of every outcome, (16,) by code, given how the classes of spikes coincide."""
    return column_outcomes(pattern.silent, config.m, config.weights)


def spike_patterns(config: AttentionConfig) -> tuple[SpikePattern, ...]:
    """Return every way in which the classes of spikes coincide; m does not matter."""
    return _patterns(replace(config, m=1, weights="shared"))


@lru_cache(maxsize=4096)
def _patterns(config: AttentionConfig) -> tuple[SpikePattern, ...]:
    patterns = []
    for classes, chance in _coincidences(config):
        columns, probability = _column_cases(config, classes)
        products = [
            max_row_product(config, net[:3], config.spikes[at // 2], columns[at // 2])
            for at, net in enumerate(NETS)
        ]
        codes = encode_outcomes(np.stack(products, -1) > config.threshold + GUARD)
        outcomes = np.bincount(codes, weights=probability, minlength=CODES)
        silent = silence_of_outcomes(outcomes.astype(np.float64))
        patterns.append(SpikePattern(classes, chance, tuple(silent)))
    return tuple(patterns)


def _coincidences(config: AttentionConfig) -> Iterator[tuple[Classes, float]]:
    """Yield which of four uniform classes coincide, and the probability; two in self-attention."""
    k = config.classes
    if config.kind == "self":
        yield (0, 0, 0, 0), 1 / k
        if k > 1:
            yield (0, 0, 1, 1), 1 - 1 / k
        return
    for second, third, fourth in product(range(2), range(3), range(4)):
        classes = (0, second, third, fourth)
        if third <= second + 1 and fourth <= max(second, third) + 1 and max(classes) < k:
            yield classes, math.perm(k, max(classes) + 1) / k**4


def _column_cases(config: AttentionConfig, classes: Classes) -> tuple[list[ColumnSigns], NDArray[np.float64]]:
    """Return every kind of column, for D1 and for D0, and the probability of each."""
    named = max(classes) + 1
    others = config.classes - named
    axes = [np.array([-1, 1])] * (2 + named) + [np.arange(others + 1)]
    first, last, *signs, plus = (axis.reshape(-1) for axis in np.meshgrid(*axes, indexing="ij"))
    total = sum(signs, 2 * plus - others)
    binomial = np.array([math.comb(others, count) / 2**others for count in range(others + 1)])
    cases = []
    for query, key in (classes[:2], classes[2:]):
        same = np.full(first.shape, query == key)
        cases.append(ColumnSigns(first, last, total, signs[key], signs[query], same))
    return cases, binomial[plus] / 2 ** (2 + named)
