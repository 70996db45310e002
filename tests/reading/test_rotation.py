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
