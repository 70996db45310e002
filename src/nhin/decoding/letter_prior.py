r"""A letter n-gram as a soft prior over texts: how likely a text is before the picture is looked at.

.. math::
    p(c \mid h) = \frac{n(h c) + w(h)\, p(c \mid h')}{n(h) + w(h)}

h is the context of the last letters, h' the context without its first letter, n counts and w(h) the number
of different letters seen after h. Codes, numbers and foreign words are counted among the texts, so that the
prior has little opinion on them.

Cost:    a search in two sorted tables per letter and order.
Source:  Witten and Bell 1991, IEEE Trans. Inf. Theory 37(4), method C; Chen and Goodman 1999, sec. 2.5.
Differs: contexts are stored as hashes of 32 bits, without checks for collisions; rare n-grams are dropped.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from math import log

import numpy as np
from numpy.typing import NDArray

from nhin.text.letters import nfc

MAX_ORDER = 8
_EDGE = "\n"
_MULTIPLIER = 0x9E3779B97F4A7C15
_MASK = (1 << 64) - 1
_CHARACTERS = 400  # how many characters there may be: an unseen one has a part of this in the end
_HEADER = 3

Table = NDArray[np.uint32]


@dataclass(frozen=True, slots=True)
class LetterPrior:
    """The counts of n-grams and of contexts, by sorted hash.

    Args:
        order: The longest n-gram, 1 to ``MAX_ORDER``.
        grams: Hashes of n-grams, sorted, and how often each was seen: 2 x n-grams.
        contexts: Hashes of contexts, sorted, how often something followed each, and how many different
            characters did: 3 x contexts.
    """

    order: int
    grams: Table
    contexts: Table

    @classmethod
    def count(cls, texts: Iterable[str], order: int = 5, fewest: int = 3) -> "LetterPrior":
        """Count the n-grams of texts; those of two letters and more need ``fewest`` occurrences."""
        counter: Counter[str] = Counter()
        for text in texts:
            padded = _EDGE + nfc(text) + _EDGE
            for end in range(1, len(padded)):
                counter.update(padded[start : end + 1] for start in range(max(0, end + 1 - order), end + 1))
        kept = {gram: n for gram, n in counter.items() if len(gram) == 1 or n >= fewest}
        totals: Counter[str] = Counter()
        kinds: Counter[str] = Counter()
        for gram, n in kept.items():
            totals[gram[:-1]] += n
            kinds[gram[:-1]] += 1
        rows = {hash_text(context): (n, kinds[context]) for context, n in totals.items()}
        return cls(
            order, sort_table({hash_text(gram): (n,) for gram, n in kept.items()}, 2), sort_table(rows, 3)
        )

    def score(self, text: str) -> float:
        """Return log p(text), its end included, in nats."""
        padded = _EDGE + nfc(text) + _EDGE
        starts = (max(0, i + 1 - self.order) for i in range(1, len(padded)))
        return sum(log(self.probability(padded[a:i], padded[i])) for i, a in enumerate(starts, 1))

    def probability(self, context: str, char: str) -> float:
        """Return p(char | context); of the context only the last ``order`` - 1 characters count."""
        p = 1 / _CHARACTERS
        for start in range(len(context), max(-1, len(context) - self.order), -1):
            at = find_key(self.contexts[0], hash_text(context[start:]))
            if at is None:
                break
            gram = find_key(self.grams[0], hash_text(context[start:] + char))
            count = 0 if gram is None else int(self.grams[1, gram])
            total, different = int(self.contexts[1, at]), int(self.contexts[2, at])
            p = (count + different * p) / (total + different)
        return p

    def to_array(self) -> Table:
        """Return the prior as one list of numbers: order, two sizes, and both tables."""
        header = np.array([self.order, self.grams.shape[1], self.contexts.shape[1]], np.uint32)
        return np.concatenate([header, self.grams.ravel(), self.contexts.ravel()])

    @classmethod
    def from_array(cls, values: Table) -> "LetterPrior":
        """Read what ``to_array`` returned.

        Raises:
            ValueError: It is something else.
        """
        if len(values) < _HEADER:
            raise ValueError("it ends early")
        order, grams, contexts = values[:_HEADER].tolist()
        tables = values[_HEADER:]
        prior = cls(order, tables[: 2 * grams].reshape(2, grams), tables[2 * grams :].reshape(3, contexts))
        is_sound = 1 <= order <= MAX_ORDER and bool((prior.contexts[1:] > 0).all())
        is_sound &= all(bool((keys[1:] > keys[:-1]).all()) for keys in (prior.grams[0], prior.contexts[0]))
        if not is_sound:
            raise ValueError("its tables do not fit each other")
        return prior


def hash_text(text: str) -> int:
    """Hash a text to 32 bits, the same in every process."""
    value = len(text)
    for char in text:
        value = ((value ^ ord(char)) * _MULTIPLIER) & _MASK
        value ^= value >> 29
    return value >> 32


def sort_table(table: dict[int, tuple[int, ...]], rows: int) -> Table:
    """Return hashes and what belongs to each, ``rows`` rows in all, in the order of the hashes."""
    return np.array([(key, *table[key]) for key in sorted(table)], np.uint32).reshape(-1, rows).T.copy()


def find_key(keys: Table, key: int) -> int | None:
    """Return where a hash stands among sorted ones, or None."""
    at = int(np.searchsorted(keys, np.uint32(key)))
    return at if at < len(keys) and int(keys[at]) == key else None
