"""Pairs of a text without its marks and with them, from a text of the user: ``toi di hoc``, ``tôi đi học``.

Sentences end at a line's end and at . ! ? ; : and hold words only, in lower case. Every tenth block of lines
is held out; a sentence of the held-out part that also occurs in the other is left out of it.
"""

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from random import Random

from nhin.data.pairs.pair import Pair
from nhin.errors import DataError
from nhin.files import read_bytes
from nhin.text.letters import nfc, strip_marks

MARKS = "marks"  # the name of the task
MAX_TEXT = 2**28
HELD_OUT_BLOCKS, BLOCK_LINES = 10, 50
_ENDS = re.compile(r"[.!?;:…\n\r]+")
_WORD = re.compile(r"[^\W\d_]+")

Sentence = tuple[str, ...]


def split_sentences(text: str) -> list[Sentence]:
    """Split a text into sentences of words, in lower case and NFC."""
    parts = (tuple(_WORD.findall(part)) for part in _ENDS.split(nfc(text).lower()))
    return [part for part in parts if part]


def read_text(path: Path | str) -> str:
    """Read a text in UTF-8.

    Raises:
        DataError: It cannot be read, is too large, is not UTF-8 or holds no words.
    """
    try:
        text = read_bytes(Path(path), MAX_TEXT, DataError).decode("utf-8-sig")
    except UnicodeDecodeError as why:
        raise DataError(f"{path} is not UTF-8: byte {why.start} is wrong") from None
    if not _WORD.search(text):
        raise DataError(f"{path} holds no words")
    return text


def split_text(text: str) -> tuple[list[Sentence], list[Sentence]]:
    """Return the sentences to learn from, and those that are held out, none of which is among the first."""
    lines = nfc(text).splitlines()
    parts: tuple[list[str], list[str]] = ([], [])
    for number, start in enumerate(range(0, len(lines), BLOCK_LINES)):
        parts[number % HELD_OUT_BLOCKS == HELD_OUT_BLOCKS - 1].extend(lines[start : start + BLOCK_LINES])
    train, held_out = (split_sentences("\n".join(part)) for part in parts)
    known = set(train)
    return train, [sentence for sentence in held_out if sentence not in known]


class MarkPairs:
    """Sentences of a text, without and with marks.

    Args:
        text: The text.
        max_words: Longer sentences are cut into parts of so many words.
        min_count: Words seen less often in the part to learn from are unknown.

    Raises:
        DataError: There is nothing to learn from.
    """

    separator = " "

    def __init__(self, text: str, max_words: int = 32, min_count: int = 1) -> None:
        train, held_out = split_text(text)
        self.sentences, self.held_out = (list(_cut(part, max_words)) for part in (train, held_out))
        if not self.sentences:
            raise DataError("the text has no sentence to learn from")
        counts = Counter(word for sentence in self.sentences for word in sentence)
        self.target_tokens: Sequence[str] = sorted(word for word, n in counts.items() if n >= min_count)
        self.source_tokens: Sequence[str] = sorted({strip_marks(word) for word in self.target_tokens})
        self.fingerprint = hashlib.sha256(nfc(text).encode()).hexdigest()

    def draw(self, draw: Random, length: int) -> Pair:
        """Draw a sentence, of any length."""
        return to_pair(draw.choice(self.sentences))

    def split(self, text: str) -> Sentence:
        """Split a text into words without marks."""
        return split_words(text)


def split_words(text: str) -> Sentence:
    """Split a text into words without marks, in lower case."""
    return tuple(strip_marks(word) for word in _WORD.findall(nfc(text).lower()))


def to_pair(sentence: Sentence) -> Pair:
    """Return a sentence without and with its marks, word by word."""
    return Pair(tuple(map(strip_marks, sentence)), sentence, tuple(range(len(sentence))))


def _cut(sentences: Iterable[Sentence], size: int) -> Iterable[Sentence]:
    return (part[i : i + size] for part in sentences for i in range(0, len(part), size))
