"""Tokenizers with one id per character, or one per byte."""

from collections.abc import Iterable
from typing import Any

from nhin.errors import DataError, UsageError
from nhin.text.tokenizers.base import Tokenizer, describe_char, encode_utf8


class CharTokenizer(Tokenizer):
    """One id per character of the training text, in the order of code points."""

    name = "char"

    def __init__(self, chars: Iterable[str]) -> None:
        self.chars = "".join(sorted(set(chars)))
        self.pieces = (*map(encode_utf8, self.chars), b"")
        self._ids = {char: i for i, char in enumerate(self.chars)}

    def encode(self, text: str) -> list[int]:
        """Turn text into ids; a character outside the training text is refused."""
        try:
            return [self._ids[char] for char in text]
        except KeyError as why:
            char = describe_char(why.args[0])
            raise UsageError(f"{char} is not among the {len(self.chars)} characters of this text") from None

    def to_dict(self) -> dict[str, Any]:
        """Return the characters."""
        return {"kind": "char", "chars": self.chars}


class ByteTokenizer(Tokenizer):
    """One id per byte of UTF-8: no training, no unknown characters."""

    name = "byte"
    pieces = (*(bytes([byte]) for byte in range(256)), b"")

    def encode(self, text: str) -> list[int]:
        """Turn text into the bytes of its UTF-8."""
        return list(encode_utf8(text))

    def to_dict(self) -> dict[str, Any]:
        """Return its kind."""
        return {"kind": "byte"}


def train_char(texts: Iterable[str]) -> CharTokenizer:
    """Collect the characters of some texts."""
    chars: set[str] = set()
    for text in texts:
        chars.update(text)
    if not chars:
        raise DataError("there is no text to take characters from")
    return CharTokenizer(chars)
