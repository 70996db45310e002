"""Laws of the prior over texts: it prefers counted words, says nothing of codes, and checks its file."""

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nhin.decoding.text_prior import FEATURES, WEIGHTS, TextPrior, find_capitals, split_words
from nhin.errors import CheckpointError
from nhin.reading.onnx_model import load_prior

PRIOR = TextPrior.count([("tổ chức kiểm tra", 40), ("Cửa hàng hoà bình", 10), ("quý", 2)])


def test_the_probabilities_of_all_counted_words_sum_to_less_than_1():
    total = sum(np.exp(PRIOR.score_word(word)) for word in ("tổ", "chức", "kiểm", "tra", "cửa", "hàng"))
    assert 0.8 < total < 1


def test_a_counted_word_is_likelier_than_one_with_another_mark_and_a_frequent_one_than_a_rare_one():
    assert PRIOR.score_word("tổ") > PRIOR.score_word("cửa") > PRIOR.score_word("của")


def test_a_word_that_was_seen_too_seldom_has_the_probability_of_its_letters():
    assert PRIOR.score_word("quý") == pytest.approx(np.log(0.03) + PRIOR.letters.score("quý"))


def test_both_places_of_a_tone_sign_are_one_word():
    assert split_words("HOÀ Hòa") == ["hòa", "hòa"]
    assert PRIOR.score("HOÀ") == PRIOR.score("HÒA")


@given(text=st.text(max_size=12))
def test_every_text_has_finite_features_and_a_score(text):
    features = PRIOR.measure(text)
    assert len(features) == len(FEATURES)
    assert np.isfinite(features).all()
    assert PRIOR.score(text) == pytest.approx(sum(map(np.multiply, WEIGHTS.values(), features)))


def test_numbers_of_equal_length_are_equally_likely():
    assert PRIOR.score("0912 345") == PRIOR.score("9999 000")


@pytest.mark.parametrize(
    ("text", "shape"),
    [
        ("QUÁN 24H", "upper"),
        ("quán", "lower"),
        ("Quán Ăn", "title"),
        ("Quán ăn", "title"),
        ("QuÁN", "mixed"),
        ("12", "none"),
        ("", "none"),
    ],
)
def test_capitals(text, shape):
    assert find_capitals(text) == shape


def test_a_prior_comes_back_from_its_bytes():
    again = TextPrior.from_bytes(PRIOR.to_bytes(), "prior.npy")
    texts = ["tổ", "Cửa hàng", "xyz", "0912"]
    assert [again.score(text) for text in texts] == [PRIOR.score(text) for text in texts]


def test_the_bundled_prior_knows_words_of_signs():
    prior = load_prior()
    assert prior.score("TRƯỜNG") > prior.score("TRƯỚNG")
    assert prior.score("karaoke") > prior.score("karacke")


def pack(values, dtype=np.uint32):
    out = io.BytesIO()
    np.save(out, np.array(values, dtype), allow_pickle=False)
    return out.getvalue()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"no array",
        PRIOR.to_bytes()[:-4],
        pack([]),
        pack([5, 1, 1, 5]),
        pack([0x7E780001, 2**31, 1, 0]),
        pack([0x7E780001, 0, 0, 0, 1, 0, 0]),
        pack([0x7E780001, 2, 9, 0, 7, 7, 1, 1, 1, 0, 0]),
        pack([0x7E780001, 1, 9, 0, 7, 0, 1, 0, 0]),
        pack([1.5, 0.0, 0.0], np.float64),
        pack([[3, 0], [0, 0]]),
    ],
)
def test_what_is_no_prior_is_refused(data):
    with pytest.raises(CheckpointError, match=r"prior\.npy is not a prior over texts"):
        TextPrior.from_bytes(data, "prior.npy")
