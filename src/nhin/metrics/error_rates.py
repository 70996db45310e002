r"""Error rates and accuracies of read text, added up one crop at a time.

With N true characters, and S substituted, D missing, I extra ones on the alignment of fewest edits:

.. math::
    \mathrm{CER} = \frac{S + D + I}{N}, \qquad
    \text{character accuracy} = \frac{N - S - D}{N}

so the two add up to one plus the share of extra characters (a report that states CER 35.94% and character
accuracy 65.59% wrote 1.53 extra characters for each 100 true ones). Both are sums over all crops, not
means of each crop's rate; CER may exceed 1.

``word_accuracy`` is the share of crops read exactly, whatever they hold; ``wer`` counts edits of words split
at white space, over all true words. Every figure comes strict (NFC, case and punctuation count), ignoring
case (``_no_case``), and ignoring Vietnamese marks and tones but not case (``_no_marks``).
"""

from collections.abc import Callable

from nhin.metrics.edit_distance import align_texts, edit_distance
from nhin.text.letters import nfc, strip_marks

NORMALIZERS: dict[str, Callable[[str], str]] = {
    "": nfc,
    "_no_case": lambda text: nfc(nfc(text).lower()),
    "_no_marks": strip_marks,
}
"""What is done to both texts before they are compared, by the ending of a figure's name."""

FIGURES = ("word_accuracy", "char_accuracy", "cer", "wer", "mean_edit_distance")


class ErrorRates:
    """Running sums of one form of comparison."""

    def __init__(self, normalize: Callable[[str], str] = nfc) -> None:
        """Begin with nothing read; ``normalize`` is done to both texts before they are compared."""
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
        """Return the ``FIGURES``; a rate over nothing is 0."""
        sums = (
            (self.exact, self.crops),
            (self.matched, self.characters),
            (self.edits, self.characters),
            (self.word_edits, self.words),
            (self.edits, self.crops),
        )
        return {name: top / low if low else 0.0 for name, (top, low) in zip(FIGURES, sums, strict=True)}


class Score:
    """All figures in all forms, added up one crop at a time."""

    def __init__(self) -> None:
        """Begin with nothing read."""
        self.rates = {ending: ErrorRates(form) for ending, form in NORMALIZERS.items()}

    def add(self, read: str, true: str) -> None:
        """Count one crop: what was read and what is true, in any Unicode form."""
        for rates in self.rates.values():
            rates.add(read, true)

    def figures(self) -> dict[str, float]:
        """Return every figure under its name and ending, such as ``cer_no_case``."""
        return {
            name + ending: value
            for ending, rates in self.rates.items()
            for name, value in rates.figures().items()
        }


def cer(read: str, true: str) -> float:
    """Return the character error rate of one text; of an empty truth, the count of extra characters."""
    return edit_distance(nfc(read), nfc(true)) / max(1, len(nfc(true)))
