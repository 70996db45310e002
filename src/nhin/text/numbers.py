"""Numbers as Vietnamese words, and back: 1.205 is ``một nghìn hai trăm linh năm``.

Groups of three digits are read with their units nghìn, triệu and tỷ; what stands before tỷ is itself a
number, so 10^12 is ``một nghìn tỷ``. A group below 100 after a greater one keeps its ``không trăm``, and a
group of zeros is left out. Decimals are read digit by digit: ``ba phẩy một bốn``. The dialects differ in the
words for a zero ten, for a thousand, and for four after tens.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from difflib import get_close_matches

from nhin.errors import UnknownName, UsageError
from nhin.ranges import show_value
from nhin.text.letters import nfc, strip_marks

MAX_DIGITS = 36
_MAX_LETTERS = 2000

DIGITS = "không một hai ba bốn năm sáu bảy tám chín".split()
_AFTER_TENS = {1: "mốt", 5: "lăm"}
_BILLION = 10**9


@dataclass(frozen=True, slots=True)
class NumberDialect:
    """The words in which the dialects differ: the zero of 105, thousand, and the four of 24."""

    zero_ten: str
    thousand: str
    four: str


DIALECTS = {
    "north": NumberDialect("linh", "nghìn", "tư"),
    "south": NumberDialect("lẻ", "ngàn", "bốn"),
}

# The digits that a word may stand for after "mươi" or "mười", and alone.
_ALONE = {word: i for i, word in enumerate(DIGITS)} | {"bẩy": 7}
_AFTER_MUOI = {word: i for word, i in _ALONE.items() if i not in (0, 5)} | {"lăm": 5, "nhăm": 5}
_AFTER_TENS_DIGIT = {word: i for word, i in _AFTER_MUOI.items() if i != 1} | {"mốt": 1, "tư": 4}
_AFTER_ZERO_TEN = {word: i for word, i in _ALONE.items() if i} | {"tư": 4}
_ZERO_TENS, _THOUSANDS = ("linh", "lẻ"), ("nghìn", "ngàn")
_MILLION, _BILLIONS, _POINT, _MINUS = ("triệu",), ("tỷ", "tỉ"), ("phẩy", "phảy"), ("âm", "trừ")
_UNITS = ((_MILLION, 10**6), (_THOUSANDS, 1000))
_WORDS = (
    {*_ALONE, *_AFTER_MUOI, *_AFTER_TENS_DIGIT, *_ZERO_TENS, *_THOUSANDS, *_MILLION, *_BILLIONS}
    | {*_POINT, *_MINUS}
    | {"trăm", "mươi", "mười"}
)

_GROUPED = re.compile(r"([-+\u2212]?)([0-9]{1,3}(?:\.[0-9]{3})+|[0-9]+)(?:,([0-9]+))?")


def number_words(number: int | float | Decimal | str, dialect: str = "north") -> str:
    """Write a number in Vietnamese words.

    Args:
        number: The number; a text is read as Vietnamese write it, 1.205.030,5: dots between groups of three
            digits, a comma before decimals.
        dialect: north (linh, nghìn, hai mươi tư) or south (lẻ, ngàn, hai mươi bốn).

    Raises:
        UsageError: It is no finite number, or has more than ``MAX_DIGITS`` digits before or after the comma.
        UnknownName: The dialect is unknown.
    """
    if dialect not in DIALECTS:
        raise UnknownName("dialect of numbers", dialect, DIALECTS)
    sign, whole, decimals = _split_number(number)
    if max(len(whole), len(decimals)) > MAX_DIGITS:
        raise UsageError(f"a number may have {MAX_DIGITS} digits before the comma and after it, not more")
    words = ["âm"] * sign + [word for word, _ in locate_number_words(int(whole), dialect)]
    return " ".join(words + ["phẩy"] * bool(decimals) + [DIGITS[int(digit)] for digit in decimals])


def parse_number_words(text: str) -> int | Decimal:
    """Read a number from Vietnamese words of either dialect, in any case.

    Beside what ``number_words`` writes it takes tỉ, nhăm, bẩy and phảy, trừ for âm, "linh" without a hundred
    (một nghìn linh năm), spoken groups of zeros, and decimals spoken as one number (ba phẩy mười bốn).

    Returns:
        An int, or a Decimal where there is a "phẩy".

    Raises:
        UsageError: It is no number, or one that can be understood in two ways, such as "một trăm năm".
    """
    if len(text) > _MAX_LETTERS:
        raise UsageError(f"a number in words may have {_MAX_LETTERS} letters; this text has {len(text)}")
    words = nfc(text).lower().split()
    if not words:
        raise UsageError("there is no number in an empty text")
    for word in words:
        if word not in _WORDS:
            letters = strip_marks(word)
            similar = [known for known in sorted(_WORDS) if strip_marks(known) == letters]
            similar = similar[:2] or get_close_matches(word, sorted(_WORDS), n=2)
            hint = f"; did you mean {' or '.join(similar)}?" if similar else ""
            raise UsageError(f"{show_value(word)} is no word of a number{hint}")
    sign = -1 if words[0] in _MINUS else 1
    words = words[sign < 0 :]
    points = [i for i, word in enumerate(words) if word in _POINT]
    if len(points) > 1:
        raise UsageError("a number has one 'phẩy'")
    if not points:
        return sign * _parse_whole(words)
    whole = _parse_whole(words[: points[0]])
    return Decimal(f"{'-' * (sign < 0)}{whole}.{_parse_decimals(words[points[0] + 1 :])}")


def _split_number(number: int | float | Decimal | str) -> tuple[bool, str, str]:
    """Return whether a number is negative, the digits before its comma, and those after it."""
    if isinstance(number, bool) or not isinstance(number, int | float | Decimal | str):
        raise UsageError(f"{show_value(number)} is no number")
    if isinstance(number, int):
        # Its digits, which Python refuses to write where there are thousands, are counted before.
        if abs(number) >= 10**MAX_DIGITS:
            raise UsageError(f"the number has more than {MAX_DIGITS} digits")
        return number < 0, str(abs(number)), ""
    if isinstance(number, str):
        match = _GROUPED.fullmatch(nfc(number).strip())
        if match is None:
            raise UsageError(
                f"{show_value(number)} is no number as Vietnamese write it: in 1.205.030,5 dots stand "
                "between groups of three digits and a comma before decimals"
            )
        sign, whole, decimals = match.groups(default="")
        whole = whole.replace(".", "")
        return sign in ("-", "\u2212") and bool((whole + decimals).strip("0")), whole, decimals
    value = Decimal(repr(number)) if isinstance(number, float) else number
    if not value.is_finite():
        raise UsageError(f"{number} is no finite number")
    if abs(value.adjusted()) > MAX_DIGITS:
        raise UsageError(f"{show_value(number)} has more than {MAX_DIGITS} digits before or after the comma")
    whole, _, decimals = f"{abs(value):f}".partition(".")
    if isinstance(number, float) and decimals == "0":
        decimals = ""
    return value.is_signed() and bool(value), whole, decimals


def locate_number_words(number: int, dialect: str = "north") -> list[tuple[str, int]]:
    """Return the words of a whole number from 0 on, each with the power of ten of the digit it comes from.

    A unit such as nghìn comes from the last digit of its group.
    """
    return _write_whole(number, DIALECTS[dialect], 0)


def _write_whole(number: int, dialect: NumberDialect, place: int) -> list[tuple[str, int]]:
    """Write a number of any size times 10^place; what stands before tỷ is a number too."""
    if number == 0:
        return [(DIGITS[0], place)]
    billions, rest = divmod(number, _BILLION)
    words = [*_write_whole(billions, dialect, place + 9), (_BILLIONS[0], place + 9)] if billions else []
    for power, unit in ((6, _MILLION[0]), (3, dialect.thousand), (0, "")):
        group, rest = divmod(rest, 10**power)
        if group:
            group_words = _write_group(group, dialect, follows=bool(words))
            words += [(word, place + power + digit) for word, digit in group_words]
            words += [(unit, place + power)] * bool(unit)
    return words


def _write_group(number: int, dialect: NumberDialect, follows: bool) -> list[tuple[str, int]]:
    """Write 1 to 999; behind a greater group the hundred is spoken even where it is zero."""
    hundreds, tens, ones = number // 100, number // 10 % 10, number % 10
    words = [(DIGITS[hundreds], 2), ("trăm", 2)] if hundreds or follows else []
    if tens == 0:
        zero_ten = [(dialect.zero_ten, 1)] if words else []
        return words + ([*zero_ten, (DIGITS[ones], 0)] if ones else [])
    words += [("mười", 1)] if tens == 1 else [(DIGITS[tens], 1), ("mươi", 1)]
    if ones == 0:
        return words
    irregular = _AFTER_TENS | {4: dialect.four} if tens > 1 else {5: _AFTER_TENS[5]}
    return [*words, (irregular.get(ones, DIGITS[ones]), 0)]


def _parse_whole(words: Sequence[str]) -> int:
    """Parse a number without sign and decimals."""
    ends = [i for i, word in enumerate(words) if word in _BILLIONS]
    if not ends:
        return _parse_below_billion(words, follows=False)
    if 9 * len(ends) >= MAX_DIGITS:
        raise UsageError(f"the number has more than {MAX_DIGITS} digits")
    head, tail = words[: ends[-1]], words[ends[-1] + 1 :]
    rest = _parse_below_billion(tail, follows=True) if tail else 0
    return _parse_whole(head) * _BILLION + rest


def _parse_below_billion(words: Sequence[str], follows: bool) -> int:
    """Parse millions, thousands and the rest; ``follows`` where tỷ stands before."""
    total, rest = 0, list(words)
    for names, value in _UNITS:
        ends = [i for i, word in enumerate(rest) if word in names]
        if len(ends) > 1:
            raise UsageError(f"{names[0]!r} stands twice in one number")
        if ends:
            total += _parse_group(rest[: ends[0]], follows) * value
            rest, follows = rest[ends[0] + 1 :], True
    if not rest and follows and words:
        return total
    return total + _parse_group(rest, follows)


def _parse_group(words: list[str], follows: bool) -> int:
    """Parse a group of up to three digits."""
    total, rest = 0, words
    if "trăm" in rest[1:2]:
        total, rest = _digit(_ALONE, rest[0], "trăm") * 100, rest[2:]
        if not rest:
            return total
        follows = True
    match rest:
        case [zero, ones] if zero in _ZERO_TENS and follows:
            return total + _digit(_AFTER_ZERO_TEN, ones, zero)
        case ["mười", *ones] if len(ones) < 2:
            return total + 10 + (_digit(_AFTER_MUOI, ones[0], "mười") if ones else 0)
        case [tens, "mươi", *ones] if len(ones) < 2 and _ALONE.get(tens, 0) > 1:
            units = _digit(_AFTER_TENS_DIGIT, ones[0], "mươi") if ones else 0
            return total + _ALONE[tens] * 10 + units
        case [ones] if ones in _ALONE and not (follows and _ALONE[ones]):
            return total + _ALONE[ones]
        case [ones] if ones in _ALONE:
            wider = "mươi" if "trăm" in words else "trăm"
            raise UsageError(f"{ones!r} has two meanings here; say 'linh {ones}' or '{ones} {wider}'")
    raise UsageError(f"{' '.join(words)!r} is no number below a thousand" if words else "a number is missing")


def _digit(table: dict[str, int], word: str, before: str) -> int:
    if word not in table:
        raise UsageError(f"{word!r} cannot stand beside {before!r} in a number")
    return table[word]


def _parse_decimals(words: Sequence[str]) -> str:
    """Return the digits after the comma, spoken one by one or as one number."""
    if not words:
        raise UsageError("no digit stands after 'phẩy'")
    if all(word in _ALONE for word in words):
        return "".join(str(_ALONE[word]) for word in words)
    return str(_parse_whole(words))
