"""The characters a reader can write, as data.

Ids are dense: four special tokens first, then the characters in a fixed order. ``PAD`` is also the
blank of CTC, so both heads of the reader share one table.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from nhin.errors import CheckpointError
from nhin.text.letters import LOWER, UPPER, nfc

PAD, SOS, EOS, UNK = range(4)
SPECIALS = ("<PAD>", "<SOS>", "<EOS>", "<UNK>")
REPLACEMENT = "\ufffd"

_ASCII = "".join(chr(code) for code in range(32, 127))
_CURRENCY = "₫€£¥"
_SIGNS = "“”‘’–—…•·°²³½×÷±©®™§«»№"


@dataclass(frozen=True)
class Charset:
    """An ordered set of NFC characters with ids; unknown letters become ``<UNK>``, never an error."""

    chars: str
    _ids: dict[str, int] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Refuse a table that could not be read back: doubled or decomposed characters."""
        if nfc(self.chars) != self.chars or len(set(self.chars)) != len(self.chars):
            raise CheckpointError("a charset must be NFC and name each character once")
        table = {char: i for i, char in enumerate(self.chars, start=len(SPECIALS))}
        object.__setattr__(self, "_ids", table)

    def __len__(self) -> int:
        """Count the ids, special tokens included."""
        return len(SPECIALS) + len(self.chars)

    def __contains__(self, char: str) -> bool:
        return char in self._ids

    def encode(self, text: str) -> list[int]:
        """Turn text into ids (without SOS and EOS); composed to NFC first."""
        return [self._ids.get(char, UNK) for char in nfc(text)]

    def decode(self, ids: Iterable[int]) -> str:
        """Turn ids into text: stops at EOS, skips PAD and SOS, writes U+FFFD for ``<UNK>``."""
        out: list[str] = []
        for i in ids:
            if i == EOS:
                break
            if i == UNK:
                out.append(REPLACEMENT)
            elif i >= len(SPECIALS):
                out.append(self.chars[i - len(SPECIALS)])
        return "".join(out)

    def missing_chars(self, text: str) -> Sequence[str]:
        """List the characters of text that the table lacks, sorted."""
        return sorted(set(nfc(text)) - set(self.chars))


VIETNAMESE = Charset(_ASCII + LOWER + UPPER + _CURRENCY + _SIGNS)
