"""Number words agree with num2words (Vietnamese); `make oracles` installs it, else this test is skipped.

It differs in these ways, all known: it says bốn, never tư, after tens; it says lẻ; it drops "không trăm" (two
thousand and five is "hai nghìn lẻ năm", 1.050 "một nghìn lẻ năm mươi"); from 10^15 it writes units that no
Vietnamese knows (10^15 "một trăm nghìn tỷ"), then English ones; it has no negative numbers. Decimals are
rounded to two places and read as one number.
"""

import random
import re

import pytest

from nhin.text.numbers import DIALECTS, NumberDialect, number_words

AGREED = NumberDialect(zero_ten="lẻ", thousand="nghìn", four="bốn")


@pytest.fixture
def theirs(monkeypatch):
    """Return num2words, and let ours speak with its choice among words that are all correct."""
    monkeypatch.setitem(DIALECTS, "south", AGREED)
    num2words = pytest.importorskip("num2words").num2words
    return lambda number: num2words(number, lang="vi")


def drop_zero_hundreds(words):
    """Return words with the fault that num2words has: no hundred where it is zero."""
    words = re.sub("không trăm (lẻ )?(?!.*(nghìn|triệu|tỷ))", "lẻ ", words)
    return re.sub("không trăm (lẻ )?", "", words)


def test_ten_thousand_numbers_below_10_to_the_12_differ_by_the_dropped_zero_hundreds_alone(theirs):
    draw = random.Random(0)
    numbers = [draw.randrange(10 ** draw.randint(1, 12)) for _ in range(10_000)]
    wrong = [n for n in numbers if theirs(n) != drop_zero_hundreds(number_words(n, "south"))]
    assert not wrong, [(n, theirs(n), number_words(n, "south")) for n in wrong[:5]]


def test_ten_thousand_numbers_without_a_zero_hundred_inside_agree_word_for_word(theirs):
    draw = random.Random(1)
    for _ in range(10_000):
        groups = [draw.randint(1, 999), *(draw.randint(100, 999) for _ in range(draw.randint(0, 3)))]
        number = int("".join(f"{group:03}" for group in groups))
        assert theirs(number) == number_words(number, "south")
