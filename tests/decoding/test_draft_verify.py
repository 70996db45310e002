"""Laws of draft-and-verify: it is greedy decoding, only in fewer passes."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nhin.decoding.draft_verify import decode_stepwise, verify_drafts
from nhin.text.charset import EOS, PAD, SOS, UNK

VOCAB = 9


def fake(seed: int, eager: float = 0.0):
    """Return a decoder whose logits are a fixed random function of the memory and the prefix."""

    def decode(memory, tokens):
        rows, length = tokens.shape
        out = np.empty((rows, length, VOCAB), dtype=np.float32)
        for row in range(rows):
            for t in range(length):
                words = [seed, int(memory[row].sum()), *tokens[row, : t + 1].tolist()]
                out[row, t] = np.random.default_rng(words).normal(size=VOCAB)
                out[row, t, EOS] += eager
        return out

    return decode


def memories(count: int):
    return np.arange(1, count + 1, dtype=np.float32)[:, None, None]


drafts = st.lists(st.lists(st.integers(0, VOCAB - 1), max_size=9), min_size=1, max_size=5)


@settings(max_examples=80, deadline=None)
@given(seed=st.integers(0, 999), drafts=drafts, limit=st.integers(1, 9), eager=st.floats(-1, 2))
def test_any_draft_gives_the_greedy_answer(seed, drafts, limit, eager):
    decode, memory = fake(seed, eager), memories(len(drafts))
    fast, slow = verify_drafts(decode, memory, drafts, limit), decode_stepwise(decode, memory, limit)
    assert [a.ids for a in fast] == [a.ids for a in slow]
    for a, b in zip(fast, slow, strict=True):
        np.testing.assert_allclose(a.log_probs, b.log_probs)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 999), drafts=drafts, limit=st.integers(1, 9))
def test_passes_are_at_most_one_more_than_the_answer_is_long(seed, drafts, limit):
    for answer in verify_drafts(fake(seed), memories(len(drafts)), drafts, limit):
        assert answer.passes <= len(answer.ids) + 1
        assert len(answer.ids) <= limit


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 999), drafts=drafts)
def test_a_row_does_not_depend_on_its_batch(seed, drafts):
    decode, memory = fake(seed, 0.5), memories(len(drafts))
    together = verify_drafts(decode, memory, drafts, 9)
    alone = [verify_drafts(decode, memory[i : i + 1], drafts[i : i + 1], 9)[0] for i in range(len(drafts))]
    assert together == alone


@pytest.mark.parametrize("seed", range(5))
def test_a_right_draft_is_accepted_in_one_pass(seed):
    decode, memory = fake(seed, 0.5), memories(1)
    right = decode_stepwise(decode, memory, 9)[0]
    assert verify_drafts(decode, memory, [right.ids], 9)[0].passes == 1


def test_special_tokens_are_never_written():
    def decode(memory, tokens):
        out = np.zeros((*tokens.shape, VOCAB), dtype=np.float32)
        out[..., [PAD, SOS, UNK]] = 9.0
        out[:, :, 5] = 1.0
        out[:, 2:, EOS] = 2.0
        return out

    assert verify_drafts(decode, memories(1), [[]], 9)[0].ids == (5, 5)


def test_temperature_changes_confidence_but_not_the_answer():
    decode, memory = fake(3, 0.5), memories(1)
    plain, soft = (verify_drafts(decode, memory, [[]], 9, heat)[0] for heat in (1.0, 3.0))
    assert plain.ids == soft.ids
    assert sum(soft.log_probs) < sum(plain.log_probs)


@pytest.mark.parametrize("seed", range(9))
def test_a_decoder_that_contradicts_itself_still_comes_to_an_end(seed):
    def decode(memory, tokens):
        return np.random.default_rng([seed, tokens.shape[1]]).normal(size=(*tokens.shape, VOCAB))

    answer = verify_drafts(decode, memories(1), [[4, 5, 6]], 9)[0]
    assert answer.passes <= 10
    assert len(answer.ids) <= 9
