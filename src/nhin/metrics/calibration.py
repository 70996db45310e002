r"""Calibration of confidences: of the answers with confidence 80%, 80% should be right.

.. math::
    \mathrm{ECE} = \sum_b \frac{n_b}{n} \left| \mathrm{accuracy}_b - \mathrm{confidence}_b \right|

over bins of equal width.

Source:  Naeini et al. 2015, AAAI; Guo et al. 2017, arXiv:1706.04599, eq. (3).
Differs: nothing.
"""

from dataclasses import dataclass

BINS = 15


@dataclass(frozen=True, slots=True)
class Bin:
    """Answers of similar confidence: their number, mean confidence and accuracy."""

    count: int
    confidence: float
    accuracy: float


class Calibration:
    """Running sums per bin of confidence."""

    def __init__(self, bins: int = BINS) -> None:
        self.counts = [0] * bins
        self.confidence_sums = [0.0] * bins
        self.correct = [0] * bins

    def add(self, confidence: float, correct: bool) -> None:
        """Count one answer; confidence is 0 to 1."""
        i = min(len(self.counts) - 1, max(0, int(confidence * len(self.counts))))
        self.counts[i] += 1
        self.confidence_sums[i] += confidence
        self.correct[i] += correct

    def bins(self) -> list[Bin]:
        """Return the bins that are not empty, by rising confidence."""
        sums = zip(self.counts, self.confidence_sums, self.correct, strict=True)
        return [Bin(count, total / count, correct / count) for count, total, correct in sums if count]

    def ece(self) -> float:
        """Return the expected calibration error, 0 to 1; 0 without answers."""
        total = max(1, sum(self.counts))
        return sum(b.count * abs(b.accuracy - b.confidence) for b in self.bins()) / total
