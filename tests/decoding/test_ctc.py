"""Laws of CTC, against the sum and the best over every path written out."""

from itertools import product

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from nhin.decoding import ctc
from nhin.decoding.protocol import mask_specials

VOCAB = 7
LETTERS = (4, 5, 6)


def frames(seed: int, count: int):
    logits = np.random.default_rng(seed).normal(size=(count, VOCAB)) * 2
    logits[:, 1:4] = -50
    return logits - np.log(np.exp(logits).sum(-1, keepdims=True))


def collapse(path):
    merged = [i for n, i in enumerate(path) if n == 0 or i != path[n - 1]]
    return tuple(i for i in merged if i != ctc.BLANK)


def score(log_probs, path):
    return sum(log_probs[f, i] for f, i in enumerate(path))


seeds, lengths = st.integers(0, 999), st.integers(1, 6)
texts = st.lists(st.sampled_from(LETTERS), max_size=4)


@settings(max_examples=40, deadline=None)
@given(seed=seeds, count=lengths)
def test_greedy_is_the_best_path_collapsed(seed, count):
    log_probs = frames(seed, count)
    best = max(product((0, *LETTERS), repeat=count), key=lambda path: score(log_probs, path))
    assert tuple(ctc.greedy_decode(log_probs)) == collapse(best)


@settings(max_examples=40, deadline=None)
@given(seed=seeds, count=lengths, ids=texts)
def test_likelihood_is_the_sum_over_all_paths(seed, count, ids):
    log_probs = frames(seed, count)
    paths = [p for p in product((0, *LETTERS), repeat=count) if collapse(p) == tuple(ids)]
    total = sum(np.exp(score(log_probs, path)) for path in paths)
    assert np.isclose(np.exp(ctc.log_likelihood(log_probs, ids)), total)


@settings(max_examples=60, deadline=None)
@given(seed=seeds, count=lengths, ids=texts)
def test_alignment_is_the_best_path_that_writes_the_text(seed, count, ids):
    log_probs = frames(seed, count)
    spans = ctc.forced_align(log_probs, ids)
    paths = [p for p in product((0, *LETTERS), repeat=count) if collapse(p) == tuple(ids)]
    if not paths:
        assert ctc.min_frames(ids) > count
        return
    path = [ctc.BLANK] * count
    for i, (left, right) in zip(ids, spans, strict=True):
        path[left:right] = [i] * (right - left)
    assert collapse(path) == tuple(ids)
    assert np.isclose(score(log_probs, path), max(score(log_probs, p) for p in paths))


@settings(max_examples=40, deadline=None)
@given(seed=seeds, count=lengths, ids=st.lists(st.sampled_from(LETTERS), min_size=1, max_size=9))
def test_spans_are_ordered_inside_the_frames_and_apart(seed, count, ids):
    spans = ctc.forced_align(frames(seed, count), ids)
    flat = [edge for span in spans for edge in span]
    assert flat == sorted(flat)
    assert flat[0] >= 0
    assert flat[-1] <= count
    assert all(0 <= c <= 1 for c in ctc.char_confidences(frames(seed, count), ids))


def test_special_tokens_are_never_read():
    log_probs = np.full((3, VOCAB), -9.0)
    log_probs[:, 1:4] = -0.1
    log_probs[1, 5] = -1.0
    log_probs[[0, 2], 0] = -1.0
    assert ctc.greedy_decode(mask_specials(log_probs, ctc.BLANK)) == [5]
