"""The interface of tokenizers: text into ids and back, and the tokenizer itself as plain values.

Every id stands for some bytes of UTF-8, so decoding is the same for all; the last id, the end of a document,
stands for none. A tokenizer of Hugging Face may have several such ids, anywhere.
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
    """Turns text into ids and back; ``pieces`` are the bytes of each id, ``name`` is what it is built by."""

    name: str
    pieces: tuple[bytes, ...]

    @property
    def vocab(self) -> int:
        """Number of ids, the end of a document included."""
        return len(self.pieces)

    @property
    def eos_id(self) -> int:
        """The id that ends a document; it decodes to nothing."""
        return len(self.pieces) - 1

    @property
    def stop_ids(self) -> frozenset[int]:
        """The ids that end a sampled text."""
        return frozenset([self.eos_id])

    @property
    def start_ids(self) -> tuple[int, ...]:
        """The ids before every document."""
        return ()

    @abstractmethod
    def encode(self, text: str) -> list[int]:
        """Turn text into ids, without the end of a document.

        Raises:
            UsageError: A character has no id; the message names it.
        """

    def encode_prompt(self, text: str) -> list[int]:
        """Return the ids of a text to continue, at least one: the end of the document before a new text."""
        return self.encode(text) or [self.eos_id]

    @abstractmethod
    def to_dict(self) -> dict[str, Any]:
        """Return the tokenizer as plain values, fit for JSON; see ``tokenizer_from_dict``."""

    def decode(self, ids: Iterable[int]) -> str:
        """Turn ids into text, with U+FFFD for invalid bytes."""
        return self.decode_bytes(ids).decode("utf-8", "replace")

    def decode_bytes(self, ids: Iterable[int]) -> bytes:
        """Return the bytes of ids.

        Raises:
            DataError: There is no such id.
        """
        out = []
        for i in ids:
            if not 0 <= i < len(self.pieces):
                raise DataError(f"there is no token {i}: the {self.name} tokenizer has 0 to {self.vocab - 1}")
            out.append(self.pieces[i])
        return b"".join(out)

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of ``to_dict``: tokenizers with the same fingerprint are equal."""
        text = json.dumps(self.to_dict(), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()


class StreamDecoder:
    """Turns a stream of ids into text, one complete character after another."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def push(self, *ids: int) -> str:
        """Return the text that these ids complete, possibly none."""
        return self._decoder.decode(self._tokenizer.decode_bytes(ids))

    def finish(self) -> str:
        """Return U+FFFD for an incomplete character at the end, else nothing."""
        return self._decoder.decode(b"", final=True)


def encode_utf8(text: str) -> bytes:
    """Return text as UTF-8.

    Raises:
        UsageError: It contains half of a surrogate pair, which UTF-8 cannot encode.
    """
    try:
        return text.encode()
    except UnicodeEncodeError as why:
        char = describe_char(text[why.start])
        raise UsageError(f"{char} is half a character: UTF-8 cannot encode it") from None


def describe_char(char: str) -> str:
    """Return a character and its code point, so that invisible ones can be found too."""
    return f"{char!r} (U+{ord(char):04X})"
