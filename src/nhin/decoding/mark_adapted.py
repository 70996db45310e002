r"""Marks put back by the bundled model, its shares of words shifted to those of a text of the user.

.. math::
    s(w \mid h, c) = \log q(w \mid c) + \log \frac{p(w \mid h)}{\pi(w)}, \qquad
    p(w \mid h) = \frac{n(h w) + d(h)\, p(w)}{n(h) + d(h)}, \qquad
    p(w) = \frac{n(w) + m\, \pi(w)}{n + m}

q is the bundled model, which sees what stands beside the syllable, and pi the share of w among the ways to
mark it that the model begins with, worth m = 3 words. n counts in the text; n and n(h) sum over the ways,
n(h) after h, and d(h) is the number of different ones seen, at least one. Where the text says nothing, p is
pi, and the model decides. Viterbi's recursion finds the best of all combinations.

Cost:    that of the bundled model, and K^2 sums for a syllable, with K ways for it and for the one before.
Source:  the shift of shares: Saerens et al. 2002, Neural Computation 14(1); p(w | h): Witten and Bell 1991,
         IEEE Trans. Inf. Theory 37(4), method C, within a syllable.
Differs: pi and q are at least 0.001 and 0.0001: the text may bring words that the model does not know.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import exp, log

from nhin.decoding.mark_bigram import EDGE, Alternative, Edges, MarkBigram
from nhin.decoding.mark_context import MarkContext
from nhin.text.unmarked import Slot

_LEAST_SHARE, _LEAST = 1e-3, 1e-4  # of pi and of q
_PRIOR = 3  # m


@dataclass(frozen=True)
class AdaptedMarks(MarkBigram):
    """Counts of a text of the user, and the model that they shift."""

    model: MarkContext

    @classmethod
    def adapt(cls, model: MarkContext, counts: MarkBigram) -> "AdaptedMarks":
        """Return a model whose shares of words are shifted to those of a text."""
        return cls(counts.words, counts.pairs, model)

    def candidates(self, slot: Slot) -> tuple[str, ...]:
        """Return the words that may stand in a slot: those of the text and those of the model."""
        known = self._forms.get(slot.word, ()) if slot.is_open else ()
        return tuple(dict.fromkeys((*known, *self.model.candidates(slot))))

    def choose(self, sentences: Sequence[Sequence[Slot]]) -> list[list[str]]:
        """Return the likeliest words of each sentence."""
        shares = self.model.list_alternatives(sentences)
        return [self.follow(row, self._mix(row, share)) for row, share in zip(sentences, shares, strict=True)]

    def list_alternatives(self, sentences: Sequence[Sequence[Slot]]) -> list[list[list[Alternative]]]:
        """Return the candidates of each slot with their probabilities in the sentence, likeliest first."""
        shares = self.model.list_alternatives(sentences)
        return [self.weigh(row, self._mix(row, share)) for row, share in zip(sentences, shares, strict=True)]

    def _mix(self, sentence: Sequence[Slot], shares: Sequence[Sequence[Alternative]]) -> list[Edges]:
        """Return what every slot adds after the one before it, and last what the end adds: nothing."""
        edges: list[Edges] = []
        before: tuple[str, ...] = (EDGE,)
        for slot, ways in zip(sentence, shares, strict=True):
            model = {way.word: way.confidence for way in ways}
            words = self.candidates(slot)
            starts, own = self._list_shares(slot, words)
            scores = [max(model.get(word, 0.0), _LEAST) for word in words]
            bases = [log(q) - log(pi) for q, pi in zip(scores, starts, strict=True)]
            columns = []
            for one in before:
                seen = [self.pairs[one, word] for word in words]
                total, different = sum(seen), sum(map(bool, seen)) or 1
                each = zip(bases, own, seen, strict=True)
                columns.append([base + log((n + different * p) / (total + different)) for base, p, n in each])
            edges.append(tuple(zip(*columns, strict=True)))
            before = words
        edges.append((tuple(0.0 for _ in before),))
        return edges

    def _list_shares(self, slot: Slot, words: Sequence[str]) -> tuple[list[float], list[float]]:
        """Return pi and p of the ways to mark a slot."""
        start, count = self.model.find_ways(slot)
        bias = self.model.bias[start : start + count].tolist()
        known = dict(zip(self.model.words[start : start + count], map(exp, bias), strict=True))
        starts = [max(known.get(word, 0.0), _LEAST_SHARE) for word in words]
        total = sum(self.words[word] for word in words)
        return starts, [
            (self.words[word] + _PRIOR * pi) / (total + _PRIOR)
            for word, pi in zip(words, starts, strict=True)
        ]
