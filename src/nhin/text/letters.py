"""Factor Vietnamese letters into base, mark and tone, and compose them again.

A letter such as ``Ằ`` is the base ``A``, the mark ``breve`` and the tone ``grave``. Marks change the vowel
(ă â ê ô ơ ư) or the consonant (đ); tones change the pitch of the syllable. The base keeps the case.
Characters that are not Vietnamese letters have no mark and no tone.
"""

import unicodedata
from dataclasses import dataclass

MARKS = ("none", "breve", "circumflex", "horn", "stroke")
TONES = ("level", "grave", "acute", "hook", "tilde", "dot")

_MARK_SIGNS = {"\u0306": "breve", "\u0302": "circumflex", "\u031b": "horn"}
_TONE_SIGNS = {"\u0300": "grave", "\u0301": "acute", "\u0309": "hook", "\u0303": "tilde", "\u0323": "dot"}
_SIGN_OF = {name: sign for sign, name in (_MARK_SIGNS | _TONE_SIGNS).items()}
_STROKE = {"đ": "d", "Đ": "D"}
_UNSTROKE = {base: letter for letter, base in _STROKE.items()}

VOWELS = "aăâeêioôơuưy"


@dataclass(frozen=True, slots=True)
class Factors:
    """The base (with its case), the mark and the tone of a character."""

    base: str
    mark: str = "none"
    tone: str = "level"


def nfc(text: str) -> str:
    """Return text in NFC, the form of all text inside nhin."""
    return unicodedata.normalize("NFC", text)


def factor(char: str) -> Factors:
    """Factor one NFC character; a foreign accent stays with the base."""
    if char in _STROKE:
        return Factors(_STROKE[char], mark="stroke")
    base, *signs = unicodedata.normalize("NFD", char)
    mark, tone = "none", "level"
    for sign in signs:
        if sign in _MARK_SIGNS and mark == "none":
            mark = _MARK_SIGNS[sign]
        elif sign in _TONE_SIGNS and tone == "level":
            tone = _TONE_SIGNS[sign]
        else:
            return Factors(char)
    return Factors(base, mark, tone) if char in _VIETNAMESE else Factors(char)


def compose(factors: Factors) -> str:
    """Return the character of some factors; the inverse of ``factor``."""
    if factors.mark == "stroke":
        return _UNSTROKE.get(factors.base, factors.base)
    signs = _SIGN_OF.get(factors.mark, "") + _SIGN_OF.get(factors.tone, "")
    return nfc(factors.base + signs)


def strip_marks(text: str) -> str:
    """Return text without Vietnamese marks and tones; case is kept."""
    return "".join(factor(char).base for char in nfc(text))


def _lowercase_letters() -> str:
    """Return every lower-case Vietnamese letter that is not ASCII."""
    vowels = [nfc(v + _SIGN_OF.get(tone, "")) for v in VOWELS for tone in TONES]
    return "".join(v for v in vowels if not v.isascii()) + "đ"


LOWER = _lowercase_letters()
UPPER = LOWER.upper()
_VIETNAMESE = frozenset(LOWER + UPPER + "".join(chr(c) for c in range(33, 127)))
