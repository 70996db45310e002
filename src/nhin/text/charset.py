"""The characters that the recognizer can write.

Ids start with four special tokens, then the characters in a fixed order. ``PAD`` is also the blank of CTC, so
both heads of the recognizer share one table.
"""

import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from nhin.errors import CheckpointError
from nhin.text.letters import LOWER, UPPER, nfc, strip_marks

PAD, SOS, EOS, UNK = range(4)
SPECIALS = ("<PAD>", "<SOS>", "<EOS>", "<UNK>")
REPLACEMENT = "\ufffd"

_UNWRITABLE = ("Cc", "Cf", "Cs", "Zl", "Zp")
"""Unicode categories that no charset has: controls, marks of direction, halves of pairs, breaks of lines."""
_ASCII = "".join(chr(code) for code in range(32, 127))
_CURRENCY = "₫€£¥"
_SIGNS = "“”‘’–—…•·°²³½×÷±©®™§«»№"


@dataclass(frozen=True)
class Charset:
    """An ordered set of NFC characters with ids; unknown characters become ``<UNK>``."""

    chars: str
    _ids: dict[str, int] = field(init=False, repr=False, compare=False)
    _alike: dict[str, list[int]] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Refuse duplicate and decomposed characters, which decoding does not give back, and controls."""
        if nfc(self.chars) != self.chars or len(set(self.chars)) != len(self.chars):
            raise CheckpointError("a charset must be NFC and contain each character once")
        if bad := [char for char in self.chars if unicodedata.category(char) in _UNWRITABLE]:
            raise CheckpointError(f"a charset cannot contain the character U+{ord(bad[0]):04X}")
        table = {char: i for i, char in enumerate(self.chars, start=len(SPECIALS))}
        object.__setattr__(self, "_ids", table)
        alike: dict[str, list[int]] = {}
        for char, i in table.items():
            alike.setdefault(strip_marks(char), []).append(i)
        object.__setattr__(self, "_alike", alike)

    def __len__(self) -> int:
        """Return the number of ids, special tokens included."""
        return len(SPECIALS) + len(self.chars)

    def __contains__(self, char: str) -> bool:
        return char in self._ids

    def encode(self, text: str) -> list[int]:
        """Turn text, normalized to NFC, into ids without SOS and EOS."""
        return [self._ids.get(char, UNK) for char in nfc(text)]

    def list_variants(self, char: str) -> list[int]:
        """Return the ids of the other letters that differ from a character in their marks alone."""
        own = self._ids.get(char)
        return [i for i in self._alike.get(strip_marks(char), []) if i != own]

    def decode(self, ids: Iterable[int]) -> str:
        """Turn ids into text: stop at EOS, skip PAD and SOS, write U+FFFD for ``<UNK>``."""
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
        """List the characters of text that are not in the charset, sorted."""
        return sorted(set(nfc(text)) - set(self.chars))


VIETNAMESE = Charset(_ASCII + LOWER + UPPER + _CURRENCY + _SIGNS)

# Letters of other European languages (without those that look like Vietnamese ones), and signs of documents.
_EUROPEAN = "äåæçëîïñöøûüÿœßłšžčćřďťňěůűőğışțśźżńąęÄÅÆÇËÎÏÑÖØÛÜŒŁŠŽČĆŘĎŤŇĚŮŰŐĞİŞȚŚŹŻŃĄĘ"
_DOCUMENT_SIGNS = "→≤≥≈≠‰¹¼¾µ✓□■¡¿"
EUROPEAN = Charset(VIETNAMESE.chars + _EUROPEAN + _DOCUMENT_SIGNS)
CHARSETS = {"vietnamese": VIETNAMESE, "european": EUROPEAN}
