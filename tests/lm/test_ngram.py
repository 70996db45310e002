"""Laws of counting, against the formula written out over dictionaries."""

import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nhin.errors import CheckpointError, DataError, ShapeError
from nhin.lm.ngram import NGram, count_ngrams, estimate_discounts

VOCAB = 4
texts = st.lists(st.integers(0, VOCAB - 1), max_size=60)
orders = st.integers(1, 5)


def slow_counts(text, length, order, continued):
    """How often each gram came or, below the longest, after how many different tokens (or none at all)."""
    if not continued or length == order:
        return Counter(text[i : i + length] for i in range(len(text) - length + 1))
    before = {
        (text[i - 1 : i] if i else "start", text[i : i + length]) for i in range(len(text) - length + 1)
    }
    return Counter(gram for _, gram in before)


def slow_discount(counts):
    """The estimate of Chen and Goodman, kept within bounds."""
    n = Counter(counts.values())
    if not (n[1] and n[2]):
        return lambda c: 0.5
    y = n[1] / (n[1] + 2 * n[2])
    raw = {c: c - (c + 1) * y * n[c + 1] / n[c] if n[c] else y for c in (1, 2, 3)}
    return lambda c: min(min(c, 3), max(0.1, raw[min(c, 3)]))


def slow_chance(text, vocab, order, context, token, continued=True):
    """The chance of a token, one order after the other."""
    text, context, p = tuple(text), tuple(context), 1 / vocab
    for length in range(1, min(order, len(context) + 1) + 1):
        counts = slow_counts(text, length, order, continued)
        off = slow_discount(counts)
        before = context[len(context) - length + 1 :]
        followers = {gram: c for gram, c in counts.items() if gram[:-1] == before}
        if not followers:
            break
        total, seen = sum(followers.values()), followers.get((*before, token), 0)
        left = sum(off(c) for c in followers.values())
        p = (seen - off(seen) if seen else 0) / total + left / total * p
    return p


@settings(max_examples=150)
@given(text=texts, order=orders, context=texts, token=st.integers(0, VOCAB - 1), continued=st.booleans())
def test_chances_are_the_formula_over_dictionaries(text, order, context, token, continued):
    model = count_ngrams(text, VOCAB, order, continuation_counts=continued)
    want = slow_chance(text, VOCAB, order, context, token, continued)
    assert model.next_token_probs(context)[token] == pytest.approx(want, rel=1e-9)


@settings(max_examples=100)
@given(text=texts, order=orders, context=texts)
def test_chances_sum_to_one_and_none_is_zero(text, order, context):
    chances = count_ngrams(text, VOCAB + 1, order).next_token_probs(context)
    assert chances.shape == (VOCAB + 1,)
    assert chances.sum() == pytest.approx(1)
    assert chances.min() > 0


@settings(max_examples=100)
@given(text=texts, order=orders, other=texts)
def test_what_a_token_costs_is_its_chance_after_all_before_it(text, order, other):
    model = count_ngrams(text, VOCAB, order)
    nats = model.nats(other)
    want = [model.next_token_probs(other[:i])[token] for i, token in enumerate(other)]
    np.testing.assert_allclose(np.exp(-nats), want, rtol=1e-12)


@pytest.mark.parametrize("order", [1, 3])
def test_long_texts_have_no_seam(order, monkeypatch):
    text = np.random.default_rng(0).integers(0, 3, 100)
    model = count_ngrams(text, 3, order)
    whole = model.nats(text)
    monkeypatch.setattr("nhin.lm.ngram._CHUNK_TOKENS", 7)
    np.testing.assert_array_equal(model.nats(text), whole)


def test_the_largest_vocabulary_and_order_are_counted_exactly():
    """A hash, or a key of 64 bits for a whole gram, would mistake some of these for others."""
    high = 2**20 - 1
    rng = np.random.default_rng(0)
    text = rng.choice([0, 1, high - 1, high], 400)
    small = np.searchsorted([0, 1, high - 1, high], text)
    keys = [table.keys for table in count_ngrams(text, 2**20, 8).tables]
    assert [len(k) for k in keys] == [len(table.keys) for table in count_ngrams(small, 4, 8).tables]
    assert count_ngrams(text, 2**20, 8).next_token_probs(text[:50]).sum() == pytest.approx(1)


