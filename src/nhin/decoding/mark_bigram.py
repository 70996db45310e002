r"""Marks put back by counts: of all ways to mark a sentence, the likeliest by pairs of neighboring syllables.

.. math::
    \hat w = \arg\max_w \prod_i p(w_i \mid w_{i-1}), \qquad
    p(w \mid h) = \frac{n(h w) + d(h)\, p(w)}{n(h) + d(h)}, \qquad p(w) = \frac{n(w) + 1}{N + V}

n counts, d(h) is the number of different words seen after h. The candidates of a syllable are the words seen
that are it without marks; Viterbi's recursion finds the best of all combinations.

Cost:    K^2 sums for a syllable, with K candidates of it and of the one before; what they add is remembered.
Source:  Viterbi 1967; the smoothing: Witten and Bell 1991, IEEE Trans. Inf. Theory 37(4), method C.
Differs: nothing.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from math import exp, log
from operator import add

from nhin.text.letters import strip_marks
from nhin.text.unmarked import Slot

EDGE = ""  # before the first word of a sentence and after its last
_MAX_EDGES = 2**17  # pairs of syllables whose probabilities are remembered
Edges = tuple[tuple[float, ...], ...]  # of each candidate: its log-probability after each candidate before
Pair = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Alternative:
    """A way to mark a syllable, and its probability given the whole sentence."""

    word: str
    confidence: float


@dataclass(frozen=True)
class MarkBigram:
    """Counts of words and of pairs of words.

    Args:
        words: How often each word was seen; the edge of sentences is the empty word.
        pairs: How often each word was seen after another.
    """

    words: Counter[str]
    pairs: Counter[Pair]
    _total: int = field(init=False, repr=False, compare=False)
    _followers: Counter[str] = field(init=False, repr=False, compare=False)
    _forms: dict[str, tuple[str, ...]] = field(init=False, repr=False, compare=False)
    _edges: dict[tuple[Slot, Slot], Edges] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    def __post_init__(self) -> None:
        """Index the candidates of every unmarked form, most frequent first."""
        forms: dict[str, list[str]] = {}
        for word, _ in sorted(self.words.items(), key=lambda item: (-item[1], item[0])):
            forms.setdefault(strip_marks(word), []).append(word)
        object.__setattr__(self, "_total", self.words.total())
        object.__setattr__(self, "_followers", Counter(before for before, _ in self.pairs))
        object.__setattr__(self, "_forms", {form: tuple(words) for form, words in forms.items()})

    @classmethod
    def count(cls, sentences: Iterable[Sequence[str]]) -> "MarkBigram":
        """Count the words of sentences, in lower case and NFC."""
        words: Counter[str] = Counter()
        pairs: Counter[Pair] = Counter()
        for sentence in sentences:
            row = (EDGE, *sentence, EDGE)
            words.update(row[1:])
            pairs.update(pairwise(row))
        return cls(words, pairs)

    def candidates(self, slot: Slot) -> tuple[str, ...]:
        """Return the words that may stand in a slot; the word itself where none is known."""
        return self._forms.get(slot.word, (slot.word,)) if slot.is_open else (slot.word,)

    def probability(self, before: str, word: str) -> float:
        """Return p(word | before)."""
        alone = (self.words[word] + 1) / (self._total + len(self.words) + 1)
        different = self._followers[before]
        if not different:
            return alone
        return (self.pairs[before, word] + different * alone) / (self.words[before] + different)

    def choose(self, sentences: Sequence[Sequence[Slot]]) -> list[list[str]]:
        """Return the likeliest words of each sentence."""
        return [self.follow(sentence, self._sentence_edges(sentence)) for sentence in sentences]

    def choose_most_frequent(self, sentences: Sequence[Sequence[Slot]]) -> list[list[str]]:
        """Return the most frequent word of each slot, whatever stands beside it: the baseline."""
        return [[self.candidates(slot)[0] for slot in sentence] for sentence in sentences]

    def list_alternatives(self, sentences: Sequence[Sequence[Slot]]) -> list[list[list[Alternative]]]:
        """Return the candidates of each slot with their probabilities in the sentence, likeliest first."""
        return [self.weigh(sentence, self._sentence_edges(sentence)) for sentence in sentences]

    def weigh(self, sentence: Sequence[Slot], edges: Sequence[Edges]) -> list[list[Alternative]]:
        """Return the share of each candidate in all combinations, likeliest first."""
        before = [[0.0]]
        for rows in edges:
            before.append([_log_sum([a + b for a, b in zip(before[-1], row, strict=True)]) for row in rows])
        total, after, out = before[-1][0], [0.0], []
        for i in range(len(edges) - 1, 0, -1):
            rows = edges[i]
            after = [
                _log_sum([row[j] + later for row, later in zip(rows, after, strict=True)])
                for j in range(len(rows[0]))
            ]
            shares = (exp(a + b - total) for a, b in zip(before[i], after, strict=True))
            ways = map(Alternative, self.candidates(sentence[i - 1]), shares)
            out.append(sorted(ways, key=lambda way: -way.confidence))
        return out[::-1]

    def follow(self, sentence: Sequence[Slot], edges: Sequence[Edges]) -> list[str]:
        """Return the likeliest combination of words, by Viterbi's recursion."""
        scores, back = [0.0], []
        for rows in edges:
            if len(scores) == 1:  # what came before adds the same to all
                scores = [row[0] for row in rows]
                back.append([0] * len(rows))
                continue
            sums = [list(map(add, scores, row)) for row in rows]
            scores = list(map(max, sums))
            back.append([row.index(best) for row, best in zip(sums, scores, strict=True)])
        at, out = 0, []
        for slot, steps in zip(reversed(sentence), reversed(back), strict=False):
            at = steps[at]
            out.append(self.candidates(slot)[at])
        return out[::-1]

    def _sentence_edges(self, sentence: Sequence[Slot]) -> list[Edges]:
        """Return what every slot adds after the one before it, and last what the end adds."""
        known = self._edges
        pairs = zip((_BOUNDARY, *sentence), (*sentence, _BOUNDARY), strict=True)
        return [known.get(pair) or self._compute_edges(pair) for pair in pairs]

    def _compute_edges(self, pair: tuple[Slot, Slot]) -> Edges:
        if len(self._edges) >= _MAX_EDGES:
            self._edges.clear()
        before, words = map(self.candidates, pair)
        edges = tuple(tuple(log(self.probability(one, word)) for one in before) for word in words)
        self._edges[pair] = edges
        return edges


_BOUNDARY = Slot(EDGE, False)


def _log_sum(values: Sequence[float]) -> float:
    top = max(values)
    return top + log(sum(exp(value - top) for value in values))
