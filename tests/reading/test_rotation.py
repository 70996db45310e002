"""Laws of reading a tall crop in three directions."""

import numpy as np

from nhin.reading import rotation
from nhin.reading.result import Recognition, Span


def recognition(text: str, confidence: float = 0.9, turn: int = 0):
    chars = tuple(Span(char, confidence, 10.0 * i, 10.0 * i + 9) for i, char in enumerate(text))
    return Recognition(text, confidence ** len(text), chars, turn)


def test_rotating_and_back_changes_nothing():
    crop = np.random.default_rng(0).integers(0, 256, (50, 20, 3), dtype=np.uint8)
    np.testing.assert_array_equal(rotation.rotate(rotation.rotate(crop, 90), -90), crop)
    assert rotation.rotate(crop, 90).shape == (20, 50, 3)
    np.testing.assert_array_equal(rotation.rotate(crop, 90)[0, 0], crop[-1, 0])


def test_the_most_confident_rotation_wins_with_a_bias_to_upright():
    assert (
        rotation.most_confident(
            recognition("ab", 0.5), [recognition("cde", 0.9, 90), recognition("fg", 0.7, -90)]
        ).text
        == "cde"
    )
    assert rotation.most_confident(recognition("ab", 0.88), [recognition("cde", 0.9, 90)]).text == "ab"
    assert rotation.most_confident(recognition("", 0.0), [recognition("", 0.0, 90)]).text == ""


def test_a_rotated_reading_of_one_letter_is_never_chosen():
    assert rotation.most_confident(recognition("I", 0.3), [recognition("-", 0.99, 90)]).text == "I"
    assert rotation.most_confident(recognition("Ở", 0.9), [recognition("Q.", 0.99, 90)]).text == "Ở"
    assert rotation.most_confident(recognition("8", 0.9), [recognition("8.", 0.99, 90)]).text == "8"


def test_a_word_on_its_side_that_looks_like_one_letter_is_read_rotated():
    square, wide = np.zeros((30, 32, 3), np.uint8), np.zeros((30, 60, 3), np.uint8)
    letter, word = recognition("g", 0.98), recognition("TOÁN", 0.99, -90)
    assert rotation.may_be_rotated(square, letter)
    assert not rotation.may_be_rotated(wide, letter)
    assert not rotation.may_be_rotated(square, recognition("TO", 0.9))
    assert rotation.most_confident(letter, [recognition("NYOL", 0.8, 90), word]) == word
    assert rotation.most_confident(letter, [recognition("NYOL", 0.97, 90)]) == letter


def test_where_nothing_is_read_upright_a_rotated_reading_must_be_sure():
    blank = recognition("", 0.0)
    assert rotation.most_confident(blank, [recognition("or", 0.7, 90)]) == blank
    assert rotation.most_confident(blank, [recognition("CÔNG", 0.9, 90)]).text == "CÔNG"
