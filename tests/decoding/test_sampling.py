"""Sampling: what each filter keeps, in which order, with one random number per token."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from nhin.decoding.sampling import Sampler, SamplingParams, check_finite, filter_probs, sample_from
from nhin.errors import Diverged, UsageError

numbers = st.floats(-40, 40, width=32)
impossible = st.just(-math.inf)
tables = arrays(np.float32, st.integers(1, 12), elements=st.one_of(numbers, st.integers(-2, 2), impossible))
samplings = st.builds(
    SamplingParams,
    temperature=st.sampled_from([0.0, 1e-9, 1e-3, 0.5, 1.0, 3.0, 1e9]),
    top_k=st.one_of(st.none(), st.integers(1, 14)),
    top_p=st.floats(1e-6, 1),
    min_p=st.floats(0, 1),
    repetition_penalty=st.sampled_from([0.01, 0.5, 1.0, 1.3, 100.0]),
    seed=st.integers(0, 2**64 - 1),
)


def probs_of(scores, **settings):
    """Return the probability of every token, filtered or not."""
    read = settings.pop("read", ())
    ids, shares = filter_probs(np.array(scores), SamplingParams(**settings), read)
    out = np.zeros(len(scores))
    out[ids] = shares
    return out.tolist()


def filter_slowly(scores, sampling, read):
    """Filter as the definitions say, token by token, with lists."""
    scores = [float(x) for x in scores]
    for i in read:
        ratio = sampling.repetition_penalty
        scores[i] = scores[i] / ratio if scores[i] > 0 else scores[i] * ratio
    order = sorted(range(len(scores)), key=lambda i: (-scores[i], i))
    top = scores[order[0]]
    mass = {i: math.exp((scores[i] - top) / sampling.temperature) for i in order}
    kept = order[: sampling.top_k]
    total, before, inside = sum(mass[i] for i in kept), 0.0, []
    for i in kept:
        if before < sampling.top_p or not inside:
            inside.append(i)
        before += mass[i] / total
    kept = [i for i in inside if mass[i] >= sampling.min_p * mass[order[0]]]
    total = sum(mass[i] for i in kept)
    return {i: mass[i] / total for i in kept if mass[i]}


@given(scores=tables, sampling=samplings, data=st.data())
def test_filters_are_their_definitions_in_their_order(scores, sampling, data):
    assume(np.isfinite(scores.max()) and not sampling.is_greedy)
    scores = np.round(scores, 3) + 0.0  # scores closer than exp can tell have no order
    read = data.draw(st.sets(st.integers(0, len(scores) - 1)))
    # A sum that lies on the edge of top-p up to rounding may go either way.
    sampling = replace(sampling, top_p=min(1.0, sampling.top_p + 1e-7))
    ids, shares = filter_probs(scores, sampling, read)
    assert (np.diff(ids) > 0).all()
    got = {int(i): share for i, share in zip(ids, shares, strict=True) if share}
    want = filter_slowly(scores, sampling, read)
    assert got.keys() == want.keys()
    assert all(math.isclose(got[i], want[i], rel_tol=1e-9, abs_tol=1e-300) for i in got)


@given(scores=tables, sampling=samplings)
def test_a_possible_token_is_sampled_for_any_settings(scores, sampling):
    assume(np.isfinite(scores.max()))
    chosen = Sampler(sampling)(scores)
    assert np.isfinite(scores[chosen])


@given(scores=tables, temperature=st.sampled_from([0.0, 1e-9, 5e-324]), sampling=samplings)
def test_temperature_0_takes_the_first_of_the_likeliest_for_any_filters(scores, temperature, sampling):
    assume(np.isfinite(scores.max()))
    sampling = replace(sampling, temperature=temperature, repetition_penalty=1.0)
    assert Sampler(sampling)(scores) == scores.argmax()


@given(scores=tables, sampling=samplings)
def test_a_token_takes_one_random_number_for_any_filters(scores, sampling):
    """So two texts of one seed differ only where their tokens do."""
    assume(np.isfinite(scores.max()) and not sampling.is_greedy)
    choose, numbers = Sampler(sampling), np.random.default_rng(sampling.seed)
    for _ in range(3):
        read = set() if sampling.repetition_penalty == 1 else set(choose._previous)
        assert choose(scores) == sample_from(*filter_probs(scores, sampling, read), numbers.random())


def test_filters_by_hand():
    scores = np.log([0.4, 0.3, 0.2, 0.1])
    assert probs_of(scores) == pytest.approx([0.4, 0.3, 0.2, 0.1])
    assert probs_of(scores, top_k=2) == pytest.approx([4 / 7, 3 / 7, 0, 0])
    assert probs_of(scores, top_p=0.69) == pytest.approx([4 / 7, 3 / 7, 0, 0])
    assert probs_of(scores, top_p=0.71) == pytest.approx([4 / 9, 3 / 9, 2 / 9, 0])
    assert probs_of(scores, min_p=0.49) == pytest.approx([4 / 9, 3 / 9, 2 / 9, 0])
    assert probs_of(scores, temperature=0.5) == pytest.approx([16 / 30, 9 / 30, 4 / 30, 1 / 30])
    # After top-k the two hold 4/7 and 3/7: top-p is of what top-k left.
    assert probs_of(scores, top_k=2, top_p=0.5) == pytest.approx([1, 0, 0, 0])
    # The temperature comes before top-p and min-p.
    assert probs_of(scores, temperature=0.5, top_p=0.53) == pytest.approx([1, 0, 0, 0])
    assert probs_of(scores, temperature=0.5, min_p=0.5) == pytest.approx([16 / 25, 9 / 25, 0, 0])


def test_previous_tokens_become_less_likely_on_both_sides_of_zero():
    scores = [2.0, 2.0, -2.0, -2.0]
    first, second, third, fourth = probs_of(scores, repetition_penalty=2.0, read=[0, 2])
    assert second / first == pytest.approx(math.e)
    assert fourth / third == pytest.approx(math.exp(2))


def test_a_sampled_token_counts_as_previous():
    choose = Sampler(SamplingParams(temperature=0, repetition_penalty=2.0), previous=[3])
    assert [choose(np.array([1.5, 1.2, 1.0, 1.9])) for _ in range(4)] == [0, 1, 2, 3]


def test_equal_scores_are_kept_from_the_lowest_id_on():
    assert probs_of([1.0] * 6, top_k=2) == [0.5, 0.5, 0, 0, 0, 0]
    assert probs_of([1.0] * 4, top_p=0.49) == [0.5, 0.5, 0, 0]
    assert probs_of([0.0, 1.0, 1.0, 1.0], top_k=2) == [0, 0.5, 0.5, 0]


@given(shares=arrays(np.float64, st.integers(1, 6), elements=st.sampled_from([0.0, 0.125, 1.0, 3.0])))
def test_a_number_selects_the_token_of_its_cumulative_probability(shares):
    assume(shares.sum())
    ids = np.arange(len(shares)) + 10
    edges = np.concatenate([[0], shares.cumsum()]) / shares.sum()
    for place, share in enumerate(shares):
        inside = (edges[place] + edges[place + 1]) / 2
        if share:
            assert sample_from(ids, shares, inside) == 10 + place
    assert shares[sample_from(ids, shares, np.nextafter(1, 0)) - 10] > 0
    assert shares[sample_from(ids, shares, 0.0) - 10] > 0


def test_tokens_come_as_often_as_they_are_likely():
    scores, choose = np.log([0.5, 0.3, 0.2]), Sampler(SamplingParams(seed=1))
    counts = np.bincount([choose(scores) for _ in range(4000)], minlength=3)
    np.testing.assert_allclose(counts / 4000, [0.5, 0.3, 0.2], atol=0.03)


def test_a_seed_is_one_text_and_another_seed_another():
    def text(seed):
        choose = Sampler(SamplingParams(seed=seed))
        return [choose(np.zeros(100)) for _ in range(20)]

    assert text(5) == text(5)
    assert len({tuple(text(seed)) for seed in range(10)}) == 10


@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize("settings", [{}, {"temperature": 0}, {"top_k": 1}, {"repetition_penalty": 2.0}])
def test_logits_that_are_not_finite_are_an_error_of_the_model(bad, settings):
    with pytest.raises(Diverged, match="the model gives NaN"):
        Sampler(SamplingParams(**settings), [0])(np.array([0.0, bad, 1.0], dtype=np.float32))
    with pytest.raises(Diverged):
        check_finite(np.array([[0.0, 1.0], [0.0, bad]]))


@pytest.mark.parametrize("scores", [[-math.inf] * 3, [], [1e308, 1.0], [-1e308]])
def test_logits_without_a_possible_token_are_an_error_of_the_model(scores):
    with pytest.raises(Diverged):
        Sampler(SamplingParams(repetition_penalty=0.01, temperature=1e-5))(np.array(scores))


@given(scores=arrays(np.float64, 5, elements=st.floats(max_value=1e299)), sampling=samplings)
@example(np.array([0.0, -1.5e308]), SamplingParams(temperature=0.01))
@example(np.array([0.0, -1.5e308]), SamplingParams(repetition_penalty=100.0))
def test_the_largest_floats_do_no_harm(scores, sampling):
    assume(scores.max() > -1e299)
    ids, shares = filter_probs(scores, sampling, range(len(scores)))
    assert len(ids) >= 1
    assert np.isfinite(shares).all()


@pytest.mark.parametrize(
    ("name", "values", "allowed"),
    [
        ("temperature", [math.nan, -1.0, math.inf, -1e-12], "give 0"),
        ("top_k", [0, -3], "give 1 or more"),
        ("top_p", [0.0, 1.01, math.nan, -0.5, math.inf], "more than 0, 1 at most"),
        ("min_p", [-0.1, 1.1, math.nan], "0 to 1"),
        ("repetition_penalty", [0.0, -1.0, math.nan, math.inf, 1000.0], "0.01 to 100"),
        ("seed", [-1, 2**64], "give 0 to"),
    ],
)
def test_settings_that_make_no_sense_are_named_with_what_is_allowed(name, values, allowed):
    for value in values:
        with pytest.raises(UsageError) as why:
            SamplingParams(**{name: value})
        assert str(why.value).startswith(f"{name} is {value}; ")
        assert allowed in str(why.value)