def test_more_order_helps_where_the_past_says_more():
    """A token is the sum of the two before it, mostly: pairs know nothing of it, triples do."""
    rng = np.random.default_rng(0)
    text = [0, 1]
    for _ in range(3000):
        text.append((text[-1] + text[-2]) % 3 if rng.random() < 0.9 else int(rng.integers(3)))
    costs = [count_ngrams(text[:2000], 3, order).nats(text[2000:]).mean() for order in (1, 2, 3)]
    assert costs[0] > 0.95 * math.log(3)
    assert costs[1] > 0.95 * math.log(3)
    least = -(14 / 15 * math.log(14 / 15) + 1 / 15 * math.log(1 / 30))
    assert least < costs[2] < 1.25 * least


def test_different_tokens_before_matter_more_than_how_often():
    """The Francisco of every textbook: it came often, but after San alone."""
    san, francisco, of = 0, 1, 2
    text = [san, francisco] * 20 + [3, of, 4, of, 5, of, 6, of]
    model, plain = count_ngrams(text, 8, 2), count_ngrams(text, 8, 2, continuation_counts=False)
    assert model.next_token_probs([7])[of] > model.next_token_probs([7])[francisco]
    assert plain.next_token_probs([7])[of] < plain.next_token_probs([7])[francisco]


def test_discounts_of_known_counts():
    counts = np.repeat([1, 2, 3, 4, 5, 9], [8, 4, 3, 1, 2, 1])
    y = 8 / 16
    want = [0, 1 - 2 * y * 4 / 8, 2 - 3 * y * 3 / 4, 3 - 4 * y * 1 / 3]
    np.testing.assert_allclose(estimate_discounts(counts), want)
    np.testing.assert_array_equal(estimate_discounts(np.array([7, 9])), [0, 0.5, 0.5, 0.5])


@settings(max_examples=200)
@given(classes=st.lists(st.integers(0, 30), min_size=5, max_size=5))
def test_no_discount_takes_nothing_or_more_than_there_is(classes):
    """Few grams seen once and many seen more often make the estimate negative."""
    taken = estimate_discounts(np.repeat([1, 2, 3, 4, 5], classes))[1:]
    assert (taken >= 0.1).all()
    assert (taken <= [1, 2, 3]).all()


@settings(max_examples=50)
@given(text=texts, order=orders)
def test_what_is_stored_is_the_whole_model(text, order):
    model = count_ngrams(text, VOCAB, order)
    again = NGram.from_tensors(VOCAB, model.tensors(), "here")
    np.testing.assert_array_equal(again.nats(text), model.nats(text))
    assert again.order == order


def broken(**changes):
    return {**count_ngrams([0, 1, 2, 0, 1, 3], VOCAB, 2).tensors(), **changes}


@pytest.mark.parametrize(
    "tensors",
    [
        {},
        {"weight": np.zeros(3), "bias": np.zeros(3)},
        broken(**{"1.keys": np.array([0, 1, 2, 4])}),
        broken(**{"1.keys": np.array([-1, 1, 2, 3])}),
        broken(**{"1.keys": np.array([0, 2, 1, 3])}),
        broken(**{"1.keys": np.array([0, 1, 1, 3])}),
        broken(**{"1.counts": np.array([1, 0, 1, 1])}),
        broken(**{"1.counts": np.array([1, 2**62, 1, 1])}),
        broken(**{"1.counts": np.array([1, 1, 1])}),
        broken(**{"1.counts": np.array([1.0, 1, np.nan, 1])}),
        broken(**{"2.keys": np.array([0, 99])}),
        broken(**{"1.keys": np.array([[0, 1, 2, 3]]), "1.counts": np.array([[1, 1, 1, 1]])}),
    ],
    ids=str,
)
def test_impossible_tables_are_refused(tensors):
    with pytest.raises(CheckpointError, match="n-grams"):
        NGram.from_tensors(VOCAB, tensors, "here")


@pytest.mark.parametrize(("vocab", "order"), [(0, 2), (2**20 + 1, 2), (4, 0), (4, 9)])
def test_sizes_that_cannot_be_are_refused(vocab, order):
    with pytest.raises(ShapeError):
        count_ngrams([], vocab, order)


@pytest.mark.parametrize("text", [[4], [-1, 0], [0, 1, 2**40]])
def test_tokens_of_another_vocabulary_are_refused(text):
    with pytest.raises(DataError, match="0 to 3"):
        count_ngrams(text, VOCAB, 2)
    with pytest.raises(DataError, match="0 to 3"):
        count_ngrams([0, 1], VOCAB, 2).nats(text)
