"""Random lines of print: running text, forms, tables, figures, codes, addresses, as documents have them.

A line is cut to a number of characters at a space. Every Vietnamese letter gets its share of the words, rare
ones (ẵ, ẳ, ỡ) too: a part of the syllables is drawn by the letter they contain.
"""

from collections.abc import Callable, Sequence

import numpy as np

from nhin.data.images.text_generator import (
    TextGenerator,
    choose,
    draw_balanced_syllable,
    draw_date,
    draw_digits,
    draw_number,
    draw_phone,
    draw_price,
)
from nhin.image.render import Rng
from nhin.text.charset import EUROPEAN, VIETNAMESE
from nhin.text.letters import LOWER

_LOWER_ASCII = "abcdefghijklmnopqrstuvwxyz"
_CAPITALS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_AFTER_WORD = (*[""] * 45, ",", ",", ".", ";", ":", "?", "!", "…", ")", "”")
_DOMAINS = ("gmail.com", "yahoo.com", "outlook.com", "vnexpress.net", "moit.gov.vn", "edu.vn", "fpt.com.vn")
_FOLDERS = ("tin-tuc", "san-pham", "index.html", "download", "users", "van-ban", "api", "anh_bia", "p")
_UNITS = ("kg", "m²", "m³", "km", "cm", "mm", "%", "°C", "lít", "kWh", "MB", "GB", "đ/kg", "USD", "EUR")
_SIGNS = "".join(char for char in EUROPEAN.chars if not char.isalnum() and char != " ") + "¹²³½¼¾"
_BULLETS = ("- ", "• ", "– ", "+ ", "* ", "□ ", "■ ", "✓ ", "a) ", "b) ", "1. ", "2) ", "I. ", "IV. ")
_FOREIGN = "".join(char for char in EUROPEAN.chars if char.isalpha() and char not in VIETNAMESE) + "éèêàâçôù"


def draw_email(rng: Rng) -> str:
    """Draw an e-mail address."""
    name = _draw_name(rng)
    return f"{name}{draw_digits(rng, 0, 4)}@{choose(rng, _DOMAINS)}"


def draw_url(rng: Rng) -> str:
    """Draw a web address, with or without its scheme and path."""
    scheme = choose(rng, ("https://", "http://", "www.", "https://www.", ""))
    path = "".join(f"/{choose(rng, (*_FOLDERS, draw_digits(rng, 1, 6)))}" for _ in range(rng.integers(0, 3)))
    query = f"?id={draw_digits(rng, 1, 7)}" if rng.random() < 0.15 else ""
    domain = choose(rng, ("vn", "com", "com.vn", "org", "gov.vn", "net"))
    return f"{scheme}{_draw_name(rng)}.{domain}{path}{query}"


def _draw_name(rng: Rng) -> str:
    letters = "".join(choose(rng, _LOWER_ASCII) for _ in range(rng.integers(2, 9)))
    return letters if rng.random() < 0.7 else letters + choose(rng, "._-") + choose(rng, _LOWER_ASCII) * 2


def draw_serial(rng: Rng) -> str:
    """Draw a document number, an account, an IBAN, a tax code, a plate or a key of mixed characters."""
    letters = "".join(choose(rng, _CAPITALS) for _ in range(rng.integers(1, 5)))
    groups = " ".join(draw_digits(rng, 4, 4) for _ in range(rng.integers(3, 7)))
    mixed = "".join(choose(rng, _CAPITALS + "0123456789") for _ in range(rng.integers(4, 16)))
    confusable = "".join(choose(rng, "0OoQ1Il|i5S8B2Z6G9gq7T") for _ in range(rng.integers(3, 10)))
    series = choose(rng, _CAPITALS) + choose(rng, ("", "1", "A"))
    plate = f"{rng.integers(11, 99)}{series}-{draw_digits(rng, 3, 3)}.{draw_digits(rng, 2, 2)}"
    office = choose(rng, ("NĐ-CP", "TT-BTC", "QĐ-UBND", "HĐMB", "CV"))
    return choose(
        rng,
        (
            f"{rng.integers(1, 999)}/{rng.integers(2000, 2030)}/{office}",
            f"{choose(rng, ('VN', 'DE', 'FR', 'GB'))}{draw_digits(rng, 2, 2)} {groups}",
            f"{draw_digits(rng, 10, 10)}-{draw_digits(rng, 3, 3)}",
            f"{letters}-{draw_digits(rng, 2, 6)}",
            groups,
            draw_digits(rng, 8, 16),
            mixed,
            confusable,
            plate,
        ),
    )


def draw_measure(rng: Rng) -> str:
    """Draw a quantity with its unit, a formula of signs, or a range."""
    number = f"{10 ** rng.uniform(0, 4):,.{rng.integers(0, 3)}f}"
    number = number.translate(str.maketrans(",.", ".,")) if rng.random() < 0.7 else number
    signs = "".join(choose(rng, _SIGNS) for _ in range(rng.integers(1, 5)))
    forms = (f"{number} {choose(rng, _UNITS)}", f"{number}{choose(rng, _UNITS)}", number)
    return choose(
        rng, (*forms, *forms, f"{rng.integers(1, 60)}–{rng.integers(60, 99)}", signs, f"({number})")
    )


