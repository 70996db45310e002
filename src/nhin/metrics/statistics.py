r"""Means with intervals, and straight lines: what a few repeated measurements say, and what they leave open.

.. math::
    \bar x \pm t_{n-1} \frac{s}{\sqrt n}

where :math:`t_{n-1}` is what Student's t with n - 1 degrees of freedom stays within as often as is asked.

Source:  Student 1908, "The probable error of a mean"; the distribution in closed form: Abramowitz and Stegun
         1964, 26.7.3 and 26.7.4.
Differs: nothing.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

CONFIDENCE = 0.95
_BISECTIONS = 60


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean, and how far on either side of it the true one may lie; infinite from one value."""

    mean: float
    half_width: float

    @property
    def low(self) -> float:
        """Where it begins."""
        return self.mean - self.half_width

    @property
    def high(self) -> float:
        """Where it ends."""
        return self.mean + self.half_width


@dataclass(frozen=True, slots=True)
class LinearFit:
    """The straight line through some points with the least squares.

    Args:
        start: Its height at 0.
        slope: How much it rises for 1.
        fit: R squared: the share of the heights' variance that it explains.
    """

    start: float
    slope: float
    fit: float

    def predict(self, x: float) -> float:
        """Return its height at a place."""
        return self.start + self.slope * x


def confidence_interval(values: Sequence[float], confidence: float = CONFIDENCE) -> Interval:
    """Return the mean of some values, and where the true mean lies with a confidence."""
    mean, count = math.fsum(values) / len(values), len(values)
    if count == 1:
        return Interval(mean, math.inf)
    spread = math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (count - 1))
    return Interval(mean, t_quantile(count - 1, confidence) * spread / math.sqrt(count))


def fit_line(xs: Sequence[float], ys: Sequence[float]) -> LinearFit:
    """Fit a straight line to points that have at least two different places."""
    x, y = math.fsum(xs) / len(xs), math.fsum(ys) / len(ys)
    across = math.fsum((one - x) ** 2 for one in xs)
    slope = math.fsum((one - x) * (two - y) for one, two in zip(xs, ys, strict=True)) / across
    start = y - slope * x
    left = math.fsum((two - start - slope * one) ** 2 for one, two in zip(xs, ys, strict=True))
    whole = math.fsum((two - y) ** 2 for two in ys)
    return LinearFit(start, slope, 1 - left / whole if whole else 1.0)


def t_quantile(dof: int, confidence: float = CONFIDENCE) -> float:
    """Return within which distance of 0 Student's t stays with a confidence from 0 to less than 1."""
    low, high = 0.0, math.pi / 2
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        low, high = (middle, high) if _t_probability(middle, dof) < confidence else (low, middle)
    return math.sqrt(dof) * math.tan(low)


def _t_probability(angle: float, dof: int) -> float:
    """Return how often t stays within sqrt(freedom) * tan(angle): a finite sum for every whole freedom."""
    sine, cosine = math.sin(angle), math.cos(angle)
    odd = dof % 2
    term, total = cosine if odd else 1.0, 0.0
    for power in range(2 + odd, dof + 1, 2):
        total += term
        term *= cosine**2 * (power - 1) / power
    return 2 / math.pi * (angle + sine * total) if odd else sine * total
