"""Laws of beam search, against every text there is, written out."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nhin.decoding.beam_search import MAX_BEAMS, BeamSearchConfig, log_softmax, search_beams
from nhin.errors import Diverged, UsageError


class Oracle:
    """A model whose logits depend on the whole text so far, and on nothing else."""

    def __init__(self, vocab, width, seed):
        self.vocab, self.seed, self.texts = vocab, seed, [()] * width

    def table(self, text):
        return np.random.default_rng([self.seed, *text]).normal(size=self.vocab) * 2

    def scores(self, ids):
        self.texts = [(*text, int(i)) for text, i in zip(self.texts, ids, strict=True)]
        return np.stack([self.table(text) for text in self.texts])

    def reorder(self, rows):
        self.texts = [self.texts[row] for row in rows]


def search(oracle, beams):
    return search_beams(oracle.table(()), oracle, beams)


def every_text(oracle, tokens, stop, text=(), log_prob=0.0):
    """Return every text that ends or has the maximum length, with its log-probability."""
    if len(text) == tokens or (text and text[-1] in stop):
        return {text: log_prob}
    out = {}
    for i, more in enumerate(log_softmax(oracle.table(text))):
        out |= every_text(oracle, tokens, stop, (*text, i), log_prob + more)
    return out


def score(text, log_prob, alpha):
    return log_prob / ((5 + len(text)) / 6) ** alpha


cases = {
    "seed": st.integers(0, 999),
    "vocab": st.integers(1, 4),
    "tokens": st.integers(1, 4),
    "alpha": st.sampled_from([0.0, 0.6, 1.0, 3.0]),
    "stop": st.sets(st.integers(0, 3)),
}


@settings(max_examples=60)
@given(**cases)
def test_as_many_beams_as_texts_find_every_text_best_first(seed, vocab, tokens, alpha, stop):
    oracle = Oracle(vocab, vocab**tokens, seed)
    got = search(oracle, BeamSearchConfig(vocab**tokens, tokens, alpha, stop))
    want = every_text(oracle, tokens, stop)
    assert {text.ids for text in got} == want.keys()
    assert len(got) == len(want)
    for text in got:
        assert text.log_prob == pytest.approx(want[text.ids])
        assert text.score == pytest.approx(score(text.ids, want[text.ids], alpha))
    assert [text.score for text in got] == sorted((text.score for text in got), reverse=True)


@settings(max_examples=60)
@given(**cases)
def test_one_beam_is_the_greedy_text(seed, vocab, tokens, alpha, stop):
    oracle = Oracle(vocab, 1, seed)
    text = ()
    while len(text) < tokens and not (text and text[-1] in stop):
        text = (*text, int(oracle.table(text).argmax()))
    assert [one.ids for one in search(oracle, BeamSearchConfig(1, tokens, alpha, stop))] == [text]


@settings(max_examples=60)
@given(**cases, width=st.integers(1, 9))
def test_hypotheses_have_their_true_scores_and_differ(seed, vocab, tokens, alpha, stop, width):
    oracle = Oracle(vocab, width, seed)
    got, known = (
        search(oracle, BeamSearchConfig(width, tokens, alpha, stop)),
        every_text(oracle, tokens, stop),
    )
    assert len({text.ids for text in got}) == len(got)
    assert len(got) == min(width, len(known))
    for text in got:
        assert text.log_prob == pytest.approx(known[text.ids])


def test_more_beams_find_what_greedy_search_misses():
    """The likeliest first token leads nowhere: 0.6 x 0.5 against 0.4 x 0.9."""

    class Trap(Oracle):
        def table(self, text):
            return np.log({(): [0.6, 0.4], (0,): [0.5, 0.5], (1,): [0.9, 0.1]}[text])

    assert search(Trap(2, 1, 0), BeamSearchConfig(1, 2))[0].ids == (0, 0)
    best = search(Trap(2, 2, 0), BeamSearchConfig(2, 2))[0]
    assert best.ids == (1, 0)
    assert math.exp(best.log_prob) == pytest.approx(0.36)


def test_the_length_penalty_decides_between_a_short_and_a_long_text():
    class Short(Oracle):
        def table(self, text):
            return np.log([0.55, 0.45] if text == () else [0.01, 0.99])

    def best(alpha):
        return search(Short(2, 2, 0), BeamSearchConfig(2, 9, alpha, {0}))[0]

    assert best(0.0).ids == (0,)
    assert best(1.0).ids == (1,) * 9
    assert best(1.0).score == pytest.approx(math.log(0.45 * 0.99**8) * 6 / 14)


def test_equal_scores_are_taken_in_the_order_of_ids():
    class Flat(Oracle):
        def table(self, text):
            return np.zeros(3)

    assert [text.ids for text in search(Flat(3, 4, 0), BeamSearchConfig(4, 2))] == [
        (0, 0),
        (0, 1),
        (0, 2),
        (1, 0),
    ]


def test_impossible_tokens_are_in_no_text():
    class Barred(Oracle):
        def table(self, text):
            return np.array([0.0, -np.inf, -1.0])

    got = search(Barred(3, 50, 0), BeamSearchConfig(50, 3))
    assert len(got) == 8
    assert all(1 not in text.ids for text in got)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_logits_that_are_not_finite_are_an_error(bad):
    class Broken(Oracle):
        def table(self, text):
            return np.array([0.0, bad if text else 1.0])

    with pytest.raises(Diverged, match="NaN"):
        search(Broken(2, 2, 0), BeamSearchConfig(2, 3))


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("width", [0, -1, MAX_BEAMS + 1]),
        ("tokens", [0]),
        ("alpha", [-1.0, math.nan, math.inf]),
    ],
)
def test_settings_that_make_no_sense_are_named(name, values):
    for value in values:
        with pytest.raises(UsageError, match=f"{name} of the beams is {value}; give"):
            BeamSearchConfig(**{name: value})


class CoveringOracle(Oracle):
    """Attends to as many positions as there are tokens: a token's weight goes to the position of its id."""

    def coverage(self):
        return np.stack([np.bincount(text, minlength=self.vocab)[: self.vocab] * 0.5 for text in self.texts])


def test_coverage_is_added_for_what_a_text_has_attended_to_when_its_last_token_is_chosen():
    oracle = CoveringOracle(3, 27, 0)
    found = search(oracle, BeamSearchConfig(27, 3, 0.6, (0,), beta=0.2))
    plain = {text.ids: text.score for text in search(Oracle(3, 27, 0), BeamSearchConfig(27, 3, 0.6, (0,)))}
    assert {text.ids for text in found} == plain.keys()
    for text in found:
        sums = np.bincount(text.ids[:-1], minlength=3) * 0.5
        penalty = 0.2 * np.log(np.clip(sums, 1e-9, 1.0)).sum()
        assert text.score == pytest.approx(plain[text.ids] + penalty)


def test_coverage_of_a_model_without_a_source_is_refused():
    with pytest.raises(UsageError, match="attend"):
        search(Oracle(3, 2, 0), BeamSearchConfig(2, 3, beta=0.2))
