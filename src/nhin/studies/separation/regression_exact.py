r"""The probability of every outcome by numerical inversion of characteristic functions, without sampling.

Softmax fires on D1 exactly where y is 1 at the spike. Of the other entries only the number P of ones matters,
since their data are exchangeable; given it, D1 and D0 are independent, and a network is silent where a sum of
independent numbers is not positive, such as

.. math::
    \sum_i n^{u_i} (y_i - \tau) \le 0.

The probability of that follows from the characteristic function of one uniform u, by the Fourier series of a
square wave; that softmax and linear are both silent on D0, from one of two variables.

Exact:   for one column. Columns share the data, and m of them are taken as independent: how the data change
         the probability of one column is left out, which a million repeats at n = 100 do not show (3e-4).
Source:  Gil-Pelaez 1951; in several variables Shephard 1991.
"""

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from nhin.errors import UsageError
from nhin.studies.separation.config import HIGH, LOW, SPIKE, RegressionConfig
from nhin.studies.separation.outcomes import BITS, CODES, column_outcomes

Values = NDArray[np.float64]
Complex = NDArray[np.complex128]
_NODES, _NODE_WEIGHTS = np.polynomial.legendre.leggauss(64)
_U = LOW + (HIGH - LOW) * (_NODES + 1) / 2
_NODE_WEIGHTS = _NODE_WEIGHTS / 2
_MAX_DEVIATIONS = 8.5  # standard deviations beyond which the rest is negligible
_ODD = np.arange(1, 96, 2)


@dataclass(frozen=True, slots=True)
class WeightedSum:
    """The sum over entries of weight (at the nodes of u) times (y - tau), plus a constant."""

    weights: Values
    constant: float
    entries: int
    tau: float

    def mean(self, ones: Values) -> Values:
        """Return the mean, given how many y are 1."""
        return self.constant + (self.weights * _NODE_WEIGHTS).sum() * (
            2 * ones - self.entries * (1 + self.tau)
        )

    def deviation(self, ones: Values) -> Values:
        """Return the standard deviation, given how many y are 1."""
        mean = (self.weights * _NODE_WEIGHTS).sum()
        variance = (self.weights**2 * _NODE_WEIGHTS).sum() - mean**2
        factor = ones * (1 - self.tau) ** 2 + (self.entries - ones) * (1 + self.tau) ** 2
        return np.sqrt(np.maximum(variance * factor, 0.0))

    def is_uncertain(self, ones: Values) -> NDArray[np.bool_]:
        """Return where the number of ones alone does not decide the sign."""
        return np.abs(self.mean(ones)) <= _MAX_DEVIATIONS * self.deviation(ones)

    def bound(self, ones: Values) -> float:
        """Return what the sum never exceeds."""
        return float((np.abs(self.mean(ones)) + _MAX_DEVIATIONS * self.deviation(ones)).max())


def exact_outcomes(config: RegressionConfig) -> Values:
    """Return the probability of every outcome, (16,) by code."""
    return column_outcomes(_silence(config.n, config.tau), config.m, config.weights)


def product_deviations(config: RegressionConfig) -> tuple[float, float]:
    """Return the root of the expected squared length of f on D0 over its expected sum: softmax, linear."""
    deviations = []
    for weights in (_powers(config.n), _U):
        mean, square = (weights * _NODE_WEIGHTS).sum(), (weights**2 * _NODE_WEIGHTS).sum()
        deviations.append(math.sqrt(square / config.n) / mean)
    return deviations[0], deviations[1]


@lru_cache(maxsize=1024)
def _silence(n: int, tau: float) -> tuple[float, ...]:
    """Return the probability that one column leaves all networks of a set silent, by code."""
    if not RegressionConfig(n, 1, tau).spike_decides:
        raise UsageError(
            f"tau is {tau:g}, where the exact method does not hold at n = {n}; give less, or use mc"
        )
    counts = np.arange(n + 1)
    probability = np.exp(_log_binomial(n - 1))
    probability /= probability.sum()
    both, exp0, lin0 = _silence_without_spike(n, tau, counts)
    silent = np.zeros(CODES)
    for sign in (-1, 1):  # of y at the spike
        with_spike = WeightedSum(_U, SPIKE * (sign - tau), n - 1, tau)
        lin1 = _not_positive(with_spike, counts[:-1].astype(float))
        total = slice(1, None) if sign > 0 else slice(0, -1)
        for code, (on_exp1, on_lin1, on_exp0, on_lin0) in enumerate(BITS.tolist()):
            if on_exp1 and sign > 0:
                continue
            of_d0 = {(1, 1): both, (1, 0): exp0, (0, 1): lin0}.get((on_exp0, on_lin0))
            chance = probability * (lin1 if on_lin1 else 1.0) * (1.0 if of_d0 is None else of_d0[total])
            silent[code] += chance.sum() / 2
    return tuple(np.minimum(silent, 1.0))


