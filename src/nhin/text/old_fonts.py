"""Texts typed for Vietnamese fonts from before Unicode: their letters are other letters of Latin-1.

In such a font ``Việt`` is stored as ``ViÖt`` (TCVN3, fonts named .VnTime) or ``Vieät`` (VNI, VNI-Times), and
programs that copy the text get that. A text is recognized by its words: as they stand they are no Vietnamese
syllables, decoded they are.
"""

import re
import unicodedata
from functools import cache

from nhin.text.syllables import is_syllable

_MIN_WORDS = 3
_SHARE = 0.5
_WORD = re.compile(r"[^\s!-@\[-`{-~]+")
_TONES = "\u0300\u0309\u0303\u0301\u0323"  # grave, hook, tilde, acute, dot

# Each letter, then its five tones in the order of _TONES; "." where the font has no such code.
_TCVN3 = {
    "a": "aµ¶·¸¹",
    "ă": "¨»¼½¾Æ",
    "â": "©ÇÈÉÊË",
    "e": "eÌÎÏÐÑ",
    "ê": "ªÒÓÔÕÖ",
    "i": "i×ØÜÝÞ",
    "o": "oßáâãä",
    "ô": "«åæçèé",
    "ơ": "¬êëìíî",
    "u": "uïñòóô",
    "ư": "\u00adõö÷øù",
    "y": "yúûüýþ",
    "đ": "®.....",
}
_TCVN3_CAPITALS = dict(zip("§¡¢£¤¥¦", "ĐĂÂÊÔƠƯ", strict=True))
_TCVN3_ALIASES = {"\u2212": "ư", "\u2219": "ã", "\u03bc": "à"}
# VNI writes most marks as a letter of its own after the vowel.
_VNI_MARKS = {
    **dict(zip("øûõùï", _TONES, strict=True)),
    **dict(zip("âàåãáä", ("\u0302" + tone for tone in ("", *_TONES)), strict=True)),
    **dict(zip("êèúüéë", ("\u0306" + tone for tone in ("", *_TONES)), strict=True)),
}
_VNI_LETTERS = {"ô": "ơ", "ö": "ư", "ñ": "đ", "í": "í", "ì": "ì", "æ": "ỉ", "ó": "ĩ", "ò": "ị", "î": "ỵ"}


def is_old_font_text(text: str) -> bool:
    """Return whether a text is that of a Vietnamese font from before Unicode."""
    words = {word.lower() for word in _WORD.findall(text) if not word.isascii()}
    if len(words) < _MIN_WORDS:
        return False
    right = sum(map(is_syllable, words))
    decoded = max(sum(is_syllable(decode(word)) for word in words) for decode in (decode_tcvn3, decode_vni))
    return decoded > max(right, _SHARE * len(words))


def decode_tcvn3(text: str) -> str:
    """Return the Unicode text of a text in a TCVN3 font."""
    return text.translate(_tcvn3_table())


def decode_vni(text: str) -> str:
    """Return the Unicode text of a text in a VNI font; case may be lost."""
    out: list[str] = []
    for char in text.lower():
        mark = _VNI_MARKS.get(char)
        if mark is not None and out and out[-1][-1] in "aeoyuơư":
            out[-1] += mark
        else:
            out.append(_VNI_LETTERS.get(char, char))
    return unicodedata.normalize("NFC", "".join(out))


@cache
def _tcvn3_table() -> dict[int, str]:
    table = {ord(char): letter for char, letter in {**_TCVN3_CAPITALS, **_TCVN3_ALIASES}.items()}
    for letter, codes in _TCVN3.items():
        for code, tone in zip(codes, ("", *_TONES), strict=True):
            if code != ".":
                table[ord(code)] = unicodedata.normalize("NFC", letter + tone)
    return table
