"""Vietnamese syllables by rule: onset x rhyme x tone.

A written syllable is an onset (possibly empty), a rhyme and a tone. Spelling rules decide between c/k/q, g/gh
and ng/ngh; a rhyme that ends in a stop (c, ch, p, t) has the acute or the dot tone only; the tone sign is on
one vowel of the rhyme, in the older or the newer position (``hòa``, ``hoà``).
"""

from dataclasses import replace
from functools import cache

from nhin.text.letters import TONES, VOWELS, compose, factor

ONSETS = (*"b c ch d đ g gh gi h k kh l m n ng ngh nh p ph qu r s t th tr v x".split(), "")

RHYMES = tuple(
    "a ac ach ai am an ang anh ao ap at au ay ă ăc ăm ăn ăng ăp ăt âc âm ân âng âp ât âu ây e ec em en "
    "eng eo ep et ê êch êm ên êng ênh êp êt êu i ia ich iêc iêm iên iêng iêp iêt iêu im in inh ip it iu o "
    "oa oac oach oai oam oan oang oanh oao oap oat oay oăc oăm oăn oăng oăt oc oe oen oeo oet oi om on "
    "ong ooc oong op ot ô ôc ôi ôm ôn ông ôp ôt ơ ơi ơm ơn ơp ơt u ua uân uâng uât uây uc uê uêch uênh ui "
    "um un ung uơ up ut uôc uôi uôm uôn uông uôt uy uya uych uyên uyêt uynh uyt uyu ư ưa ưc ưi ưng ưt ưu "
    "ươc ươi ươm ươn ương ươp ươt ươu y yêm yên yêng yêt yêu".split()
)

_STOPS = ("c", "ch", "p", "t")
_FRONT = tuple("eêiy")
_ROUND_GLIDES = ("oa", "oe", "uy")


def _is_spelled_together(onset: str, rhyme: str) -> bool:
    """Return whether spelling allows an onset before a rhyme."""
    front = rhyme[0] in _FRONT
    if rhyme == "êng":  # Only giêng, giếng: gi and iêng share their i.
        return onset == "gi"
    if onset in ("k", "gh", "ngh"):
        return front and not (onset != "k" and rhyme[0] == "y")
    if onset in ("c", "g", "ng"):
        # Front vowels take k, gh and ngh; the only exceptions are gì and gìn.
        return (not front and (onset == "ng" or not rhyme.startswith("uy"))) or onset + rhyme in ("gi", "gin")
    if onset == "qu":
        return rhyme == "ôc" or (rhyme[0] in "aăâeêiơy" and not rhyme.startswith(("ia", "iê")))
    if onset == "gi":
        return rhyme[0] not in "iy"
    if onset == "":
        return not rhyme.startswith("iê")
    return not rhyme.startswith("yê") and not (rhyme == "y" and onset not in ("h", "k", "l", "m", "t", "s"))


def _tone_index(rhyme: str, modern: bool) -> int:
    """Return the index of the letter of a rhyme that carries the tone sign."""
    marked = [i for i, char in enumerate(rhyme) if factor(char).mark != "none"]
    if marked:
        return marked[-1]
    vowels = [i for i, char in enumerate(rhyme) if char in VOWELS]
    closed = len(vowels) < len(rhyme)
    if len(vowels) == 1:
        return vowels[0]
    if closed or len(vowels) == 3 or (modern and rhyme in _ROUND_GLIDES):
        return vowels[1]
    return vowels[0]


def spell(onset: str, rhyme: str, tone: str = "level", modern: bool = False) -> str:
    """Write one syllable in NFC lower case; ``modern`` places the tone as in ``hoà``, not ``hòa``."""
    if tone == "level":
        return onset + rhyme
    i = _tone_index(rhyme, modern)
    letter = compose(replace(factor(rhyme[i]), tone=tone))
    return onset + rhyme[:i] + letter + rhyme[i + 1 :]


def allowed_tones(rhyme: str) -> tuple[str, ...]:
    """List the tones of a rhyme: two before a stop, otherwise all six."""
    return ("acute", "dot") if rhyme.endswith(_STOPS) else TONES


@cache
def all_syllables() -> frozenset[str]:
    """Return every syllable that the rules allow, with both positions of the tone sign."""
    return frozenset(
        spell(onset, rhyme, tone, modern)
        for onset in ONSETS
        for rhyme in RHYMES
        if _is_spelled_together(onset, rhyme)
        for tone in allowed_tones(rhyme)
        for modern in (False, True)
    )


def is_syllable(word: str) -> bool:
    """Return whether a word, in any case, is spelled like a Vietnamese syllable."""
    return word.lower() in all_syllables()


@cache
def older_spellings() -> dict[str, str]:
    """Return the syllables with the tone sign in the newer place (``hoà``), and in the older (``hòa``)."""
    return {
        new: old
        for onset in ONSETS
        for rhyme in RHYMES
        for tone in allowed_tones(rhyme)
        if (new := spell(onset, rhyme, tone, modern=True)) != (old := spell(onset, rhyme, tone))
    }