def _silence_without_spike(n: int, tau: float, counts: NDArray[np.int64]) -> tuple[Values, Values, Values]:
    """Return the probability that both, softmax and linear are silent on D0, by the number of ones."""
    ones = counts.astype(float)
    lin, exp = WeightedSum(_U, 0.0, n, tau), WeightedSum(_powers(n), 0.0, n, tau)
    lin0, exp0 = _not_positive(lin, ones), _not_positive(exp, ones)
    both = np.minimum(lin0, exp0)
    # Where one of them is certain, both are silent as often as the other one.
    open_ = lin.is_uncertain(ones) & exp.is_uncertain(ones) & _is_likely(n)
    if open_.any():
        both[open_] = _neither_positive(lin, exp, ones[open_], lin0[open_], exp0[open_])
    return both, exp0, lin0


def _powers(n: int) -> Values:
    """Return n^u, relative to its maximum."""
    return np.exp((_U - HIGH) * math.log(n))


def _not_positive(total: WeightedSum, ones: Values) -> Values:
    """Return the probability that a sum is at most 0, by the number of ones."""
    out = np.where(total.mean(ones) <= 0, 1.0, 0.0)
    open_ = total.is_uncertain(ones) & _is_likely(len(ones) - 1)
    if not open_.any():
        return out
    ones = ones[open_]
    frequency = _ODD * math.pi / total.bound(ones)
    up, down = _log_characteristic(frequency[None] * total.weights[:, None], total.tau)
    wave = _sum_characteristic(up, down, ones, total.entries) * np.exp(1j * frequency * total.constant)
    out[open_] = np.clip((1 - (wave.imag * (4 / (math.pi * _ODD))).sum(-1)) / 2, 0.0, 1.0)
    return out


def _neither_positive(
    one: WeightedSum, two: WeightedSum, ones: Values, first: Values, second: Values
) -> Values:
    """Return the probability that both sums are at most 0, by the number of ones, given that of each."""
    x, y = _ODD * math.pi / one.bound(ones), _ODD * math.pi / two.bound(ones)
    factor = 8 / (math.pi**2 * np.outer(_ODD, _ODD))
    product = np.zeros(len(ones))
    for sign in (-1, 1):
        phase = one.weights[:, None, None] * x[:, None] + sign * two.weights[:, None, None] * y
        up, down = _log_characteristic(phase.reshape(len(_U), -1), one.tau)
        wave = _sum_characteristic(up, down, ones, one.entries).real.reshape(len(ones), *factor.shape)
        product -= sign * (wave * factor).sum((1, 2))
    signs = (1 - 2 * first) + (1 - 2 * second)
    return np.clip((1 - signs + product) / 4, 0.0, np.minimum(first, second))


def _log_characteristic(phase: Values, tau: float) -> tuple[Complex, Complex]:
    """Return the log characteristic function of an entry where y is 1, and where it is -1.

    ``phase`` is frequency times weight: (nodes, frequencies).
    """
    up = (np.exp(1j * (1 - tau) * phase) * _NODE_WEIGHTS[:, None]).sum(0)
    down = (np.exp(-1j * (1 + tau) * phase) * _NODE_WEIGHTS[:, None]).sum(0)
    tiny = np.finfo(np.float64).tiny
    return np.log(up + tiny), np.log(down + tiny)


def _sum_characteristic(up: Complex, down: Complex, ones: Values, entries: int) -> Complex:
    """Return the characteristic function of the sum: (number of ones, frequencies)."""
    return np.exp(ones[:, None] * up + (entries - ones)[:, None] * down)


def _is_likely(n: int) -> NDArray[np.bool_]:
    """Return which numbers of ones among n signs are likely enough to matter."""
    return _log_binomial(n) > math.log(1e-18)


@lru_cache(maxsize=8)
def _log_binomial(n: int) -> Values:
    """Return the log probability of every number of ones among n signs."""
    factorial = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, n + 1)))])
    return factorial[n] - factorial - factorial[::-1] - n * math.log(2)
