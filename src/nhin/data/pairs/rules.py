"""Pairs drawn by rules, without end: numbers and their words, dates, reversed and copied symbols."""

from collections.abc import Callable, Sequence
from dataclasses import astuple
from datetime import date
from random import Random

from nhin.data.pairs.pair import NO_ORIGIN, Pair, PairSource
from nhin.text.letters import nfc
from nhin.text.numbers import DIALECTS, DIGITS, locate_number_words, number_words

_DIGITS = "0123456789"
_RARE = 0.1  # of numbers: the share of negative ones, and of those with decimals
_MAX_DECIMALS = 3
_SYMBOLS = "abcdefghijklmnopqrstuvwxyz"


class NumberPairs:
    """Digits and their Vietnamese words: ``1.205`` to ``một nghìn hai trăm linh năm``.

    The length is the number of digits before the comma. Half of the numbers have dots between thousands.
    """

    source_tokens: Sequence[str] = [*_DIGITS, ".", ",", "-"]
    separator = " "

    def __init__(self, dialect: str = "north") -> None:
        self.dialect = dialect
        self.target_tokens: Sequence[str] = sorted({*DIGITS, *_NUMBER_WORDS, *astuple(DIALECTS[dialect])})

    def draw(self, draw: Random, length: int) -> Pair:
        """Draw a number of so many digits."""
        number = draw.randrange(10 ** (length - 1) if length > 1 else 0, 10**length)
        digits = f"{number:,}".replace(",", ".") if draw.random() < 0.5 else str(number)
        negative = number > 0 and draw.random() < _RARE
        decimals = "".join(draw.choices(_DIGITS, k=draw.randint(1, _MAX_DECIMALS)))
        decimals = "," + decimals if draw.random() < _RARE else ""
        source = "-" * negative + digits + decimals
        whole = len(source) - len(decimals)
        # The power of ten of a digit, to its index among all characters.
        places = dict(enumerate(i for i in range(whole - 1, -1, -1) if source[i].isdigit()))
        located = [("âm", 0)] * negative
        located += [(word, places[place]) for word, place in locate_number_words(number, self.dialect)]
        for i in range(whole, len(source)):
            located.append(("phẩy" if source[i] == "," else DIGITS[int(source[i])], i))
        return _to_pair(source, located)

    def split(self, text: str) -> tuple[str, ...]:
        """Split a number into characters."""
        return tuple("".join(text.split()).replace("\u2212", "-"))


class NumberWordPairs(NumberPairs):
    """Vietnamese number words and their digits, the other way round; the length is that of the digits."""

    separator = ""

    def __init__(self, dialect: str = "north") -> None:
        super().__init__(dialect)
        self.source_tokens = self.target_tokens
        self.target_tokens: Sequence[str] = [*_DIGITS, ",", "-"]

    def draw(self, draw: Random, length: int) -> Pair:
        """Draw a number of so many digits."""
        pair = super().draw(draw, length)
        first: dict[int, int] = {}
        for word, digit in enumerate(pair.origins):
            first.setdefault(digit, word)
        target = [(char, first.get(i, NO_ORIGIN)) for i, char in enumerate(pair.source) if char != "."]
        return _to_pair(pair.target, target)

    def split(self, text: str) -> tuple[str, ...]:
        """Split words at white space."""
        return tuple(nfc(text).lower().split())


class DatePairs:
    """Dates as Vietnamese write them, and in ISO 8601: ``ngày 2 tháng 9 năm 1945`` to ``1945-09-02``.

    Days and months stand in digits or in words; the length is not used.
    """

    separator = ""
    target_tokens: Sequence[str] = (*_DIGITS, "-")
    _first, _last = date(1000, 1, 1).toordinal(), date(2999, 12, 31).toordinal()

    def __init__(self) -> None:
        texts = [*_DATE_FORMS, *map(number_words, range(32)), _DIGITS, "mùng "]
        self.source_tokens: Sequence[str] = sorted(set("".join(texts)) - set("{}"))

    def draw(self, draw: Random, length: int) -> Pair:
        """Draw a day of the years 1000 to 2999, in one of the ways to write it."""
        day = date.fromordinal(draw.randint(self._first, self._last))
        form = draw.choice(_DATE_FORMS)
        in_words = "tháng" in form and draw.random() < 0.5
        month = _month_words(day.month) if in_words else _pad(draw, day.month)
        days = number_words(day.day) if in_words else _pad(draw, day.day)
        if "ngày" in form and day.day <= 10 and draw.random() < 0.5:
            days = "mùng " + days
        spans, source = {}, ""
        for part in form.replace("{", "}").split("}"):
            text = {"d": days, "m": month, "y": f"{day.year}"}.get(part, part)
            if part in ("d", "m", "y"):
                spans[part] = (len(source), len(source) + len(text))
            source += text
        start = spans["y"][0]
        located = [(char, start + i) for i, char in enumerate(f"{day.year}")]
        for part, value in (("m", day.month), ("d", day.day)):
            located += [("-", spans[part][0]), *_locate_two_digits(source, spans[part], value)]
        return _to_pair(source, located)

    def split(self, text: str) -> tuple[str, ...]:
        """Split a date into characters."""
        return tuple(nfc(" ".join(text.split())))


class SymbolPairs:
    """Random letters, copied or reversed: what each target letter comes from is known exactly."""

    separator = " "
    source_tokens: Sequence[str] = tuple(_SYMBOLS)
    target_tokens: Sequence[str] = source_tokens

    def __init__(self, is_reversed: bool) -> None:
        self.is_reversed = is_reversed

    def draw(self, draw: Random, length: int) -> Pair:
        """Draw so many letters."""
        source = draw.choices(_SYMBOLS, k=length)
        located = list(zip(source, range(length), strict=True))
        return _to_pair(source, located[::-1] if self.is_reversed else located)

    def split(self, text: str) -> tuple[str, ...]:
        """Split letters, with or without spaces between them."""
        return tuple("".join(text.split()))


_NUMBER_WORDS = "mười mươi mốt lăm trăm triệu tỷ âm phẩy".split()
_DATE_FORMS = ("{d}/{m}/{y}", "{d}-{m}-{y}", "{d}.{m}.{y}", "{d} tháng {m} năm {y}", "{d} tháng {m}, {y}")
_DATE_FORMS += ("ngày {d} tháng {m} năm {y}", "ngày {d}/{m}/{y}")

RULES: dict[str, Callable[[], PairSource]] = {
    "numbers": NumberPairs,
    "number-words": NumberWordPairs,
    "dates": DatePairs,
    "reverse": lambda: SymbolPairs(True),
    "copy": lambda: SymbolPairs(False),
}


def _to_pair(source: Sequence[str], located: Sequence[tuple[str, int]]) -> Pair:
    return Pair(tuple(source), tuple(word for word, _ in located), tuple(i for _, i in located))


def _locate_two_digits(source: str, span: tuple[int, int], value: int) -> list[tuple[str, int]]:
    """Return both digits of a day or month, each with its digit in the source, or the last word of it."""
    begin, end = span
    if not source[end - 1].isdigit():
        begin = last = end - len(source[begin:end].split()[-1])
    else:
        last = end - 1
        begin = last - 1 if begin < last and source[last - 1].isdigit() else last
    return list(zip(f"{value:02}", (begin, last), strict=True))


def _pad(draw: Random, number: int) -> str:
    return f"{number:02}" if draw.random() < 0.5 else str(number)


def _month_words(month: int) -> str:
    """Return a month in words; the fourth is tháng tư."""
    return "tư" if month == 4 else number_words(month)
