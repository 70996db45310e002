"""Laws of the counts of marks: Viterbi against every combination, shares that sum to one, files."""

from collections import Counter
from itertools import pairwise, product
from math import exp, log

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nhin.decoding.mark_bigram import MarkBigram, load_bundled
from nhin.errors import CheckpointError
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
    for i, alternatives in enumerate(counts.list_alternatives(sentence)):
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


@given(sentences, sentences)
def test_counts_survive_a_file_and_add_up(texts, more):
    counts = MarkBigram.count(texts)
    assert MarkBigram.from_bytes(counts.to_bytes(), "it") == counts
    assert counts + MarkBigram.count(more) == MarkBigram.count([*texts, *more])


def npy(*values):
    import io

    out = io.BytesIO()
    np.save(out, np.array(values, np.uint32))
    return out.getvalue()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"junk",
        npy(),
        npy(2, 0, 0, 0),
        npy(1, 9, 0, 0),
        npy(1, 1, 1, 0, 5, 7, 7, 1),
        npy(1, 2**31, 2**31, 2),
    ],
)
def test_a_foreign_file_is_refused(data):
    with pytest.raises(CheckpointError, match="counts of marks"):
        MarkBigram.from_bytes(data, "it")


def test_a_pickle_is_refused():
    import io

    out = io.BytesIO()
    np.save(out, np.array([{}], dtype=object), allow_pickle=True)
    with pytest.raises(CheckpointError):
        MarkBigram.from_bytes(out.getvalue(), "it")


def test_the_bundled_counts_know_everyday_words():
    counts = load_bundled()
    sentence = [Slot(word, True) for word in "toi di hoc".split()]
    assert counts.choose([sentence]) == [["tôi", "đi", "học"]]
    assert isinstance(counts.words, Counter)
