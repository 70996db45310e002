"""Laws of restoring a text: only unmarked syllables change, and into themselves with marks."""

import random
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nhin.decoding.mark_bigram import MarkBigram
from nhin.text.letters import strip_marks
from nhin.text.unmarked import find_sentences, restore_text, unmarked_forms

SENTENCES = ["tôi đi học", "bạn tôi thì không", "đường phố đẹp", "tới nơi", "học sinh đi chơi", "ba má"]
COUNTS = MarkBigram.count(sentence.split() for sentence in SENTENCES)


def restore(text):
    return restore_text(text, COUNTS.choose)


@pytest.mark.parametrize(
    ("text", "restored"),
    [
        ("toi di hoc", "tôi đi học"),
        ("Toi DI hoc, ban toi thi KHONG!", "Tôi ĐI học, bạn tôi thì KHÔNG!"),
        ("Duong pho dep.\r\nHoc sinh\tdi choi", "Đường phố đẹp.\r\nHọc sinh\tđi chơi"),
        ("“toi” (di) *hoc*", "“tôi” (đi) *học*"),
        ("tôi di học", "tôi đi học"),
    ],
)
def test_marks_come_back_and_all_else_stays(text, restored):
    assert restore(text) == restored


@pytest.mark.parametrize(
    "text",
    [
        "hoc.vn toi@hoc.vn www.toi.di https://toi.di/hoc?toi=di #toi C:\\toi\\di /toi/di",
        "toi's toi_di toi1 1toi tOi toI $toi toi=di <toi>",
        "tôi đi học",
        "to\u0302i",
        "the quick brown fox",
        "",
        "\x00\ud800 \u202e 中文 🙂",
    ],
)
def test_what_is_no_unmarked_syllable_stays_as_it_is(text):
    assert restore(text) == text


@given(st.text() | st.text(alphabet="toidhc TOI.,@/\n'ôạ\u0302"))
def test_only_places_of_unmarked_syllables_change_and_only_by_marks(text):
    out = restore(text)
    assert len(out) == len(text)
    spans, sentences = find_sentences(text)
    opened = set()
    for places, slots in zip(spans, sentences, strict=True):
        for (start, stop), slot in zip(places, slots, strict=True):
            if slot.is_open:
                opened |= set(range(start, stop))
                assert strip_marks(out[start:stop]) == text[start:stop]
    assert all(a == b for i, (a, b) in enumerate(zip(text, out, strict=True)) if i not in opened)


def test_random_strings_without_a_vietnamese_syllable_stay_as_they_are():
    draw = random.Random(0)
    alphabet, forms = string.ascii_letters + string.digits + string.punctuation, unmarked_forms()
    texts = []
    while len(texts) < 10_000:
        text = "".join(draw.choices(alphabet, k=draw.randint(1, 12)))
        runs = "".join(char if char.isalpha() else " " for char in text).lower().split()
        texts += [text] * (not any(run in forms for run in runs))
    whole = "\n".join(texts)
    assert restore(whole) == whole


def test_a_word_that_is_not_the_syllable_with_marks_is_never_written():
    assert restore_text("toi di", lambda sentences: [["xấu", "đi"]]) == "toi đi"
