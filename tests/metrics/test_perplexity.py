"""Laws of what costs amount to."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nhin.metrics.perplexity import FIGURES, TextCost

counts = st.integers(1, 10**9)


@given(vocab=st.integers(2, 10**6), tokens=counts)
def test_the_perplexity_of_a_uniform_model_is_its_vocabulary(vocab, tokens):
    cost = TextCost(tokens * math.log(vocab), tokens, tokens, tokens)
    assert cost.perplexity == pytest.approx(vocab)
    assert cost.nats == cost.nats_per_character == pytest.approx(math.log(vocab))
    assert cost.bits_per_byte == pytest.approx(math.log2(vocab))


def test_random_bytes_cost_eight_bits_each():
    assert TextCost(1000 * math.log(256), 1000, 700, 1000).bits_per_byte == pytest.approx(8)


@given(total=st.floats(0, 1e9), tokens=counts, characters=counts, bytes=counts)
def test_every_mean_times_its_count_is_the_whole(total, tokens, characters, bytes):
    cost = TextCost(total, tokens, characters, bytes)
    assert cost.nats * tokens == pytest.approx(total)
    assert cost.nats_per_character * characters == pytest.approx(total)
    assert cost.bits_per_byte * bytes * math.log(2) == pytest.approx(total)


@given(total=st.floats(0, 1e6), tokens=counts, cut=st.integers(1, 9))
def test_other_tokens_leave_bytes_and_characters_as_they_are(total, tokens, cut):
    one, other = TextCost(total, tokens, 50, 70), TextCost(total, tokens * cut, 50, 70)
    assert one.bits_per_byte == other.bits_per_byte
    assert one.nats_per_character == other.nats_per_character


def test_empty_texts_and_overflow_are_no_errors():
    assert set(TextCost(0.0, 0, 0, 0).figures()) == set(FIGURES)
    assert TextCost(0.0, 0, 0, 0).perplexity == 1
    assert TextCost(5.0, 1, 0, 0).bits_per_byte == 0
    assert TextCost(1e9, 1, 1, 1).perplexity == math.inf
