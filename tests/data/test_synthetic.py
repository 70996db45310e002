"""Samples are determined by seed and index, in characters of their font and of the charset."""

import unicodedata

import numpy as np
import pytest

from nhin.data.images.line_text import LineTextGenerator
from nhin.data.images.synthetic import SyntheticSource
from nhin.data.images.text_generator import TextGenerator, WordList, draw_balanced_syllable, read_words
from nhin.errors import DataError, UnknownName
from nhin.image.fonts import REQUIRED, find_faces
from nhin.text.charset import CHARSETS, EUROPEAN, VIETNAMESE


@pytest.fixture(scope="module")
def synth():
    return SyntheticSource(seed=5)


def test_the_same_seed_and_index_give_the_same_picture(synth):
    again = SyntheticSource(seed=5)
    for index in (0, 7, 1_000_000):
        one, other = synth.sample(index), again.sample(index)
        assert one.text == other.text
        np.testing.assert_array_equal(one.picture, other.picture)


def test_another_seed_gives_other_pictures(synth):
    texts = [synth.sample(i).text for i in range(20)]
    assert texts != [SyntheticSource(seed=6).sample(i).text for i in range(20)]
    assert SyntheticSource(seed=6).fingerprint != synth.fingerprint


def test_samples_are_small_rgb_pictures_with_nfc_text_of_the_charset(synth):
    samples = [synth.sample(i) for i in range(150)]
    for sample in samples:
        assert sample.picture.dtype == np.uint8
        assert sample.picture.ndim == 3
        assert min(sample.picture.shape[:2]) >= 3
        assert max(sample.picture.shape) < 4000
        assert sample.text == unicodedata.normalize("NFC", sample.text).strip()
        assert not VIETNAMESE.missing_chars(sample.text)
        assert len(sample.text) <= synth.longest_print
    assert sum(" " in sample.text for sample in samples) > 2
    assert sum(not sample.text.isascii() for sample in samples) > 40


def test_signs_and_prints_keep_their_longest_text_and_their_characters():
    for source, longest in (
        (SyntheticSource(seed=1, prints=0.0, longest=9), 9),
        (SyntheticSource(seed=1, prints=1.0, longest_print=20, charset="european"), 20),
    ):
        texts = [source.sample(i).text for i in range(60)]
        assert max(map(len, texts)) <= longest
        assert not CHARSETS[source.charset].missing_chars("".join(texts))
        assert "\0" not in "".join(texts)


def test_an_unknown_charset_is_refused_by_name():
    with pytest.raises(UnknownName, match="european"):
        SyntheticSource(charset="europen")


def test_lines_of_print_hold_every_character_of_the_european_charset():
    lines, rng = LineTextGenerator(TextGenerator()), np.random.default_rng(2)
    seen = set("".join(lines.draw(rng, 60) for _ in range(8_000)))
    assert set(EUROPEAN.chars) - seen == set()


@pytest.mark.parametrize("length", [1, 2, 7, 40, 120])
def test_a_line_of_print_is_never_longer_than_asked_and_has_single_spaces(length):
    lines, rng = LineTextGenerator(TextGenerator()), np.random.default_rng(3)
    for _ in range(200):
        text = lines.draw(rng, length)
        assert len(text) <= length
        assert text == " ".join(text.split())


def test_a_balanced_syllable_shows_rare_letters_as_often_as_common_ones():
    rng = np.random.default_rng(4)
    words = [draw_balanced_syllable(rng) for _ in range(4000)]
    assert all(sum(letter in word for word in words) >= 15 for letter in "ẵẳỡẫữỹđạ")


def test_blanks_have_no_text():
    plain, other = SyntheticSource(blanks=1.0), SyntheticSource(blanks=1.0, textless=1.0)
    assert {source.sample(i).text for source in (plain, other) for i in range(10)} == {""}
    assert plain.fingerprint == SyntheticSource(blanks=1.0, textless=0.0).fingerprint != other.fingerprint


def test_every_face_found_has_every_required_letter():
    faces = find_faces()
    assert faces
    assert all(face.chars.issuperset(REQUIRED) for face in faces)


def test_a_folder_without_fonts_is_an_error(tmp_path):
    with pytest.raises(DataError, match="--fonts"):
        find_faces([tmp_path])
    with pytest.raises(DataError, match="no folder"):
        find_faces([tmp_path / "nowhere"])
    (tmp_path / "torn.ttf").write_bytes(b"not a font")
    with pytest.raises(DataError, match="--fonts"):
        find_faces([tmp_path])


def test_word_lists_take_counts_comments_and_any_normal_form(tmp_path):
    path = tmp_path / "words.txt"
    path.write_text(
        "# a list\nnhà 10\nphố cổ\n" + unicodedata.normalize("NFD", "nhà") + " 5\n", encoding="utf-8"
    )
    assert read_words(path).words == ("nhà", "phố cổ")


@pytest.mark.parametrize("content", [b"", b"# nothing\n", b"\xff\xfe\xfa"])
def test_a_word_list_without_words_is_refused(tmp_path, content):
    path = tmp_path / "words.txt"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"words\.txt"):
        read_words(path)


def test_flatness_keeps_weights_or_makes_them_equal():
    rng = np.random.default_rng(0)
    kept, flat = (
        WordList.from_weights([("a", 99), ("b", 1)], flatness=0.0),
        WordList.from_weights([("a", 99), ("b", 1)], flatness=1.0),
    )
    assert sum(kept.draw(rng) == "a" for _ in range(500)) > 470
    assert 180 < sum(flat.draw(rng) == "a" for _ in range(500)) < 320


def test_every_letter_comes_up_in_the_phrases():
    phrases, rng = TextGenerator(), np.random.default_rng(1)
    seen = set("".join(phrases.draw_word(rng) for _ in range(60_000)))
    letters = {char for char in VIETNAMESE.chars if char.isalpha()}
    assert letters - seen == set()
