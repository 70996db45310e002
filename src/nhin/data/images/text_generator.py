"""Random text for synthetic pictures: words, names, numbers and codes as they appear on signs.

Words come from the bundled lists, from the user's own lists, and from the syllable rules; numbers are
made up. One random generator draws everything, so a seed determines the text.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from pathlib import Path

import numpy as np

from nhin.errors import DataError
from nhin.files import read_bytes
from nhin.image.render import Rng
from nhin.text.letters import LOWER, nfc, strip_marks
from nhin.text.syllables import ONSETS, RHYMES, all_syllables, allowed_tones, spell

_MAX_WORDS, _MAX_ENTRY, _MAX_DIGITS, _MAX_BYTES = 2_000_000, 1024, 18, 32 * 2**20
_MARKS = ",.:;!?-)\"'/"
_ANY = "".join(chr(code) for code in range(33, 127)) + "₫€°×–•²"


@dataclass(frozen=True)
class WordList:
    """Words with cumulative probabilities; ``flatness`` 0 keeps the given weights, 1 makes them equal."""

    words: tuple[str, ...]
    edges: np.ndarray = field(repr=False)

    @classmethod
    def from_weights(cls, weighted: Iterable[tuple[str, float]], flatness: float = 0.5) -> "WordList":
        """Normalize words (NFC), add up the weights of equal ones, and flatten the weights."""
        table: dict[str, float] = {}
        for word, weight in weighted:
            word = nfc(word.strip()).replace("Ð", "Đ")  # the Icelandic letter looks the same
            if word:
                table[word] = table.get(word, 0.0) + weight
        mass = np.power(np.fromiter(table.values(), dtype=np.float64), 1.0 - flatness)
        return cls(tuple(table), np.cumsum(mass / max(mass.sum(), 1e-12)))

    def draw(self, rng: Rng) -> str:
        """Draw one word."""
        return self.words[min(int(np.searchsorted(self.edges, rng.random())), len(self.words) - 1)]


def read_words(path: str | Path) -> WordList:
    """Read a word list: one entry per line, optionally followed by its count; ``#`` starts a comment.

    Raises:
        DataError: The file is missing, is not UTF-8 text, or has no word.
    """
    try:
        text = read_bytes(Path(path), _MAX_BYTES, DataError).decode("utf-8")
    except UnicodeDecodeError as why:
        raise DataError(f"cannot read words from {path}: {why}") from why
    rows = [line.strip() for line in text.split("\n", _MAX_WORDS)[:_MAX_WORDS]]
    entries: list[tuple[str, float]] = []
    for row in rows:
        word, _, count = row.rpartition(" ")
        if len(row) > _MAX_ENTRY:
            raise DataError(f"{path} is no list of words: an entry has {len(row):,} characters")
        if row and not row.startswith("#"):
            is_counted = word and count.isascii() and count.isdigit()
            entries.append((word, float(count[:_MAX_DIGITS])) if is_counted else (row, 1.0))
    if not entries:
        raise DataError(f"no words in {path}")
    return WordList.from_weights(entries)


def _load_bundled(name: str) -> WordList:
    text = files("nhin.data").joinpath("words", name).read_text(encoding="utf-8")
    return WordList.from_weights(
        ((row, 1.0) for row in text.splitlines() if not row.startswith("#")), flatness=1.0
    )


def draw_digits(rng: Rng, low: int, high: int) -> str:
    """Draw a string of ``low`` to ``high`` digits."""
    return "".join(map(str, rng.integers(0, 10, rng.integers(low, high + 1))))


def choose(rng: Rng, options: Sequence[str]) -> str:
    """Draw one of some texts, each as likely as the others."""
    return options[int(rng.integers(len(options)))]


def draw_number(rng: Rng) -> str:
    """Draw a house number, a year, a quantity or a percentage."""
    plain = str(int(10 ** rng.uniform(0, 4)))
    forms = [plain, plain, plain, draw_digits(rng, 1, 4), f"{plain}%", f"{plain}/{draw_digits(rng, 1, 2)}"]
    forms += [f"{plain}{choose(rng, 'ABCDEF')}", f"{rng.integers(1, 100)},{draw_digits(rng, 1, 2)}"]
    forms += [f"{plain}-{draw_digits(rng, 1, 2)}", str(rng.integers(1950, 2030))]
    forms += [f"0{rng.integers(1, 10)}", f"{rng.integers(1, 30)}."]
    return choose(rng, forms)


def draw_price(rng: Rng) -> str:
    """Draw a price: dots or commas by thousands, and a unit, or thousands as ``k``."""
    thousands = int(10 ** rng.uniform(0, 3.7))
    mark = choose(rng, ".,.")
    price = f"{thousands * 1000:,}".replace(",", mark)
    forms = [price, f"{price}đ", f"{price} đ", f"{price}₫", f"{price}VNĐ"]
    return choose(rng, [*forms, f"{thousands}k", f"{thousands}K", f"{thousands}.000"])


def draw_phone(rng: Rng) -> str:
    """Draw a telephone number in one of the usual groupings."""
    head = choose(rng, ("09", "03", "07", "08", "05", "028", "024", "02", "1900", "1800"))
    body = head + draw_digits(rng, 8, 8)[: max(4, 10 - len(head))]
    mark = choose(rng, (".", " ", "-", ""))
    cut = int(rng.integers(3, 5))
    parts = [body[:cut], body[cut : cut + 3], body[cut + 3 :]]
    return mark.join(part for part in parts if part)


def draw_date(rng: Rng) -> str:
    """Draw a date or a time of day."""
    day, month, year = rng.integers(1, 32), rng.integers(1, 13), rng.integers(1975, 2030)
    mark = choose(rng, "/-.")
    time = f"{rng.integers(0, 24)}{choose(rng, ('h', 'H', ':'))}{choose(rng, ('00', '30', '15', '45'))}"
    dates = [
        f"{day}{mark}{month}{mark}{year}",
        f"{day:02}{mark}{month:02}{mark}{year}",
        f"{day}{mark}{month}",
    ]
    return choose(rng, [*dates, time])


def draw_code(rng: Rng) -> str:
    """Draw a number plate, a model code, a web address or a few random characters."""
    upper = "ABCDEFGHIKLMNOPQRSTUVXYZ"
    letters = "".join(choose(rng, upper) for _ in range(rng.integers(1, 5)))
    loose = "".join(choose(rng, _ANY) for _ in range(rng.integers(1, 6)))
    plate = f"{rng.integers(11, 99)}{choose(rng, upper)}-{draw_digits(rng, 3, 3)}.{draw_digits(rng, 2, 2)}"
    prefix, digits = choose(rng, ("www.", "", "")), draw_digits(rng, 0, 2)
    site = f"{prefix}{letters.lower()}{digits}{choose(rng, ('.com', '.vn', '.com.vn', '@gmail.com'))}"
    models = [letters + draw_digits(rng, 1, 3), f"{letters}-{draw_digits(rng, 1, 4)}"]
    return choose(rng, [letters, *models, plate, site, loose, letters])


def draw_character(rng: Rng) -> str:
    """Draw a single character, as on seats, lanes and in lists."""
    return choose(rng, "0123456789ABCDEGHKLMNPQRSTVXYabcdeghiklmnopqrstuvxy&&--++/")


def draw_syllable(rng: Rng) -> str:
    """Draw a syllable by the rules: onset, rhyme and tone each uniformly, however rare."""
    while True:
        onset, rhyme = choose(rng, ONSETS), choose(rng, RHYMES)
        word = spell(onset, rhyme, choose(rng, allowed_tones(rhyme)), bool(rng.random() < 0.3))
        if word in all_syllables():
            return word


@cache
def _syllables_by_letter() -> dict[str, tuple[str, ...]]:
    """Group the syllables by the Vietnamese letters in them."""
    groups: dict[str, list[str]] = {letter: [] for letter in LOWER}
    for word in sorted(all_syllables()):
        for letter in set(word) & groups.keys():
            groups[letter].append(word)
    return {letter: tuple(words) for letter, words in groups.items() if words}


def draw_balanced_syllable(rng: Rng) -> str:
    """Draw a Vietnamese letter uniformly, then a syllable that contains it."""
    groups = _syllables_by_letter()
    return choose(rng, groups[choose(rng, tuple(groups))])


def _vary_case(text: str, rng: Rng) -> str:
    """Draw a case as on signs: mostly upper, then title, then lower; seldom mixed."""
    draw = rng.random()
    if draw < 0.62:
        return text.upper()
    if draw < 0.79:
        return text.title() if rng.random() < 0.7 else text.capitalize()
    if draw < 0.98:
        return text
    return "".join(char.upper() if rng.random() < 0.5 else char.lower() for char in text)


def _add_punctuation(text: str, rng: Rng) -> str:
    """Add punctuation to some words, as in crops of running text."""
    draw = rng.random()
    if draw < 0.07:
        return text + choose(rng, _MARKS)
    if draw < 0.085:
        return choose(rng, "(-\"'+*#/•") + text
    if draw < 0.10:
        return f"({text})" if rng.random() < 0.5 else f'"{text}"'
    return text


class TextGenerator:
    """Draws words and lines; ``lists`` are the user's own word lists, which replace random syllables."""

    def __init__(self, lists: Sequence[WordList] = ()) -> None:
        self.signs = _load_bundled("signs.txt")
        self.latin = _load_bundled("latin.txt")
        self.lists = tuple(lists)
        self._generators: tuple[tuple[float, Callable[[Rng], str]], ...] = (
            (0.26, self.signs.draw),
            (0.29, self.draw_listed_word),
            (0.08, draw_syllable),
            (0.09, draw_balanced_syllable),
            (0.10, self.latin.draw),
            (0.09, draw_number),
            (0.015, draw_price),
            (0.015, draw_phone),
            (0.02, draw_date),
            (0.05, draw_code),
            (0.03, draw_character),
        )
        self._edges = np.cumsum([share for share, _ in self._generators])

    def draw_word(self, rng: Rng) -> str:
        """Draw one word: a number or code, or one syllable of a phrase."""
        index = int(np.searchsorted(self._edges, rng.random() * self._edges[-1]))
        index = min(index, len(self._generators) - 1)
        text = self._generators[index][1](rng)
        if index < 5:
            if " " in text:
                text = choose(rng, text.split())
            text = _vary_case(text, rng)
            text = strip_marks(text) if rng.random() < 0.04 else text
        return _add_punctuation(text, rng)

    def draw_line(self, rng: Rng, words: int) -> str:
        """Draw a short line: consecutive words of signs, listed words in one case, or random words."""
        if rng.random() < 0.5:
            run = f"{self.signs.draw(rng)} {self.signs.draw(rng)}".split()
            start = int(rng.integers(max(1, len(run) - words + 1)))
            return _add_punctuation(_vary_case(" ".join(run[start : start + words]), rng), rng)
        if rng.random() < 0.6:
            text = " ".join(self.draw_listed_word(rng) for _ in range(words))
            return _add_punctuation(_vary_case(text, rng), rng)
        return " ".join(self.draw_word(rng) for _ in range(words))

    def draw_listed_word(self, rng: Rng) -> str:
        """Draw a word of the user's lists, or a syllable if there are none."""
        if not self.lists:
            return draw_syllable(rng)
        return self.lists[int(rng.integers(len(self.lists)))].draw(rng)
