"""Laws of the counts of marks: Viterbi against every combination, shares that sum to one."""

from itertools import pairwise, product
from math import exp, log

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nhin.decoding.mark_bigram import MarkBigram
from nhin.text.letters import strip_marks
from nhin.text.unmarked import Slot

words = st.sampled_from("ma má mà mã la lá là đi di tôi tới tối".split())
sentences = st.lists(st.lists(words, min_size=1, max_size=5), min_size=1, max_size=6)
slots = st.lists(
    st.builds(
        lambda word, is_open: Slot(strip_marks(word) if is_open else word, is_open), words, st.booleans()
    ),
    max_size=4,
)


def score(counts, row):
    row = ["", *row, ""]
    return sum(log(counts.probability(a, b)) for a, b in pairwise(row))


def every_way(counts, sentence):
    return {row: score(counts, row) for row in product(*map(counts.candidates, sentence))}


@settings(max_examples=60)
@given(sentences, slots)
def test_the_chosen_words_are_the_likeliest_of_all_combinations(texts, sentence):
    counts = MarkBigram.count(texts)
    (chosen,) = counts.choose([sentence])
    ways = every_way(counts, sentence)
    assert ways[tuple(chosen)] == pytest.approx(max(ways.values()))


@settings(max_examples=60)
@given(sentences, slots)
def test_a_confidence_is_the_share_of_all_combinations_that_have_the_word(texts, sentence):
    counts = MarkBigram.count(texts)
    ways = every_way(counts, sentence)
    total = sum(map(exp, ways.values()))
    for i, alternatives in enumerate(counts.list_alternatives([sentence])[0]):
        for one in alternatives:
            share = sum(exp(value) for row, value in ways.items() if row[i] == one.word) / total
            assert one.confidence == pytest.approx(share)
        assert [one.confidence for one in alternatives] == sorted(
            (one.confidence for one in alternatives), reverse=True
        )


@given(sentences)
def test_probabilities_after_a_word_sum_to_less_than_one_and_what_was_seen_is_likelier(texts):
    counts = MarkBigram.count(texts)
    for before in ("", *counts.words):
        shares = {word: counts.probability(before, word) for word in counts.words}
        assert 0 < sum(shares.values()) <= 1 + 1e-9