class LineTextGenerator:
    """Draws lines of print from the words of a ``TextGenerator``."""

    def __init__(self, words: TextGenerator) -> None:
        self.words = words
        self._kinds: tuple[tuple[float, Callable[[Rng, int], str]], ...] = (
            (0.50, self.draw_running_text),
            (0.09, self._draw_capitals),
            (0.09, self._draw_form_entry),
            (0.07, self._draw_table_row),
            (0.04, self._draw_list_item),
            (0.03, self._draw_leaders),
            (0.10, self._draw_figures),
            (0.05, self._draw_foreign),
            (0.04, self._draw_isolated),
        )
        self._edges = np.cumsum([share for share, _ in self._kinds])

    def draw(self, rng: Rng, length: int) -> str:
        """Draw a line of about ``length`` characters, never longer."""
        kind = int(np.searchsorted(self._edges, rng.random() * self._edges[-1]))
        text = " ".join(self._kinds[min(kind, len(self._kinds) - 1)][1](rng, length).split())
        if len(text) <= length:
            return text
        cut = text.rfind(" ", 0, length + 1)
        return text[: cut if cut > 0 else length].strip()

    def draw_words(self, rng: Rng, length: int) -> str:
        """Draw lower-case words until they are at least ``length`` characters long."""
        words: list[str] = []
        while sum(map(len, words)) + len(words) < length:
            draw = rng.random()
            if draw < 0.62:
                words.append(self.words.draw_listed_word(rng))
            elif draw < 0.87:
                words.append(draw_balanced_syllable(rng))
            else:
                words.extend(self.words.signs.draw(rng).lower().split())
        return " ".join(words)

    def draw_running_text(self, rng: Rng, length: int) -> str:
        """Draw a piece of a paragraph: punctuation, capitals after a full stop, names, quotes, numbers."""
        out: list[str] = []
        capital = rng.random() < 0.4
        for word in self.draw_words(rng, length).split():
            draw = rng.random()
            if draw < 0.025:
                word = draw_number(rng)
            elif draw < 0.035:
                word = draw_date(rng)
            elif draw < 0.05:
                start, end = choose(rng, ("“”", "()", '""', "‘’", "«»", "''", "[]"))
                word = start + word + (end if rng.random() < 0.6 else "")
            word = word[:1].upper() + word[1:] if capital or rng.random() < 0.08 else word
            mark = choose(rng, _AFTER_WORD)
            capital = mark in (".", "?", "!", "…")
            out.append(word + mark)
            if rng.random() < 0.012:
                out.append(choose(rng, ("–", "-", "—", "&", "/", choose(rng, _SIGNS))))
        return " ".join(out)

    def _draw_capitals(self, rng: Rng, length: int) -> str:
        text = self.draw_words(rng, length)
        return text.upper() if rng.random() < 0.65 else text.title()

    def _draw_form_entry(self, rng: Rng, length: int) -> str:
        label = self.draw_words(rng, int(rng.integers(3, 20))).capitalize()
        return f"{label}: {self._draw_value(rng, length)}"

    def _draw_table_row(self, rng: Rng, length: int) -> str:
        name = self.draw_words(rng, max(3, length // 3)).capitalize()
        cells = [draw_number(rng), draw_price(rng), draw_measure(rng), draw_price(rng)]
        return " ".join([str(rng.integers(1, 100)), name, *cells][int(rng.integers(2)) :])

    def _draw_list_item(self, rng: Rng, length: int) -> str:
        return choose(rng, _BULLETS) + self.draw_running_text(rng, length)

    def _draw_leaders(self, rng: Rng, length: int) -> str:
        """Draw an entry of a contents page or a menu; the dots between are not text."""
        return f"{self.draw_words(rng, length // 2).capitalize()}\0{self._draw_value(rng, 12)}"

    def _draw_figures(self, rng: Rng, length: int) -> str:
        parts = [self._draw_value(rng, length)]
        while rng.random() < 0.5 and sum(map(len, parts)) < length:
            parts.append(self._draw_value(rng, length))
        return " ".join(parts)

    def _draw_value(self, rng: Rng, length: int) -> str:
        kinds = (
            draw_price,
            draw_phone,
            draw_date,
            draw_email,
            draw_url,
            draw_serial,
            draw_serial,
            draw_measure,
        )
        draw = int(rng.integers(len(kinds) + 3))
        if draw < len(kinds):
            return kinds[draw](rng)
        return self.draw_words(rng, max(2, length // 2)).title()

    def _draw_foreign(self, rng: Rng, length: int) -> str:
        """Draw English, brands and words with letters of other languages."""
        words: list[str] = []
        while sum(map(len, words)) + len(words) < length:
            word = self.words.latin.draw(rng)
            if rng.random() < 0.3:
                at = int(rng.integers(len(word) + 1))
                word = word[:at] + choose(rng, _FOREIGN) + word[at:]
            words.append(word.title() if rng.random() < 0.3 else word)
        return " ".join(words)

    def _draw_isolated(self, rng: Rng, length: int) -> str:
        """Draw one or a few characters that stand alone: numbers of pages, letters of choices, signs."""
        signs: Sequence[str] = (*"0123456789", *_CAPITALS, *LOWER, *LOWER.upper(), *_SIGNS, "10", "ii", "(a)")
        return " ".join(choose(rng, signs) for _ in range(rng.integers(1, 4)))
