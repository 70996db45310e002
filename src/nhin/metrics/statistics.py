r"""Confidence intervals of means, and straight lines fitted to measurements.

.. math::
    \bar x \pm t_{n-1} \frac{s}{\sqrt n}

where :math:`t_{n-1}` is the two-sided quantile of Student's t with n - 1 degrees of freedom.

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
    """A mean and half the width of its confidence interval, infinite for one value."""

    mean: float
    half_width: float

    @property
    def low(self) -> float:
        """The lower end."""
        return self.mean - self.half_width

    @property
    def high(self) -> float:
        """The upper end."""
        return self.mean + self.half_width


@dataclass(frozen=True, slots=True)
class LinearFit:
    """A line fitted by least squares: ``start`` is its value at 0, ``fit`` is R squared."""

    start: float
    slope: float
    fit: float

    def predict(self, x: float) -> float:
        """Return the value at ``x``."""
        return self.start + self.slope * x


def confidence_interval(values: Sequence[float], confidence: float = CONFIDENCE) -> Interval:
    """Return the mean of values and its confidence interval."""
    return weigh_means([values], [1.0], confidence)


def weigh_means(
    samples: Sequence[Sequence[float]], weights: Sequence[float], confidence: float = CONFIDENCE
) -> Interval:
    """Return a weighted sum of the means of samples and its confidence interval.

    Welch 1947, "The generalization of 'Student's' problem when several different population variances are
    involved": the variances may differ.
    """
    means = [math.fsum(values) / len(values) for values in samples]
    total = math.fsum(weight * mean for weight, mean in zip(weights, means, strict=True))
    if any(len(values) == 1 for values in samples):
        return Interval(total, math.inf)
    parts = [
        weight**2 * math.fsum((value - mean) ** 2 for value in values) / (len(values) * (len(values) - 1))
        for weight, mean, values in zip(weights, means, samples, strict=True)
    ]
    variance = math.fsum(parts)
    if not variance:
        return Interval(total, 0.0)
    spread = math.fsum(
        (part / variance) ** 2 / (len(values) - 1) for part, values in zip(parts, samples, strict=True)
    )
    dof = int(1 / spread + 1e-9)  # rounded down, but for the error of the division
    return Interval(total, t_quantile(dof, confidence) * math.sqrt(variance))


def fit_line(xs: Sequence[float], ys: Sequence[float]) -> LinearFit:
    """Fit a line to points with at least two different ``xs``."""
    x, y = math.fsum(xs) / len(xs), math.fsum(ys) / len(ys)
    points = list(zip(xs, ys, strict=True))
    slope = math.fsum((a - x) * (b - y) for a, b in points) / math.fsum((a - x) ** 2 for a in xs)
    start = y - slope * x
    residual = math.fsum((b - start - slope * a) ** 2 for a, b in points)
    total = math.fsum((b - y) ** 2 for b in ys)
    return LinearFit(start, slope, 1 - residual / total if total else 1.0)


def slope_weights(xs: Sequence[float]) -> list[float]:
    """Return how much each value counts in the slope of ``fit_line``; zeros where all ``xs`` are equal."""
    middle = math.fsum(xs) / len(xs)
    spread = math.fsum((x - middle) ** 2 for x in xs) or 1.0
    return [(x - middle) / spread for x in xs]


def t_quantile(dof: int, confidence: float = CONFIDENCE) -> float:
    """Return the bound on the absolute value of Student's t for a confidence from 0 to less than 1."""
    low, high = 0.0, math.pi / 2
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        low, high = (middle, high) if _t_probability(middle, dof) < confidence else (low, middle)
    return math.sqrt(dof) * math.tan(low)


def _t_probability(angle: float, dof: int) -> float:
    """Return the probability that the absolute value of t is below sqrt(dof) * tan(angle)."""
    sine, cosine = math.sin(angle), math.cos(angle)
    odd = dof % 2
    term, total = cosine if odd else 1.0, 0.0
    for power in range(2 + odd, dof + 1, 2):
        total += term
        term *= cosine**2 * (power - 1) / power
    return 2 / math.pi * (angle + sine * total) if odd else sine * total


def ratio(numerator: float, denominator: int) -> float:
    """Return the quotient, or 0 for a denominator of 0."""
    return numerator / denominator if denominator else 0.0
