"""Letters are factored and composed again, and all text is NFC."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nhin.text.charset import REPLACEMENT, UNK, VIETNAMESE, Charset
from nhin.text.letters import LOWER, MARKS, TONES, UPPER, Factors, compose, factor, nfc, strip_marks

written = st.text(alphabet=VIETNAMESE.chars, max_size=40)


def test_there_are_67_vietnamese_letters_beyond_ascii_in_each_case():
    assert len(LOWER) == len(UPPER) == len(set(LOWER)) == 67


@pytest.mark.parametrize("char", VIETNAMESE.chars)
def test_compose_inverts_factor(char):
    assert compose(factor(char)) == char
    assert factor(char).mark in MARKS
    assert factor(char).tone in TONES


def test_factors_name_base_mark_and_tone():
    assert factor("Ằ") == Factors("A", "breve", "grave")
    assert factor("đ") == Factors("d", "stroke", "level")
    assert factor("x") == Factors("x")


def test_a_foreign_accent_stays_with_its_base():
    assert factor("ü") == Factors("ü")
    assert factor("ñ") == Factors("ñ")


def test_stripping_marks_keeps_case_and_length():
    assert strip_marks("Đường Nguyễn Huệ 42") == "Duong Nguyen Hue 42"


@given(written)
def test_any_normal_form_encodes_to_the_same_ids_and_decodes_to_nfc(text):
    ids = VIETNAMESE.encode(text)
    assert VIETNAMESE.encode(unicodedata.normalize("NFD", text)) == VIETNAMESE.encode(nfc(text))
    assert VIETNAMESE.decode(ids) == nfc(text)


@given(st.text(max_size=40))
def test_an_unknown_character_is_unk_and_never_an_error(text):
    ids = VIETNAMESE.encode(text)
    assert len(ids) == len(nfc(text))
    known = [char if char in VIETNAMESE else REPLACEMENT for char in nfc(text)]
    assert VIETNAMESE.decode(ids) == "".join(known)


def test_decoding_stops_at_eos_and_skips_padding():
    a = VIETNAMESE.encode("a")[0]
    assert VIETNAMESE.decode([1, a, 0, a, 2, a]) == "aa"
    assert UNK == 3


def test_missing_chars_are_those_outside_the_charset():
    assert Charset("abc").missing_chars("cabbage") == ["e", "g"]


@pytest.mark.parametrize("chars", ["aa", unicodedata.normalize("NFD", "ấ")])
def test_a_charset_whose_encoding_is_ambiguous_is_refused(chars):
    with pytest.raises(ValueError, match="NFC"):
        Charset(chars)
