r"""Doubtful marks settled by the words beside them: "tố chức" in a blurred line is "tổ chức".

.. math::
    s(w) = \sum_i \log \frac{p_i(w_i)}{p_i(r_i)} + \lambda \log \frac{q(w \mid c)}{q(r \mid c)}

r is a word as it was read, w one that differs in the marks of its doubtful letters. p_i comes from the
network: the confidence of letter i, and for another letter its share of what that leaves. q is the model of
``decoding.mark_context``, given the words c beside it as they were read. The word with the highest s is
written. What is no Vietnamese syllable, or in no model, stays.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product
from math import exp, log, prod

from nhin.decoding.mark_context import MarkContext, load_bundled
from nhin.reading.result import Recognition, Span
from nhin.text.letters import nfc, strip_marks
from nhin.text.unmarked import Slot, find_sentences, unmarked_forms

WEIGHT = 0.6
"""lambda"""
_FLOOR = 1e-2
"""The least q: the model has not seen every name."""
_MOST_LETTERS, _MOST_SHARES = 3, 3
_REACH = 4  # words beside it: the model sees two, and whether some are capitalized
_LEAST = 1e-6


@dataclass(frozen=True, slots=True)
class _DoubtfulWord:
    """A word of a line: where it is there, words around it, its place among them, candidates with log p."""

    line: int
    start: int
    around: list[Slot]
    place: int
    candidates: dict[str, float]


def settle_marks(recognitions: Sequence[Recognition], model: MarkContext | None = None) -> list[Recognition]:
    """Return lines with the doubtful marks of their words settled; the bundled model by default."""
    out = list(recognitions)
    words = [word for line, recognition in enumerate(out) for word in _find_doubtful(line, recognition)]
    if not words:
        return out
    listed = (model or load_bundled()).list_alternatives([word.around for word in words])
    for word, slots in zip(words, listed, strict=True):
        chances = {one.word: one.confidence for one in slots[word.place]}
        scores = {
            text: score + WEIGHT * log(max(chances.get(text.lower(), 0.0), _FLOOR))
            for text, score in word.candidates.items()
        }
        best = max(scores, key=lambda text: scores[text])
        if best != next(iter(word.candidates)):
            share = 1 / sum(exp(score - scores[best]) for score in scores.values())
            out[word.line] = _write(out[word.line], word.start, best, share)
    return out


def _find_doubtful(line: int, recognition: Recognition) -> Iterator[_DoubtfulWord]:
    """Yield the words of a line that may have other marks."""
    chars = recognition.chars
    if not any(char.others for char in chars) or "".join(char.text for char in chars) != recognition.text:
        return
    for spans, sentence in zip(*find_sentences(recognition.text), strict=True):
        fixed = [slot._replace(is_open=False) for slot in sentence]
        for place, (start, stop) in enumerate(spans):
            plain = strip_marks(sentence[place].word)
            candidates = _list_candidates(chars[start:stop])
            if len(candidates) > 1 and plain in unmarked_forms():
                before, after = fixed[max(0, place - _REACH) : place], fixed[place + 1 : place + 1 + _REACH]
                slots = [*before, Slot(plain, True, sentence[place].case), *after]
                yield _DoubtfulWord(line, start, slots, len(before), candidates)


def _list_candidates(chars: Sequence[Span]) -> dict[str, float]:
    """Return the word as it was read, then with other marks, each with the log of its odds against that."""
    doubtful = sorted((i for i, char in enumerate(chars) if char.others), key=lambda i: chars[i].confidence)
    choices = []
    for i, char in enumerate(chars):
        own = [(char.text, 0.0)]
        if i in doubtful[:_MOST_LETTERS]:
            rest = max(1 - char.confidence, _LEAST) / max(char.confidence, _LEAST)
            best = sorted(char.others, key=lambda one: -one[1])[:_MOST_SHARES]
            own += [(letter, log(rest * share)) for letter, share in best]
        choices.append(own)
    found: dict[str, float] = {}
    for letters in product(*choices):
        score = sum(score for _, score in letters)
        if score > WEIGHT * log(_FLOOR):  # below, no words beside it could make up for that
            found.setdefault(nfc("".join(letter for letter, _ in letters)), score)
    return found


def _write(recognition: Recognition, start: int, word: str, share: float) -> Recognition:
    """Return a line with a word replaced; its new letters are as sure as the choice of the word.

    Alternatives, listed for the text as it was, are dropped.
    """
    chars = list(recognition.chars)
    for i, letter in enumerate(word, start):
        if chars[i].text != letter:
            chars[i] = replace(chars[i], text=letter, confidence=share, others=())
    text = "".join(char.text for char in chars)
    confidence = prod(char.confidence for char in chars)
    return replace(recognition, text=text, chars=tuple(chars), confidence=confidence, alternatives=())
