"""Laws of the candidates of a batch of crops, against every text there is."""

from itertools import product

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from nhin.decoding.candidates import find_candidates
from nhin.decoding.draft_verify import decode_stepwise, score_texts
from nhin.text.charset import EOS, SPECIALS

VOCAB = len(SPECIALS) + 3
LETTERS = range(len(SPECIALS), VOCAB)


def make_decoder(seed):
    """Return a decoder whose logits depend on its memory and on the whole text so far."""

    def decode(memory, tokens):
        out = np.zeros((*tokens.shape, VOCAB), np.float32)
        for row, (place, ids) in enumerate(zip(memory, tokens, strict=True)):
            for t in range(len(ids)):
                rng = np.random.default_rng([seed, int(place[0, 0]), *ids[: t + 1].tolist()])
                out[row, t] = rng.normal(size=VOCAB) * 2
        return out

    return decode


def place(numbers):
    return np.array(numbers, np.float32).reshape(-1, 1, 1)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 999), crops=st.integers(1, 4))
def test_wide_enough_a_beam_finds_the_likeliest_texts_with_their_probabilities(seed, crops):
    decode, memory = make_decoder(seed), place(range(crops))
    every = [ids for length in range(3) for ids in product(LETTERS, repeat=length)]
    for row, found in enumerate(find_candidates(decode, memory, 40, 3)):
        sums = [sum(x) for x in score_texts(decode, memory[[row] * len(every)], every)]
        known = dict(zip(every, sums, strict=True))
        assert all(abs(found[ids] - known[ids]) < 1e-9 for ids in found if ids in known)
        assert set(sorted(known, key=known.__getitem__)[-3:]) <= set(found) | {
            ids for ids in known if known[ids] < min(found.values()) + 1e-12
        }


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 999), crops=st.integers(1, 4), width=st.integers(1, 5))
def test_a_crop_has_the_same_candidates_alone_and_in_a_batch(seed, crops, width):
    decode, memory = make_decoder(seed), place(range(crops))
    together = find_candidates(decode, memory, width, 6)
    assert together == [find_candidates(decode, memory[[row]], width, 6)[0] for row in range(crops)]
    assert all(1 <= len(found) <= width for found in together)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 999))
def test_a_beam_of_one_is_greedy(seed):
    decode, memory = make_decoder(seed), place([5])
    answer = decode_stepwise(decode, memory, 6)[0]
    assert list(find_candidates(decode, memory, 1, 6)[0]) == [answer.ids]
    assert EOS not in answer.ids
