"""What to write in synthetic pictures: words, names, numbers and codes as they stand on signs.

Every phrase comes from one generator, so a seed names it. Words are drawn from lists written for
nhin, from any further lists the user names, and from the syllable rules; figures are made up.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path

import numpy as np

from nhin.errors import DataError
from nhin.text.letters import nfc, without_marks
from nhin.text.syllables import ONSETS, RHYMES, all_syllables, spell, tones_of

Random = np.random.Generator
_LONGEST_LIST = 2_000_000
_MARKS = ",.:;!?-)\"'/"
_ANY = "".join(chr(code) for code in range(33, 127)) + "₫€°×–•²"


@dataclass(frozen=True)
class Words:
    """Words to draw from, each with a weight; ``flatness`` 0 keeps the weights, 1 forgets them."""

    words: tuple[str, ...]
    edges: np.ndarray = field(repr=False)

    @classmethod
    def of(cls, weighted: Iterable[tuple[str, float]], flatness: float = 0.5) -> "Words":
        """Collect words (NFC, each once) with their weights."""
        table: dict[str, float] = {}
        for word, weight in weighted:
            word = nfc(word.strip())
            if word:
                table[word] = table.get(word, 0.0) + weight
        mass = np.power(np.fromiter(table.values(), dtype=np.float64), 1.0 - flatness)
        return cls(tuple(table), np.cumsum(mass / max(mass.sum(), 1e-12)))

    def draw(self, rng: Random) -> str:
        """Draw one entry."""
        return self.words[min(int(np.searchsorted(self.edges, rng.random())), len(self.words) - 1)]


def read_words(path: str | Path) -> Words:
    """Read a word list: one entry a line, optionally followed by its count; ``#`` starts a comment.

    Raises:
        DataError: The file is missing, is not UTF-8 text, or names no word.
    """
    try:
        with Path(path).open(encoding="utf-8") as lines:
            rows = [line.strip() for _, line in zip(range(_LONGEST_LIST), lines, strict=False)]
    except (OSError, UnicodeDecodeError) as why:
        raise DataError(f"cannot read words from {path}: {why}") from why
    entries: list[tuple[str, float]] = []
    for row in rows:
        word, _, count = row.rpartition(" ")
        if row and not row.startswith("#"):
            entries.append((word, float(count)) if word and count.isdigit() else (row, 1.0))
    if not entries:
        raise DataError(f"no words in {path}")
    return Words.of(entries)


def _bundled(name: str) -> Words:
    text = files("nhin.data").joinpath("words", name).read_text(encoding="utf-8")
    return Words.of(((row, 1.0) for row in text.splitlines() if not row.startswith("#")), flatness=1.0)


def _digits(rng: Random, low: int, high: int) -> str:
    return "".join(map(str, rng.integers(0, 10, rng.integers(low, high + 1))))


def _choice(rng: Random, options: Sequence[str]) -> str:
    return options[int(rng.integers(len(options)))]


def number(rng: Random) -> str:
    """Write a house number, a year, a quantity or a percentage."""
    plain = str(int(10 ** rng.uniform(0, 4)))
    forms = (plain, plain, plain, _digits(rng, 1, 4), f"{plain}%", f"{plain}/{_digits(rng, 1, 2)}")
    more = (
        f"{plain}{_choice(rng, 'ABCDEF')}",
        f"{rng.integers(1, 100)},{_digits(rng, 1, 2)}",
        f"{plain}-{_digits(rng, 1, 2)}",
    )
    return _choice(
        rng,
        forms + more + (str(rng.integers(1950, 2030)), f"0{rng.integers(1, 10)}", f"{rng.integers(1, 30)}."),
    )


def price(rng: Random) -> str:
    """Write a price as shops do: dots or commas by thousands, and a unit, or thousands as ``k``."""
    thousands = int(10 ** rng.uniform(0, 3.7))
    mark = _choice(rng, ".,.")
    grouped = f"{thousands * 1000:,}".replace(",", mark)
    return _choice(
        rng,
        (
            grouped,
            f"{grouped}đ",
            f"{grouped} đ",
            f"{grouped}₫",
            f"{grouped}VNĐ",
            f"{thousands}k",
            f"{thousands}K",
            f"{thousands}.000",
        ),
    )


def phone(rng: Random) -> str:
    """Write a telephone number in one of the usual groupings."""
    head = _choice(rng, ("09", "03", "07", "08", "05", "028", "024", "02", "1900", "1800"))
    body = head + _digits(rng, 8, 8)[: max(4, 10 - len(head))]
    mark = _choice(rng, (".", " ", "-", ""))
    cut = int(rng.integers(3, 5))
    parts = [body[:cut], body[cut : cut + 3], body[cut + 3 :]]
    return mark.join(part for part in parts if part)


def date(rng: Random) -> str:
    """Write a date or a time of day."""
    day, month, year = rng.integers(1, 32), rng.integers(1, 13), rng.integers(1975, 2030)
    mark = _choice(rng, "/-.")
    hour = f"{rng.integers(0, 24)}{_choice(rng, ('h', 'H', ':'))}{_choice(rng, ('00', '30', '15', '45'))}"
    return _choice(
        rng,
        (
            f"{day}{mark}{month}{mark}{year}",
            f"{day:02}{mark}{month:02}{mark}{year}",
            f"{day}{mark}{month}",
            hour,
        ),
    )


def code(rng: Random) -> str:
    """Write a number plate, a model code, a web address or a few loose characters."""
    upper = "ABCDEFGHIKLMNOPQRSTUVXYZ"
    letters = "".join(_choice(rng, upper) for _ in range(rng.integers(1, 5)))
    loose = "".join(_choice(rng, _ANY) for _ in range(rng.integers(1, 6)))
    plate = f"{rng.integers(11, 99)}{_choice(rng, upper)}-{_digits(rng, 3, 3)}.{_digits(rng, 2, 2)}"
    front, figures = _choice(rng, ("www.", "", "")), _digits(rng, 0, 2)
    site = f"{front}{letters.lower()}{figures}{_choice(rng, ('.com', '.vn', '.com.vn', '@gmail.com'))}"
    return _choice(
        rng,
        (
            letters,
            letters + _digits(rng, 1, 3),
            f"{letters}-{_digits(rng, 1, 4)}",
            plate,
            site,
            loose,
            letters,
        ),
    )


def single(rng: Random) -> str:
    """Write one character alone, as bullets, seats, lanes and lists have it."""
    return _choice(rng, "0123456789ABCDEGHKLMNPQRSTVXYabcdeghiklmnopqrstuvxy&&--++/")


def syllable(rng: Random) -> str:
    """Compose one syllable by rule: every onset, rhyme and tone comes up, however rare."""
    while True:
        onset, rhyme = _choice(rng, ONSETS), _choice(rng, RHYMES)
        word = spell(onset, rhyme, _choice(rng, tones_of(rhyme)), bool(rng.random() < 0.3))
        if word in all_syllables():
            return word


def _cased(text: str, rng: Random) -> str:
    """Set the case as signs do: mostly capitals, then capitalised, then small; seldom mixed."""
    draw = rng.random()
    if draw < 0.62:
        return text.upper()
    if draw < 0.79:
        return text.title() if rng.random() < 0.7 else text.capitalize()
    if draw < 0.98:
        return text
    return "".join(char.upper() if rng.random() < 0.5 else char.lower() for char in text)


def _punctuated(text: str, rng: Random) -> str:
    """Add a sign before or after a word now and then, as crops of running text show."""
    draw = rng.random()
    if draw < 0.07:
        return text + _choice(rng, _MARKS)
    if draw < 0.085:
        return _choice(rng, "(-\"'+*#/•") + text
    if draw < 0.10:
        return f"({text})" if rng.random() < 0.5 else f'"{text}"'
    return text


class Phrases:
    """Draws phrases; ``lists`` are the user's own word lists, drawn as often as the bundled one."""

    def __init__(self, lists: Sequence[Words] = ()) -> None:
        self.signs = _bundled("signs.txt")
        self.latin = _bundled("latin.txt")
        self.lists = tuple(lists)
        self._parts: tuple[tuple[float, Callable[[Random], str]], ...] = (
            (0.28, self._sign),
            (0.31, self._listed),
            (0.15, syllable),
            (0.07, self.latin.draw),
            (0.09, number),
            (0.015, price),
            (0.015, phone),
            (0.02, date),
            (0.05, code),
            (0.03, single),
        )
        self._edges = np.cumsum([share for share, _ in self._parts])

    def word(self, rng: Random) -> str:
        """Draw one word: the whole phrase of figures and codes, one syllable of the others."""
        pick = min(int(np.searchsorted(self._edges, rng.random() * self._edges[-1])), len(self._parts) - 1)
        text = self._parts[pick][1](rng)
        if pick < 4:
            if " " in text:
                text = _choice(rng, text.split())
            text = _cased(text, rng)
            text = without_marks(text) if rng.random() < 0.04 else text
        return _punctuated(text, rng)

    def line(self, rng: Random, words: int) -> str:
        """Draw a short line: a sign's own words when it has enough, else words of one case."""
        if rng.random() < 0.5:
            run = (self._sign(rng) + " " + self._sign(rng)).split()
            start = int(rng.integers(max(1, len(run) - words + 1)))
            return _punctuated(_cased(" ".join(run[start : start + words]), rng), rng)
        if rng.random() < 0.6:
            return _punctuated(_cased(" ".join(self._listed(rng) for _ in range(words)), rng), rng)
        return " ".join(self.word(rng) for _ in range(words))

    def _sign(self, rng: Random) -> str:
        return self.signs.draw(rng)

    def _listed(self, rng: Random) -> str:
        if not self.lists:
            return syllable(rng)
        return self.lists[int(rng.integers(len(self.lists)))].draw(rng)
