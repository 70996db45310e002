r"""Calibrated confidences: how often a text or a character like this one is right.

.. math::
    \operatorname{logit} q = a \ln p - b \ln(1 - p) + c \ln n + d, \qquad a, b \ge 0

p is the network's probability of a character or of a whole text, n the number of characters of the text, and
q the confidence. At equal length a larger p never gives a smaller q. A text whose mean probability over its
characters and its end, :math:`p^{1 / (n + 1)}`, is not above a floor is dropped: networks invent such texts
for pictures without text.

Source:  Kull, Silva Filho and Flach 2017, AISTATS, "Beta calibration".
Differs: the term with the length; p is kept 1e-30 away from 0 and 1e-6 away from 1.
"""

from dataclasses import dataclass, field, replace
from typing import Annotated

import numpy as np
from numpy.typing import NDArray

from nhin.ranges import Range
from nhin.reading.result import Recognition

MIN_CONFIDENCE = 0.55
"""Geometric mean of the confidences of a line's characters below which a reader leaves it out."""
_LEAST, _LEAST_COMPLEMENT = 1e-30, 1e-6
_SLOPE, _SHIFT = Range(0, 1000), Range(-1000, 1000)


@dataclass(frozen=True, slots=True)
class ConfidenceMap:
    """The map from p to q; the default changes nothing.

    Args:
        low: a, the slope of logit q against logit p where p is near 0.
        high: b, the slope where p is near 1.
        length: c.
        offset: d.
    """

    low: Annotated[float, _SLOPE] = 1.0
    high: Annotated[float, _SLOPE] = 1.0
    length: Annotated[float, _SHIFT] = 0.0
    offset: Annotated[float, _SHIFT] = 0.0

    def __call__(self, p: NDArray[np.float64], lengths: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the confidences (0 to 1) of probabilities in texts of so many characters."""
        logits = list_terms(p, lengths) @ np.array((self.low, self.high, self.length, self.offset))
        return np.exp(-np.logaddexp(0.0, -logits))


def list_terms(p: NDArray[np.float64], lengths: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the four terms that a, b, c and d multiply, in a last axis."""
    logs = np.log(np.maximum(p, _LEAST)), -np.log(np.maximum(1 - p, _LEAST_COMPLEMENT))
    return np.stack(np.broadcast_arrays(*logs, np.log(lengths), 1.0), axis=-1)


@dataclass(frozen=True, slots=True)
class ReadingCalibration:
    """The maps of one mode of reading, and the floor of the mean probability of a text."""

    chars: ConfidenceMap = field(default_factory=ConfidenceMap)
    lines: ConfidenceMap = field(default_factory=ConfidenceMap)
    floor: Annotated[float, Range(0, 1)] = 0.0

    def apply(self, recognition: Recognition) -> Recognition:
        """Return a reading with calibrated confidences; without text if it is not above the floor."""
        if not recognition.text or mean_probability(recognition) <= self.floor:
            return Recognition("", 0.0)
        length = np.array(float(len(recognition.text)))
        confidences = self.chars(np.array([char.confidence for char in recognition.chars]), length)
        chars = tuple(
            replace(char, confidence=float(confidence))
            for char, confidence in zip(recognition.chars, confidences, strict=True)
        )
        confidence = float(self.lines(np.array(recognition.confidence), length))
        return replace(recognition, confidence=confidence, chars=chars)


def mean_probability(recognition: Recognition) -> float:
    """Return the geometric mean of the probabilities of a text's characters and of its end."""
    return recognition.confidence ** (1 / (len(recognition.text) + 1))
