"""The paper's test for other kernels, with the same data and the same random y for all of them.

A network fires where the largest inner product of a row of C and a column of y exceeds the threshold. How
well that separates D1 from D0 is measured twice: by P_sep, the probability of firing on D1 times that of
silence on D0, which depends on the threshold; and by the area under the ROC curve (AUC), the probability that
the largest inner product is larger on D1 than on D0, which does not.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Annotated

import numpy as np
import torch
from numpy.random import SeedSequence
from numpy.typing import NDArray

from nhin.config import check_fields
from nhin.errors import UsageError
from nhin.ranges import SEED, Range
from nhin.studies.separation.config import AttentionConfig
from nhin.studies.separation.kernels_study.attention_kernels import Attend, select_kernels
from nhin.studies.separation.outcomes import GUARD
from nhin.studies.separation.reference import build_matrix, build_queries
from nhin.studies.separation.samples import draw_attention

Products = NDArray[np.float64]  # (draws, ys): the largest inner products
_MAX_PRODUCTS = 1 << 26  # formed at once: half a gigabyte
_MAX_SPIKES = 1000
_CURVE = tuple(round(0.1 + 0.1 * step, 1) for step in range(30))


@dataclass(frozen=True, slots=True)
class KernelTest:
    """The settings of the test."""

    setting: AttentionConfig = field(default_factory=AttentionConfig)  # its a1 is not used
    spikes: tuple[Annotated[float, Range(0, 1e3)], ...] = (0.8, 1.2, 2.0, 3.0)  # the sizes a1 in the table
    curve: tuple[Annotated[float, Range(0, 1e3)], ...] = _CURVE  # further ones in the figure
    draws: Annotated[int, Range(1, 1000)] = 10  # how often rows of spikes and random features are drawn
    ys: Annotated[int, Range(1, 10**5)] = 100  # how many y are drawn for each
    names: tuple[str, ...] = ()  # the kernels; all when empty
    seed: Annotated[int, SEED] = 0

    def __post_init__(self) -> None:
        check_fields(self)
        if not 1 <= len(self.spikes) + len(self.curve) <= _MAX_SPIKES:
            raise UsageError(f"give 1 to {_MAX_SPIKES} sizes of the spike")
        for a1 in self.all_spikes:
            replace(self.setting, a1=a1)  # checks it
        if self.setting.inner != "eye" or self.setting.weights != "shared":
            raise UsageError("kernels are compared with X = I and one y for all networks")
        n, columns = self.setting.n, self.ys * self.setting.m
        if max(n * n, n * columns, self.setting.d * columns) > _MAX_PRODUCTS:
            raise UsageError(
                f"n is {n}, with {columns} columns of y at once: n x n matrices and the inner products of "
                f"all rows and columns may have {_MAX_PRODUCTS} numbers, so lower n, m or ys"
            )
        select_kernels(self.names)

    @property
    def all_spikes(self) -> tuple[float, ...]:
        """All sizes of the spike, ascending."""
        return tuple(sorted({*self.spikes, *self.curve}))


@dataclass(frozen=True, slots=True)
class Estimate:
    """A number and its standard error over the draws of spikes; None from a single draw."""

    value: float
    error: float | None


@dataclass(frozen=True, slots=True)
class KernelScore:
    """One kernel at one size of the spike: how often it fires on D1 and D0, P_sep and AUC."""

    kernel: str
    a1: float
    fires1: Estimate
    fires0: Estimate
    separates: Estimate
    auc: Estimate


def measure_kernels(
    test: KernelTest, on_progress: Callable[[str], None] = lambda line: None
) -> list[KernelScore]:
    """Test all kernels, in the order of the table, spikes ascending; ``on_progress`` gets a line for each."""
    seeds = SeedSequence(test.seed).spawn(test.draws)
    scores: list[KernelScore] = []
    kernels = select_kernels(test.names)
    for number, kernel in enumerate(kernels, 1):
        draws = [_max_products(test, kernel.make(test.setting.d, _kernel_seed(seed)), seed) for seed in seeds]
        zeros = np.stack([zero for zero, _ in draws])
        for at, a1 in enumerate(test.all_spikes):
            ones = np.stack([one[at] for _, one in draws])
            scores.append(_score_kernel(test, kernel.name, a1, ones, zeros))
        on_progress(f"{number}/{len(kernels)} {kernel.title}")
    return scores


def auc(ones: Products, zeros: Products) -> float:
    """Return how often one of the first is larger than one of the second; equal ones count half."""
    ordered = np.sort(zeros, axis=None)
    below, upto = (np.searchsorted(ordered, ones.ravel(), side) for side in ("left", "right"))
    return float((below + upto).mean() / (2 * ordered.size))


def jackknife(statistic: Callable[[Products, Products], float], ones: Products, zeros: Products) -> Estimate:
    """Return a statistic of all draws, and its error from leaving out each draw in turn."""
    value, draws = statistic(ones, zeros), len(ones)
    if draws == 1:
        return Estimate(value, None)
    left_out = [statistic(np.delete(ones, i, 0), np.delete(zeros, i, 0)) for i in range(draws)]
    return Estimate(value, math.sqrt((draws - 1) * float(np.var(left_out))))


def _score_kernel(test: KernelTest, kernel: str, a1: float, ones: Products, zeros: Products) -> KernelScore:
    def rate(products: Products) -> float:
        return float((products > test.setting.threshold + GUARD).mean())

    statistics = (
        lambda ones, zeros: rate(ones),
        lambda ones, zeros: rate(zeros),
        lambda ones, zeros: rate(ones) * (1 - rate(zeros)),
        auc,
    )
    return KernelScore(kernel, a1, *(jackknife(statistic, ones, zeros) for statistic in statistics))


def _max_products(test: KernelTest, attend: Attend, seed: SeedSequence) -> tuple[Products, list[Products]]:
    """Return the largest inner product with each y of one draw: on D0, and on D1 for every spike."""
    config = test.setting
    samples = next(draw_attention(config, test.ys, seed, block=_MAX_PRODUCTS))
    # In torch, whose threads the mechanisms use too: with numpy's beside them all are four times as slow.
    y = torch.from_numpy(np.moveaxis(samples.signs[:, 0], 0, 1).reshape(config.d, -1).astype(np.float64))
    query1, key1, query0, key0 = map(int, samples.rows[0])

    def largest(a: float, query: int, key: int) -> Products:
        keys = build_matrix(config, a, key)
        queries = keys if config.kind == "self" else build_queries(config, a, query, samples.order[0])
        products = (torch.from_numpy(attend(queries, keys, keys)) @ y).numpy() / math.sqrt(config.log_n)
        # Rounded, so that equal numbers are equal in whatever order they were summed.
        return products.reshape(config.n, test.ys, config.m).max((0, 2)).round(11)

    return largest(config.a0, query0, key0), [largest(a1, query1, key1) for a1 in test.all_spikes]


def _kernel_seed(seed: SeedSequence) -> int:
    """Return the seed of a kernel's random features, independent of the data and of y."""
    child = SeedSequence(seed.entropy, spawn_key=(*seed.spawn_key, 3))
    return int(child.generate_state(1)[0])


def kernel_titles(scores: Sequence[KernelScore]) -> dict[str, str]:
    """Return the titles of the kernels that were measured, by name."""
    return {kernel.name: kernel.title for kernel in select_kernels(dict.fromkeys(s.kernel for s in scores))}
