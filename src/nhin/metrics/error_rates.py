r"""Error rates and accuracies of recognized text.

With N true characters, and S substituted, D missing, I extra ones on the alignment of fewest edits:

.. math::
    \mathrm{CER} = \frac{S + D + I}{N}, \qquad
    \text{character accuracy} = \frac{N - S - D}{N}

so the two add up to one plus the share of extra characters. Both are sums over all crops, not means of each
crop's rate; CER may exceed 1.

``word_accuracy`` is the share of crops read exactly; ``wer`` counts edits of words split at white space, over
all true words. Every figure is computed strictly (NFC, case and punctuation count), ignoring case
(``_no_case``), and ignoring Vietnamese marks and tones but not case (``_no_marks``).
"""

from collections.abc import Callable, Sequence

import numpy as np

from nhin.metrics.edit_distance import align_texts, edit_distance
from nhin.metrics.statistics import ratio
from nhin.text.letters import nfc, strip_marks

NORMALIZERS: dict[str, Callable[[str], str]] = {
    "": nfc,
    "_no_case": lambda text: nfc(nfc(text).lower()),
    "_no_marks": strip_marks,
}
"""Normalization of both texts before the comparison, by the suffix of a figure's name."""

BLOCK = 50
FIGURES = ("word_accuracy", "char_accuracy", "cer", "wer", "mean_edit_distance")


class ErrorRates:
    """Running sums of one comparison; ``normalize`` is applied to both texts."""

    def __init__(self, normalize: Callable[[str], str] = nfc) -> None:
        self.normalize = normalize
        self.crops = self.exact = self.edits = self.matched = self.characters = 0
        self.word_edits = self.words = 0

    def add(self, read: str, true: str) -> None:
        """Count one crop."""
        read, true = self.normalize(read), self.normalize(true)
        pairs = align_texts(read, true)
        matched = sum(a == b for a, b in pairs)
        self.crops += 1
        self.exact += read == true
        self.matched += matched
        self.edits += len(pairs) - matched
        self.characters += len(true)
        self.word_edits += 0 if read == true else edit_distance(read.split(), true.split())
        self.words += len(true.split())

    def figures(self) -> dict[str, float]:
        """Return the ``FIGURES``; a ratio over 0 is 0."""
        sums = (
            (self.exact, self.crops),
            (self.matched, self.characters),
            (self.edits, self.characters),
            (self.word_edits, self.words),
            (self.edits, self.crops),
        )
        return {name: ratio(*pair) for name, pair in zip(FIGURES, sums, strict=True)}


class Score:
    """All figures in all forms, one crop at a time."""

    def __init__(self) -> None:
        self.rates = {suffix: ErrorRates(normalize) for suffix, normalize in NORMALIZERS.items()}

    def add(self, read: str, true: str) -> None:
        """Count one crop: its recognized and its true text, in any Unicode form."""
        for rates in self.rates.values():
            rates.add(read, true)

    def figures(self) -> dict[str, float]:
        """Return every figure by name and suffix, like ``cer_no_case``."""
        rates = self.rates.items()
        return {name + suffix: value for suffix, rate in rates for name, value in rate.figures().items()}


def cer(read: str, true: str) -> float:
    """Return the character error rate of one text; if the true text is empty, the length of the read one."""
    return edit_distance(nfc(read), nfc(true)) / max(1, len(nfc(true)))


def measure_interval(right: Sequence[bool], block: int = BLOCK) -> tuple[float, float]:
    """Return a 95% interval of the share of right answers, by the spread over blocks of neighbors.

    Neighboring crops come from one photograph, so they are right or wrong together: an interval of single
    crops would be too narrow.

    Args:
        right: Whether each answer is right, in the order of the crops.
        block: Crops in a block; the last block may have fewer.
    """
    values = np.asarray(right, np.float64)
    share = float(values.mean()) if len(values) else 0.0
    starts = np.arange(0, len(values), block)
    if len(starts) < 2:
        return 0.0, 1.0
    residuals = np.add.reduceat(values - share, starts)
    error = float(np.sqrt((residuals**2).sum() * len(starts) / (len(starts) - 1))) / len(values)
    return max(0.0, share - 1.96 * error), min(1.0, share + 1.96 * error)
