"""Where a reader errs: horns (u, ư, o, ơ), tones, the length of a word, the quality of its picture."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from nhin.image.preprocess import Pixels
from nhin.metrics.char_errors import Breakdown
from nhin.metrics.edit_distance import align_texts
from nhin.metrics.error_rates import ErrorRates
from nhin.metrics.statistics import ratio
from nhin.reading.reader import RecognizerProtocol
from nhin.reading.result import Recognition
from nhin.text.letters import compose, factor, nfc

HORNS = ("u", "ư", "o", "ơ")
_LENGTHS = (1, 2, 3, 4, 5, 7, 10)
_HEIGHTS = (0, 12, 16, 24, 32, 48, 72)
_CONTRASTS = (0, 15, 30, 45, 60)


@dataclass(frozen=True, slots=True)
class ReadWord:
    """A word and what was read; its crop's height in pixels and contrast (standard deviation of its gray)."""

    true: str
    read: str
    height: int
    contrast: float


class WordRecorder:
    """A recognizer that notes what another one reads, in the order of the crops."""

    def __init__(self, recognizer: RecognizerProtocol) -> None:
        self.recognizer, self.notes = recognizer, list[tuple[str, int, float]]()

    def read(self, crops: Sequence[Pixels]) -> list[Recognition]:
        """Read crops with the other recognizer."""
        results = self.recognizer.read(crops)
        for crop, result in zip(crops, results, strict=True):
            gray = crop.mean(axis=-1) if crop.ndim == 3 else crop
            self.notes.append((result.text, crop.shape[0], float(np.std(gray)) if crop.size else 0.0))
        return results

    def words(self, labels: Iterable[str]) -> list[ReadWord]:
        """Return what was read beside the labels."""
        return [ReadWord(label, *note) for label, note in zip(labels, self.notes, strict=True)]


def analyze_errors(words: Sequence[ReadWord]) -> dict[str, Any]:
    """Return counts and shares for JSON.

    Returns:
        ``horns``: for u, ư, o and ơ (of any tone and case) how many there are, how many are read as another
        letter, and how many of these as the other of the pair; ``tones``: the confusions of tones, most
        frequent first, and the share of each that is right; ``length``, ``height`` and ``contrast``: words,
        word accuracy and CER of each class.
    """
    breakdown = Breakdown()
    for word in words:
        breakdown.add(word.read, word.true)
    figures = breakdown.figures()
    return {
        "horns": _count_horns(words),
        "tones": {"confusions": figures["tones"], "recall": figures["tone_recall"]},
        "marks": {"confusions": figures["marks"], "recall": figures["mark_recall"]},
        "length": _by_class(words, lambda word: len(nfc(word.true)), _LENGTHS),
        "height": _by_class(words, lambda word: word.height, _HEIGHTS),
        "contrast": _by_class(words, lambda word: word.contrast, _CONTRASTS),
    }


def _count_horns(words: Sequence[ReadWord]) -> list[dict[str, Any]]:
    counts: Counter[tuple[str, str]] = Counter()
    for word in words:
        for read, true in align_texts(nfc(word.read), nfc(word.true)):
            letter = _plain_letter(true)
            if letter in HORNS:
                counts[letter, _plain_letter(read)] += 1
    rows = []
    for letter, other in zip(HORNS, ("ư", "u", "ơ", "o"), strict=True):
        total = sum(count for (true, _), count in counts.items() if true == letter)
        missed = total - counts[letter, letter]
        swapped = counts[letter, other]
        rows.append({"letter": letter, "count": total, "missed": missed, "as": other, "swapped": swapped})
    return rows


def _plain_letter(char: str | None) -> str:
    """Return a letter without case and tone; empty for none."""
    return "" if char is None else compose(replace(factor(char), tone="level")).lower()


def _by_class(
    words: Sequence[ReadWord], value: Callable[[ReadWord], float], starts: Sequence[int]
) -> list[dict[str, Any]]:
    """Return the figures of each class; one begins at each of ``starts``."""
    rows = []
    for first, after in zip(starts, [*starts[1:], None], strict=True):
        rates = ErrorRates()
        for word in words:
            if first <= value(word) and (after is None or value(word) < after):
                rates.add(word.read, word.true)
        found = rates.figures()
        row = {"from": first, "to": after, "words": rates.crops, "share": ratio(rates.crops, len(words))}
        rows.append(row | {name: found[name] for name in ("word_accuracy", "cer")})
    return rows
