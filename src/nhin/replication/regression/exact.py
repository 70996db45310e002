r"""The probability of every outcome by numerical inversion of characteristic functions: nothing is drawn.

Softmax fires on D1 exactly where y is 1 at the spike. Of the other places only the number P of ones matters,
since their data are exchangeable; given it, D1 and D0 are independent, and a network is silent where a sum of
independent numbers is not positive, such as

.. math::
    \sum_i n^{u_i} (y_i - \tau) \le 0.

The chance of that follows from the characteristic function of one uniform u, by the Fourier series of a
square wave; that softmax and linear are both silent on D0, from one of two variables.

Exact:   for one column. Columns share the data, and m of them are taken as independent: what the data change
         in the chance of one column is left out, which a million repeats at n = 100 cannot tell (3e-4).
Source:  Gil-Pelaez 1951; in several variables Shephard 1991.
"""

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from nhin.errors import UsageError
from nhin.replication.nets import CODES, NETS, outcomes_apart, outcomes_of
from nhin.replication.regression.setting import HIGH, LOW, SPIKE, Setting

Values = NDArray[np.float64]
Complex = NDArray[np.complex128]
_NODES, _SHARES = np.polynomial.legendre.leggauss(64)
_U = LOW + (HIGH - LOW) * (_NODES + 1) / 2
_SHARES = _SHARES / 2
_FAR = 8.5  # standard deviations beyond which nothing is left
_ODD = np.arange(1, 96, 2)


@dataclass(frozen=True, slots=True)
class Sum:
    """A sum over places of what they weigh times y - tau, and of something fixed.

    Args:
        weights: What a place weighs, at the nodes of u.
        fixed: What is added.
        places: How many are summed.
        tau: The threshold.
    """

    weights: Values
    fixed: float
    places: int
    tau: float

    def mean(self, plus: Values) -> Values:
        """Return the mean, given how many y are 1."""
        return self.fixed + (self.weights * _SHARES).sum() * (2 * plus - self.places * (1 + self.tau))

    def sd(self, plus: Values) -> Values:
        """Return the standard deviation, given how many y are 1."""
        mean = (self.weights * _SHARES).sum()
        variance = (self.weights**2 * _SHARES).sum() - mean**2
        factor = plus * (1 - self.tau) ** 2 + (self.places - plus) * (1 + self.tau) ** 2
        return np.sqrt(np.maximum(variance * factor, 0.0))

    def open(self, plus: Values) -> NDArray[np.bool_]:
        """Return where the number of ones alone does not decide the sign."""
        return np.abs(self.mean(plus)) <= _FAR * self.sd(plus)

    def reach(self, plus: Values) -> float:
        """Return what the sum never exceeds."""
        return float((np.abs(self.mean(plus)) + _FAR * self.sd(plus)).max())


def outcomes(setting: Setting) -> Values:
    """Return how likely exactly each set of networks fires, by code: (16,).

    Raises:
        UsageError: tau is so near 1 that the spike alone does not decide.
    """
    silent = np.array(_silent(setting.n, setting.tau)) ** setting.m
    return (outcomes_of if setting.weights == "shared" else outcomes_apart)(silent)


def spread(setting: Setting) -> tuple[float, float]:
    """Return how far inner products on D0 are spread around 0, for softmax and for linear attention.

    The root of the expected squared length of f, its sum being what is expected.
    """
    far = []
    for weights in (_raised(setting.n), _U):
        mean, square = (weights * _SHARES).sum(), (weights**2 * _SHARES).sum()
        far.append(math.sqrt(square / setting.n) / mean)
    return far[0], far[1]


@lru_cache(maxsize=1024)
def _silent(n: int, tau: float) -> tuple[float, ...]:
    """Return how likely one column leaves all networks of a set silent, by code."""
    if not Setting(n, 1, tau).spike_decides:
        raise UsageError(
            f"tau is {tau:g}, where the exact method does not hold at n = {n}; give less, or use mc"
        )
    plus = np.arange(n + 1)
    likely = np.exp(_log_binomial(n - 1))
    likely /= likely.sum()
    both, exp0, lin0 = _without_spike(n, tau, plus)
    silent = np.zeros(CODES)
    for at_spike in (-1, 1):
        spiked = Sum(_U, SPIKE * (at_spike - tau), n - 1, tau)
        lin1 = _not_positive(spiked, plus[:-1].astype(float))
        seen = slice(1, None) if at_spike > 0 else slice(0, -1)
        for code in range(CODES):
            needs = dict(zip(NETS, ((code >> bit) & 1 for bit in range(len(NETS))), strict=True))
            if needs["exp1"] and at_spike > 0:
                continue
            of_d0 = {(1, 1): both, (1, 0): exp0, (0, 1): lin0}.get((needs["exp0"], needs["lin0"]))
            chance = likely * (lin1 if needs["lin1"] else 1.0) * (1.0 if of_d0 is None else of_d0[seen])
            silent[code] += chance.sum() / 2
    return tuple(np.minimum(silent, 1.0))


