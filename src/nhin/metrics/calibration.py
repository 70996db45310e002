r"""Calibration of confidences: of the answers with confidence 80%, 80% should be right.

.. math::
    \mathrm{ECE} = \sum_b \frac{n_b}{n} \left| \mathrm{accuracy}_b - \mathrm{confidence}_b \right|, \quad
    \mathrm{Brier} = \frac1n \sum_i (q_i - y_i)^2, \quad
    \mathrm{log\ loss} = -\frac1n \sum_i \ln(y_i q_i + (1 - y_i)(1 - q_i))

over ``BINS`` bins of equal width; q is a confidence, y is 1 for a right answer and 0 for a wrong one. Chance
alone gives an ECE above 0: about :math:`\sum_b \sqrt{2 v_b / \pi} / n` where the confidences are true
probabilities, with the variance :math:`v_b = \sum_{i \in b} q_i (1 - q_i)`.

Source:  Naeini et al. 2015, AAAI; Guo et al. 2017, arXiv:1706.04599, eq. (3); Brier 1950, Monthly Weather
         Review 78(1).
Differs: the log loss counts a confidence as at least 1e-6 away from 0 and 1.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nhin.metrics.statistics import ratio

BINS = 15
THRESHOLDS = (0.0, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99)
_LEAST = 1e-6


@dataclass(frozen=True, slots=True)
class Bin:
    """Answers of similar confidence: their number, mean confidence and accuracy."""

    count: int
    confidence: float
    accuracy: float


@dataclass(frozen=True, slots=True)
class AnswerRate:
    """The answers of a confidence above ``threshold``: their share of all, the share right, and how many are
    wrong.
    """

    threshold: float
    answered: float
    accuracy: float
    wrong: int


@dataclass(frozen=True, slots=True)
class CalibrationFigures:
    """How far confidences agree with accuracy; all are 0 without answers.

    Args:
        count: Answers.
        accuracy: The share of them that is right.
        confidence: Their mean confidence.
        ece: Expected calibration error, 0 to 1.
        ece_by_chance: What confidences that are true probabilities have on average in so many answers.
        brier: Mean square of confidence minus rightness.
        log_loss: In nats.
        bins: Those that are not empty, by rising confidence.
        answers: One for each of ``THRESHOLDS``.
    """

    count: int
    accuracy: float
    confidence: float
    ece: float
    ece_by_chance: float
    brier: float
    log_loss: float
    bins: tuple[Bin, ...]
    answers: tuple[AnswerRate, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return everything for JSON."""
        return asdict(self)


def measure_calibration(
    confidences: Sequence[float] | NDArray[np.float64], right: Sequence[bool] | NDArray[np.bool_]
) -> CalibrationFigures:
    """Compare the confidences of answers (0 to 1; 0 for no answer) with which of them are right."""
    q, y = np.asarray(confidences, np.float64), np.asarray(right, np.float64)
    count = len(q)
    index = np.minimum(BINS - 1, (q * BINS).astype(int))
    counts, sums, hits, variances = (
        np.bincount(index, weights, BINS) for weights in (np.ones(count), q, y, q * (1 - q))
    )
    chances = np.minimum(2 * variances, np.sqrt(2 * variances / np.pi))
    filled = np.flatnonzero(counts)
    safe = np.clip(q, _LEAST, 1 - _LEAST)
    return CalibrationFigures(
        count=count,
        accuracy=ratio(float(y.sum()), count),
        confidence=ratio(float(q.sum()), count),
        ece=ratio(float(abs(sums - hits).sum()), count),
        ece_by_chance=ratio(float(chances.sum()), count),
        brier=ratio(float(((q - y) ** 2).sum()), count),
        log_loss=ratio(float(-np.log(np.where(y > 0, safe, 1 - safe)).sum()), count),
        bins=tuple(
            Bin(int(counts[b]), float(sums[b] / counts[b]), float(hits[b] / counts[b])) for b in filled
        ),
        answers=tuple(_measure_rate(q, y, threshold) for threshold in THRESHOLDS),
    )


def _measure_rate(q: NDArray[np.float64], y: NDArray[np.float64], threshold: float) -> AnswerRate:
    chosen = y[q > threshold]
    wrong = len(chosen) - int(chosen.sum())
    return AnswerRate(threshold, ratio(len(chosen), len(q)), ratio(len(chosen) - wrong, len(chosen)), wrong)
