"""Laws of the n-gram of letters: a distribution, which prefers what it counted; its numbers are checked."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nhin.decoding.letter_prior import LetterPrior

TEXTS = ["tổ chức", "tổ", "chức", "kiểm tra", "kiểm", "0912 345"] * 3
PRIOR = LetterPrior.count(TEXTS, order=4, fewest=2)
LETTERS = sorted({char for text in TEXTS for char in text} | {"\n"})


@settings(max_examples=60, deadline=None)
@given(context=st.text(st.sampled_from([*LETTERS, "ẵ"]), max_size=6))
def test_the_probabilities_of_all_seen_characters_sum_to_less_than_1_and_almost_to_it(context):
    total = sum(PRIOR.probability(context, char) for char in LETTERS)
    assert 0.8 < total <= 1 + 1e-9
    assert 0 < PRIOR.probability(context, "ẵ") < 0.01


def test_a_text_that_was_counted_is_likelier_than_one_with_another_mark():
    assert PRIOR.score("tổ chức") > PRIOR.score("tố chức") > PRIOR.score("tố chưc")


@given(text=st.text(max_size=12))
def test_every_text_has_a_finite_score_which_does_not_depend_on_its_normalization(text):
    assert -np.inf < PRIOR.score(text) < 0
    assert PRIOR.score("tô\u0309") == PRIOR.score("tổ")


def test_a_prior_comes_back_from_its_numbers():
    again = LetterPrior.from_array(PRIOR.to_array())
    assert again.order == PRIOR.order
    assert [again.score(text) for text in TEXTS] == [PRIOR.score(text) for text in TEXTS]


@pytest.mark.parametrize(
    "values",
    [
        [],
        PRIOR.to_array()[:-1],
        [4, 2**31, 1, 5],
        [0, 0, 0],
        [99, 0, 0],
        [3, 2, 0, 7, 7, 1, 1],
        [3, 1, 1, 7, 2, 9, 0, 0],
    ],
)
def test_numbers_that_are_no_prior_are_refused(values):
    with pytest.raises(ValueError, match=r"tables|ends early|reshape"):
        LetterPrior.from_array(np.array(values, np.uint32))