def _without_spike(n: int, tau: float, plus: NDArray[np.int64]) -> tuple[Values, Values, Values]:
    """Return how likely both networks, softmax and linear are silent on D0, by the number of ones."""
    ones = plus.astype(float)
    lin, exp = Sum(_U, 0.0, n, tau), Sum(_raised(n), 0.0, n, tau)
    lin0, exp0 = _not_positive(lin, ones), _not_positive(exp, ones)
    both = np.minimum(lin0, exp0)
    # Where either is decided, both are silent as often as the other one.
    unsure = lin.open(ones) & exp.open(ones) & _matters(n)
    if unsure.any():
        both[unsure] = _neither_positive(lin, exp, ones[unsure], lin0[unsure], exp0[unsure])
    return both, exp0, lin0


def _raised(n: int) -> Values:
    """Return what softmax makes of u, n^u, relative to the largest it can be."""
    return np.exp((_U - HIGH) * math.log(n))


def _not_positive(total: Sum, plus: Values) -> Values:
    """Return how likely a sum is at most 0, by the number of ones."""
    out = np.where(total.mean(plus) <= 0, 1.0, 0.0)
    unsure = total.open(plus) & _matters(len(plus) - 1)
    if not unsure.any():
        return out
    ones = plus[unsure]
    pitch = _ODD * math.pi / total.reach(ones)
    up, down = _one(pitch[None] * total.weights[:, None], total.tau)
    wave = _power(up, down, ones, total.places) * np.exp(1j * pitch * total.fixed)
    out[unsure] = np.clip((1 - (wave.imag * (4 / (math.pi * _ODD))).sum(-1)) / 2, 0.0, 1.0)
    return out


def _neither_positive(one: Sum, two: Sum, plus: Values, first: Values, second: Values) -> Values:
    """Return how likely both sums are at most 0, by the number of ones, given how likely each is."""
    x, y = _ODD * math.pi / one.reach(plus), _ODD * math.pi / two.reach(plus)
    factor = 8 / (math.pi**2 * np.outer(_ODD, _ODD))
    product = np.zeros(len(plus))
    for sign in (-1, 1):
        phase = one.weights[:, None, None] * x[:, None] + sign * two.weights[:, None, None] * y
        up, down = _one(phase.reshape(len(_U), -1), one.tau)
        wave = _power(up, down, plus, one.places).real.reshape(len(plus), *factor.shape)
        product -= sign * (wave * factor).sum((1, 2))
    signs = (1 - 2 * first) + (1 - 2 * second)
    return np.clip((1 - signs + product) / 4, 0.0, np.minimum(first, second))


def _one(phase: Values, tau: float) -> tuple[Complex, Complex]:
    """Return the logarithm of the characteristic function of one place where y is 1, and where it is -1.

    Args:
        phase: (nodes, frequencies): frequency times weight.
        tau: The threshold.
    """
    up = (np.exp(1j * (1 - tau) * phase) * _SHARES[:, None]).sum(0)
    down = (np.exp(-1j * (1 + tau) * phase) * _SHARES[:, None]).sum(0)
    tiny = np.finfo(np.float64).tiny
    return np.log(up + tiny), np.log(down + tiny)


def _power(up: Complex, down: Complex, plus: Values, places: int) -> Complex:
    """Return the characteristic function of the sum: (number of ones, frequencies)."""
    return np.exp(plus[:, None] * up + (places - plus)[:, None] * down)


def _matters(n: int) -> NDArray[np.bool_]:
    """Return which numbers of ones among n signs are likely enough to matter."""
    return _log_binomial(n) > math.log(1e-18)


@lru_cache(maxsize=8)
def _log_binomial(n: int) -> Values:
    """Return the logarithm of the chance of every number of ones among n signs."""
    factorial = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, n + 1)))])
    return factorial[n] - factorial - factorial[::-1] - n * math.log(2)
