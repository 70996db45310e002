r"""How likely a text of a sign or a line is before the picture is looked at: a log-linear soft prior.

.. math::
    \log p(t) = \sum_k \lambda_k f_k(t) + c, \qquad
    f_1(t) = \sum_{w \in t} \log\left( \frac{n(w)}{N} + \epsilon\, p(w) \right)

w runs over the words of a text, runs of letters, in lower case; n counts them in running text, N is the sum
of all n, p(w) is that of a letter n-gram. The other features are few and plain: how a text is capitalized,
which words are Vietnamese syllables, how many letters, digits, signs and spaces it has. Digits and signs are
no words: codes and numbers are compared by their length alone.

Cost:    a search in a sorted table per word, and the letter n-gram's.
Source:  log-linear models: Berger et al. 1996, Computational Linguistics 22(1).
Differs: the constant c is left out: scores are compared, not added up.
"""

import io
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import exp, log, log1p

import numpy as np

from nhin.decoding.letter_prior import LetterPrior, Table, find_key, hash_text, sort_table
from nhin.errors import CheckpointError
from nhin.text.letters import nfc
from nhin.text.syllables import all_syllables, older_spellings

UNSEEN = 0.03
"""Share of the letter n-gram in the probability of a word."""
WEIGHTS = {
    "word": 0.108,
    "valid": -0.49,
    "both": 1.65,
    "lower": -0.69,
    "title": -1.04,
    "mixed": -1.17,
    "letters": 0.47,
    "digits": 0.64,
    "digit": -2.09,
    "signs": 0.77,
    "spaces": 0.45,
    "first": -0.79,
    "last": -0.73,
}
"""Nats of each feature: 0.4 (word, valid, letters) and 0.7 (the others) of what ``scripts/fit_ranking.py``
learned on words of signs. More would read drawn texts of made-up words worse than no prior at all."""
FEATURES = tuple(WEIGHTS)
_LETTERS = re.compile(r"[^\W\d_]+")
_MAGIC, _HEADER = 0x7E780001, 4
_MAX_REPEATS = 2**14  # of a word among those whose letters are counted


@dataclass(frozen=True, slots=True)
class TextPrior:
    """Counts of words, and the letter n-gram for those that are not among them.

    Args:
        letters: Of words in lower case.
        words: Hashes of the words, sorted, and how often each was seen: 2 x words.
        total: How many words were seen, those too that are not in the table.
    """

    letters: LetterPrior
    words: Table
    total: int

    @classmethod
    def count(cls, texts: Iterable[tuple[str, int]], fewest: int = 3, order: int = 6) -> "TextPrior":
        """Count the words of texts, each with how often it counts; a rare word counts for its letters.

        Args:
            texts: Texts and how often each of them counts.
            fewest: Occurrences that a word needs to be counted.
            order: Letters of the longest n-gram.
        """
        counts: Counter[str] = Counter()
        for text, times in texts:
            for word in split_words(text):
                counts[word] += times
        kept = {word: n for word, n in sorted(counts.items()) if n >= fewest}
        spread = (word for word, n in kept.items() for _ in range(min(_MAX_REPEATS, int(n**0.5)) or 1))
        most = 2**32 - 1
        table = sort_table({hash_text(word): (min(n, most),) for word, n in kept.items()}, 2)
        return cls(LetterPrior.count(spread, order, fewest), table, min(most, max(1, counts.total())))

    def score(self, text: str) -> float:
        """Return the nats of a text; only differences between texts mean something."""
        return float(np.dot(list(WEIGHTS.values()), self.measure(text)))

    def measure(self, text: str) -> list[float]:
        """Return the features of a text, in the order of ``FEATURES``."""
        text = nfc(text).strip()
        words = split_words(text)
        shape = find_capitals(text)
        digits, letters = sum(map(str.isdigit, text)), sum(map(len, words))
        spaces = text.count(" ")
        values: Mapping[str, float] = {
            "word": sum(map(self.score_word, words)),
            "valid": sum(word in all_syllables() for word in words),
            "both": bool(words) and digits > 0,
            "lower": shape == "lower",
            "title": shape == "title",
            "mixed": shape == "mixed",
            "letters": letters,
            "digits": digits,
            "digit": digits > 0,
            "signs": sum(not char.isalnum() for char in text) - spaces,
            "spaces": spaces,
            "first": not text[:1].isalnum(),
            "last": not text[-1:].isalnum(),
        }
        return [float(values[name]) for name in FEATURES]

    def knows(self, word: str) -> bool:
        """Return whether a word in lower case is among those counted."""
        return find_key(self.words[0], hash_text(word)) is not None

    def score_word(self, word: str) -> float:
        """Return log p of a word in lower case, in nats."""
        unseen = log(UNSEEN) + self.letters.score(word)
        at = find_key(self.words[0], hash_text(word))
        if at is None:
            return unseen
        seen = log(int(self.words[1, at]) / self.total)
        return max(seen, unseen) + log1p(exp(-abs(seen - unseen)))

    def to_bytes(self) -> bytes:
        """Return the prior as one NumPy array of numbers."""
        header = np.array([_MAGIC, self.words.shape[1], self.total, 0], np.uint32)
        out = io.BytesIO()
        parts = [header, self.words.ravel(), self.letters.to_array()]
        np.save(out, np.concatenate(parts), allow_pickle=False)
        return out.getvalue()

    @classmethod
    def from_bytes(cls, data: bytes, where: str) -> "TextPrior":
        """Read what ``to_bytes`` returned.

        Raises:
            CheckpointError: It is something else.
        """
        try:
            values = np.load(io.BytesIO(data), allow_pickle=False)
            if values.dtype != np.uint32 or values.ndim != 1 or len(values) < _HEADER:
                raise ValueError("it is no list of whole numbers")
            magic, size, total = values[: _HEADER - 1].tolist()
            if magic != _MAGIC:
                raise ValueError("it was made by another version of nhin; make it again")
            end = _HEADER + 2 * size
            words = values[_HEADER:end].reshape(2, size)
            if total < 1 or (words[0, 1:] <= words[0, :-1]).any() or (words[1] < 1).any():
                raise ValueError("its tables do not fit each other")
            return cls(LetterPrior.from_array(values[end:]), words, total)
        except (ValueError, EOFError, OverflowError, IndexError, TypeError) as why:
            raise CheckpointError(f"{where} is not a prior over texts: {str(why)[:100]}") from why


def split_words(text: str) -> list[str]:
    """Return the words of a text: runs of letters, NFC, lower case, the tone sign in the older place."""
    words: list[str] = _LETTERS.findall(nfc(text).lower())
    return [older_spellings().get(word, word) for word in words]


def find_capitals(text: str) -> str:
    """Return how a text is written: ``upper``, ``lower``, ``title``, ``mixed``, or ``none`` without letters.

    In ``title`` at least one word begins with a capital, and nothing else is one.
    """
    letters = "".join(_LETTERS.findall(text))
    if not letters:
        return "none"
    if letters == letters.upper():
        return "upper"
    if letters == letters.lower():
        return "lower"
    is_title = all(word[1:] == word[1:].lower() for word in _LETTERS.findall(text))
    return "title" if is_title else "mixed"
