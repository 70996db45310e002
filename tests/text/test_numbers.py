"""Numbers as Vietnamese words: irregular cases checked by hand, and laws both ways."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nhin.errors import UnknownName, UsageError
from nhin.text.numbers import DIALECTS, MAX_DIGITS, number_words, parse_number_words

# Written by hand, not by the code under test; every one has an irregular word.
IRREGULAR = {
    0: "không",
    1: "một",
    4: "bốn",
    5: "năm",
    10: "mười",
    11: "mười một",
    14: "mười bốn",
    15: "mười lăm",
    19: "mười chín",
    20: "hai mươi",
    21: "hai mươi mốt",
    24: "hai mươi tư",
    25: "hai mươi lăm",
    31: "ba mươi mốt",
    34: "ba mươi tư",
    44: "bốn mươi tư",
    45: "bốn mươi lăm",
    51: "năm mươi mốt",
    54: "năm mươi tư",
    55: "năm mươi lăm",
    71: "bảy mươi mốt",
    91: "chín mươi mốt",
    95: "chín mươi lăm",
    100: "một trăm",
    101: "một trăm linh một",
    104: "một trăm linh bốn",
    105: "một trăm linh năm",
    110: "một trăm mười",
    111: "một trăm mười một",
    115: "một trăm mười lăm",
    121: "một trăm hai mươi mốt",
    124: "một trăm hai mươi tư",
    150: "một trăm năm mươi",
    201: "hai trăm linh một",
    215: "hai trăm mười lăm",
    505: "năm trăm linh năm",
    555: "năm trăm năm mươi lăm",
    1000: "một nghìn",
    1001: "một nghìn không trăm linh một",
    1010: "một nghìn không trăm mười",
    1015: "một nghìn không trăm mười lăm",
    1021: "một nghìn không trăm hai mươi mốt",
    1100: "một nghìn một trăm",
    1105: "một nghìn một trăm linh năm",
    2024: "hai nghìn không trăm hai mươi tư",
    10000: "mười nghìn",
    15000: "mười lăm nghìn",
    21000: "hai mươi mốt nghìn",
    24004: "hai mươi tư nghìn không trăm linh bốn",
    100005: "một trăm nghìn không trăm linh năm",
    105000: "một trăm linh năm nghìn",
    1000000: "một triệu",
    1000005: "một triệu không trăm linh năm",
    1005000: "một triệu không trăm linh năm nghìn",
    1205030: "một triệu hai trăm linh năm nghìn không trăm ba mươi",
    21000000: "hai mươi mốt triệu",
    1000000000: "một tỷ",
    1000000001: "một tỷ không trăm linh một",
    1000001000: "một tỷ không trăm linh một nghìn",
    4015024101: "bốn tỷ không trăm mười lăm triệu không trăm hai mươi tư nghìn một trăm linh một",
    10**12: "một nghìn tỷ",
    1005 * 10**9: "một nghìn không trăm linh năm tỷ",
    10**15: "một triệu tỷ",
    10**15 + 5: "một triệu tỷ không trăm linh năm",
    10**18: "một tỷ tỷ",
    10**18 + 5 * 10**9: "một tỷ không trăm linh năm tỷ",
}

whole_numbers = st.integers(-(10**15), 10**15) | st.integers(1, 10**15).map(
    lambda n: 10 ** len(str(n)) + n % 30
)
dialects = st.sampled_from(sorted(DIALECTS))


@pytest.mark.parametrize(("number", "words"), IRREGULAR.items())
def test_irregular_numbers_are_written_as_checked_by_hand(number, words):
    assert number_words(number) == words
    assert parse_number_words(words) == number


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (24, "hai mươi bốn"),
        (105, "một trăm lẻ năm"),
        (1205, "một ngàn hai trăm lẻ năm"),
        (10**12 + 1, "một ngàn tỷ không trăm lẻ một"),
    ],
)
def test_the_south_says_le_ngan_and_bon(number, words):
    assert number_words(number, "south") == words


@given(whole_numbers, dialects)
def test_a_whole_number_comes_back_from_its_words(number, dialect):
    words = number_words(number, dialect=dialect)
    assert parse_number_words(words) == number
    assert parse_number_words(f"  {words.upper()} ") == number


@given(whole_numbers, whole_numbers, dialects)
def test_different_numbers_have_different_words(one, other, dialect):
    assert (number_words(one, dialect) == number_words(other, dialect)) == (one == other)


@given(st.decimals(-(10**15), 10**15, allow_nan=False, places=6), dialects)
def test_a_decimal_number_comes_back_digit_for_digit(number, dialect):
    parsed = parse_number_words(number_words(number, dialect))
    assert isinstance(parsed, Decimal)
    assert f"{parsed:f}" == f"{number + 0:f}".removeprefix("-" * (number == 0))


@given(whole_numbers)
def test_a_text_with_dotted_thousands_reads_as_its_number(number):
    assert number_words(f"{number:,}".replace(",", ".")) == number_words(number) == number_words(str(number))


@pytest.mark.parametrize(
    ("number", "words"),
    [
        ("3,14", "ba phẩy một bốn"),
        ("-0,05", "âm không phẩy không năm"),
        ("1.205.030,50", "một triệu hai trăm linh năm nghìn không trăm ba mươi phẩy năm không"),
        ("\u22127", "âm bảy"),
        ("-0", "không"),
        (3.5, "ba phẩy năm"),
        (2.0, "hai"),
        (Decimal("2.0"), "hai phẩy không"),
    ],
)
def test_signs_and_decimals_are_spoken(number, words):
    assert number_words(number) == words


# Faults of other libraries.


def test_minus_one_is_not_nineteen():
    assert number_words(-1) == "âm một"
    assert parse_number_words("âm một") == -1


def test_the_zero_hundred_is_not_dropped_inside_a_number():
    assert number_words(2_005) == "hai nghìn không trăm linh năm"
    assert parse_number_words("hai nghìn không trăm linh năm") == 2005


def test_numbers_over_a_billion_are_words_and_not_english_ones():
    for digits in range(10, MAX_DIGITS + 1):
        assert set(number_words(10**digits - 1).split()) <= set("chín trăm mươi nghìn triệu tỷ".split())
    assert parse_number_words("hai nghìn tỷ") == parse_number_words("hai ngàn tỉ") == 2 * 10**12


def test_le_is_not_misspelled_and_its_misspelling_is_explained():
    assert "lẽ" not in number_words(105, "south")
    with pytest.raises(UsageError, match="did you mean lẻ"):
        parse_number_words("một trăm lẽ năm")


def test_linh_is_not_ignored():
    assert parse_number_words("một trăm linh năm") == parse_number_words("một trăm lẻ năm") == 105
    assert parse_number_words("một trăm năm mươi") == 150


# Beyond what is written, what people say.


@pytest.mark.parametrize(
    ("words", "number"),
    [
        ("hai mươi nhăm", 25),
        ("một trăm linh tư", 104),
        ("một nghìn linh năm", 1005),
        ("một triệu không nghìn không trăm linh năm", 1_000_005),
        ("trừ hai", -2),
        ("ba phẩy mười bốn", Decimal("3.14")),
        ("ba mươi bẩy", 37),
    ],
)
def test_spoken_forms_are_understood(words, number):
    assert parse_number_words(words) == number


NO_WORDS = (
    "tỷ|mốt|trăm|linh năm|một trăm năm|một nghìn năm|hai mươi năm|hai mươi một|một mươi|một nghìn một nghìn|"
    "một nghìn một triệu|năm nghìn triệu|ba phẩy|phẩy ba|ba phẩy một phẩy hai|âm|xin chào|12|hai ba|"
    "mười lăm năm|không không|âm âm một|"
).split("|")


@pytest.mark.parametrize("text", [*NO_WORDS, "một" + " tỷ" * 600, "một " * 2000])
def test_a_text_that_is_no_number_is_refused_in_one_line(text):
    with pytest.raises(UsageError) as why:
        parse_number_words(text)
    assert len(str(why.value)) < 200
    assert "\n" not in str(why.value)


NO_NUMBERS = ["", "abc", "1.5", "1,2,3", "1.23.456", ".5", "5,", "--1", "٣", "9" * 5000, float("nan"), 1e300]
NO_NUMBERS += [
    True,
    None,
    Decimal("inf"),
    Decimal("1e-99"),
    Decimal("0e-999999999"),
    10**MAX_DIGITS,
    -(1 << 20000),
]


@pytest.mark.parametrize("number", NO_NUMBERS, ids=range(len(NO_NUMBERS)))
def test_what_is_no_number_to_be_spoken_is_refused_in_one_line(number):
    with pytest.raises(UsageError) as why:
        number_words(number)
    assert len(str(why.value)) < 200


def test_an_unknown_dialect_is_refused():
    with pytest.raises(UnknownName, match="dialect"):
        number_words(1, dialect="west")
