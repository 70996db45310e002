"""What every tokenizer does: text into ids and back, and itself as plain values.

Every id stands for some bytes of UTF-8, so decoding is the same for all; the last id is the end of a
document, which stands for none.
"""

import codecs
import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Iterable
from functools import cached_property
from typing import Any

from nhin.errors import DataError, UsageError


class Tokenizer(ABC):
    """Text into ids and back; ``pieces`` are the bytes of each id, ``name`` is what made it."""

    name: str
    pieces: tuple[bytes, ...]

    @property
    def vocab(self) -> int:
        """How many ids there are, the end of a document included."""
        return len(self.pieces)

    @property
    def eos_id(self) -> int:
        """The id that ends a document; it prints as nothing."""
        return len(self.pieces) - 1

    @abstractmethod
    def encode(self, text: str) -> list[int]:
        """Turn text into ids, without an end.

        Raises:
            UsageError: A character has no id; the message names it.
        """

    @abstractmethod
    def to_dict(self) -> dict[str, Any]:
        """Return all there is to know as plain values, fit for JSON; ``tokenizer_of`` reads it back."""

    def decode(self, ids: Iterable[int]) -> str:
        """Turn ids into text; bytes that make no character come out as U+FFFD."""
        return self.decode_bytes(ids).decode("utf-8", "replace")

    def decode_bytes(self, ids: Iterable[int]) -> bytes:
        """Return the bytes that ids stand for.

        Raises:
            DataError: There is no such id.
        """
        out = []
        for i in ids:
            if not 0 <= i < len(self.pieces):
                raise DataError(f"there is no token {i}: the {self.name} tokenizer has 0 to {self.eos_id}")
            out.append(self.pieces[i])
        return b"".join(out)

    @cached_property
    def fingerprint(self) -> str:
        """The SHA-256 of the tree: two tokenizers with one fingerprint do the same."""
        words = json.dumps(self.to_dict(), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(words.encode()).hexdigest()


class StreamDecoder:
    """Turns ids into text as they come; a character is told when it is whole, never half of it."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def push(self, *ids: int) -> str:
        """Return the text that these ids complete, which may be none."""
        return self._decoder.decode(self._tokenizer.decode_bytes(ids))

    def finish(self) -> str:
        """Return what is left at the end: U+FFFD for a character that was never completed."""
        return self._decoder.decode(b"", final=True)


def encode_utf8(text: str) -> bytes:
    """Return text as UTF-8.

    Raises:
        UsageError: It holds half a character, which no UTF-8 can.
    """
    try:
        return text.encode()
    except UnicodeEncodeError as why:
        raise UsageError(
            f"{describe_char(text[why.start])} is half a character: no UTF-8 can hold it"
        ) from None


def describe_char(char: str) -> str:
    """Name a character so that a person finds it, seen or not."""
    return f"{char!r} (U+{ord(char):04X})"
