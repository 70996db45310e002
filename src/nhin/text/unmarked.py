"""Find the unmarked Vietnamese syllables of a text, and put others in their places, byte for byte elsewhere.

A syllable is a run of up to seven ASCII letters, in lower case, in capitals, or with one capital at its
beginning. A run that is part of an address, a path, a tag, a number or a word with an apostrophe is none.
"""

import re
from collections.abc import Callable, Sequence
from functools import cache, lru_cache
from typing import Literal, NamedTuple

from nhin.text.letters import nfc, strip_marks
from nhin.text.syllables import all_syllables

_BEFORE = r"(?<![\w\u0300-\u036f'’@/\\#&=~%+$<^|])(?<!\w[.:])"
_AFTER = r"(?![\w\u0300-\u036f'’@/\\=~%+^|(\[{]|[.:]\w)"
_TOKEN = re.compile(rf"({_BEFORE}[A-Za-z]{{1,7}}{_AFTER})|([^\W\d_]+)|([.!?;:…\n\r]+)")
_SYLLABLE, _WORD = 1, 2


class Slot(NamedTuple):
    """A word of a sentence, in lower case; only an open one may be replaced.

    ``case`` is how the word was written.
    """

    word: str
    is_open: bool
    case: Literal["lower", "capital", "upper"] = "lower"


Chooser = Callable[[Sequence[Sequence[Slot]]], Sequence[Sequence[str]]]
"""Takes sentences, returns a word in lower case for each of their slots."""


@cache
def unmarked_forms() -> frozenset[str]:
    """Return every syllable that the rules allow, without marks."""
    return frozenset(map(strip_marks, all_syllables()))


def restore_text(text: str, choose: Chooser) -> str:
    """Return a text with every unmarked syllable replaced by the chosen one.

    A chosen word is taken only if it is the syllable with marks; it gets the syllable's capitals.
    """
    spans, sentences = find_sentences(text)
    pieces, end = [], 0
    for places, slots, words in zip(spans, sentences, choose(sentences), strict=True):
        for (start, stop), slot, word in zip(places, slots, words, strict=True):
            if slot.is_open and word != slot.word and _strip(word) == slot.word:
                pieces += [text[end:start], _copy_case(text[start:stop], word)]
                end = stop
    return "".join([*pieces, text[end:]])


def find_sentences(text: str) -> tuple[list[list[tuple[int, int]]], list[list[Slot]]]:
    """Return the places of the words of each sentence, and the words."""
    spans: list[list[tuple[int, int]]] = [[]]
    sentences: list[list[Slot]] = [[]]
    places, slots = spans[0], sentences[0]
    for match in _TOKEN.finditer(text):
        kind = match.lastindex
        if kind in (_SYLLABLE, _WORD):
            slots.append(_make_slot(match[0], kind == _SYLLABLE))
            places.append(match.span())
        elif slots:
            places, slots = [], []
            spans.append(places)
            sentences.append(slots)
    return spans, sentences


_strip = lru_cache(2**16)(strip_marks)


@lru_cache(2**16)
def _make_slot(run: str, may_be_open: bool) -> Slot:
    """Return the slot of a run of letters; open where it is a syllable in lower case, capitals, or both."""
    word = nfc(run.lower())
    has_plain_case = run[1:].islower() or len(run) == 1 or run.isupper()
    case: Literal["lower", "capital", "upper"] = "lower"
    if run[0].isupper():
        case = "upper" if run[1:].isupper() else "capital"
    return Slot(word, may_be_open and has_plain_case and word in unmarked_forms(), case)


def _copy_case(run: str, word: str) -> str:
    """Give a word the capitals of a run of letters."""
    if run.islower():
        return word
    return word.upper() if run.isupper() and len(run) > 1 else word.capitalize()
