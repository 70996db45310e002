"""Three methods, one answer: the definition, the rows there are, and what is exact."""

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.random import SeedSequence

from nhin.errors import UnknownName, UsageError
from nhin.studies.separation import monte_carlo, reference
from nhin.studies.separation.attention_exact import spike_patterns
from nhin.studies.separation.config import AttentionConfig
from nhin.studies.separation.measure import exact_outcomes, standard_errors
from nhin.studies.separation.options import KINDS
from nhin.studies.separation.outcomes import (
    CODES,
    GUARD,
    SUCCESS,
    encode_outcomes,
    firing_rates,
    outcomes_of_silence,
    silence_of_outcomes,
)
from nhin.studies.separation.samples import AttentionSamples, draw_attention

ALL_KINDS, INNERS = tuple(KINDS), ("eye", "ones")


@st.composite
def any_setting(draws, most_classes=12, most_copies=6):
    """Draw sizes, numbers and choices, rows of one to a class included."""
    k = draws(st.integers(1, most_classes))
    copies = draws(st.integers(1 if k > 1 else 2, most_copies))
    number = st.floats(0.0, 2.5)
    return AttentionConfig(
        n=k * copies,
        d=k + 2,
        m=draws(st.integers(1, 6)),
        a0=draws(st.floats(0.0, 1.0)),
        a1=draws(number),
        b=draws(st.floats(0.05, 0.6)),
        c=draws(st.floats(0.1, 1.0)),
        margin=draws(st.floats(0.02, 0.3)),
        inner=draws(st.sampled_from(INNERS)),
        kind=draws(st.sampled_from(ALL_KINDS)),
        weights=draws(st.sampled_from(("shared", "independent"))),
    )


def largest_by_definition(setting, draws):
    """Return (R, 4): the largest inner product of all rows and columns, with every matrix there is."""
    out = np.zeros((len(draws.rows), 4))
    for repeat, net, products in reference.attention_products(setting, draws):
        out[repeat, net] = products.max()
    return out


@given(setting=any_setting(), seed=st.integers(0, 2**32))
@settings(max_examples=60, deadline=None)
def test_three_kinds_of_rows_give_the_maximum_of_all_rows(setting, seed):
    for draws in draw_attention(setting, 4, SeedSequence(seed)):
        want = largest_by_definition(setting, draws)
        np.testing.assert_allclose(monte_carlo.max_products(setting, draws), want, rtol=0, atol=1e-12)


@given(setting=any_setting(most_classes=4, most_copies=3))
@settings(max_examples=25, deadline=None)
def test_one_column_is_enumerated_whole(setting):
    """All 2^d columns and positions of spikes, counted one by one, are the exact chances of one column."""
    setting = replace(setting, m=1, weights="shared", kind="c1" if setting.kind == "c1perm" else setting.kind)
    assume(setting.n <= 8)
    columns = np.array(list(product((-1, 1), repeat=setting.d)), np.int8)
    places = (
        [(j, j, i, i) for j, i in product(range(setting.n), repeat=2)]
        if setting.kind == "self"
        else list(product(range(setting.classes), repeat=4))
    )
    total = np.zeros(CODES)
    for rows in places:
        draws = AttentionSamples(
            np.tile(rows, (len(columns), 1)),
            columns[:, None, :, None],
            np.broadcast_to(np.arange(setting.classes), (len(columns), setting.classes)),
        )
        largest = monte_carlo.max_products(setting, draws)
        total += np.bincount(encode_outcomes(largest > setting.threshold + GUARD), minlength=CODES)
    np.testing.assert_allclose(exact_outcomes(setting), total / total.sum(), atol=1e-12)


@given(setting=any_setting(), seed=st.integers(0, 2**32))
@settings(max_examples=50, deadline=None, derandomize=True)  # chance may not decide whether a test passes
def test_the_definition_succeeds_as_often_as_is_exact(setting, seed):
    repeats = 120
    chance = float(exact_outcomes(setting)[SUCCESS])
    counted = int(reference.count_outcomes(setting, repeats, SeedSequence(seed))[SUCCESS])
    # Where under one success or failure is expected the count is no longer normal: Poisson's tail instead.
    rare = repeats * min(chance, 1 - chance)
    if rare < 2:
        assert min(counted, repeats - counted) <= 12
    else:
        assert abs(standard_errors(counted, repeats, chance)) < 4.5


@given(setting=any_setting(), seed=st.integers(0, 2**32))
@settings(max_examples=20, deadline=None)
def test_every_outcome_is_counted_alike_by_definition_and_by_rows(setting, seed):
    """Sums that stand at the threshold up to rounding aside, the same networks fire."""
    threshold = setting.threshold
    for draws in draw_attention(setting, 6, SeedSequence(seed)):
        assume(np.abs(monte_carlo.max_products(setting, draws) - threshold).min() > 1e-9)
    counted = reference.count_outcomes(setting, 6, SeedSequence(seed))
    assert np.array_equal(counted, monte_carlo.count_outcomes(setting, 6, SeedSequence(seed)))


@pytest.mark.parametrize("inner", INNERS)
@pytest.mark.parametrize("kind", ALL_KINDS)
def test_many_repeats_come_near_every_exact_chance(kind, inner):
    setting = AttentionConfig(n=40, d=12, m=8, kind=kind, inner=inner, a1=0.9)
    exact, repeats = exact_outcomes(setting), 4000
    counted = monte_carlo.count_outcomes(setting, repeats, SeedSequence(7))
    for code in range(CODES):
        if repeats * min(exact[code], 1 - exact[code]) >= 3:
            assert abs(standard_errors(int(counted[code]), repeats, float(exact[code]))) < 4.5
        else:
            assert counted[code] <= 16


@pytest.mark.parametrize(("d", "n"), [(4, 6), (5, 3), (12, 10)])
def test_rows_alone_in_their_class_are_right_too(d, n):
    setting = AttentionConfig(n=n, d=d, m=4, kind="c1", margin=0.05)
    counted = monte_carlo.count_outcomes(setting, 4000, SeedSequence(1))
    assert abs(standard_errors(int(counted[SUCCESS]), 4000, float(exact_outcomes(setting)[SUCCESS]))) < 4.5


@given(seed=st.integers(0, 2**32), block=st.integers(1, 5000))
@settings(max_examples=20, deadline=None)
@pytest.mark.parametrize("weights", ["shared", "independent"])
@pytest.mark.parametrize("kind", ["self", "c1perm"])
def test_the_size_of_blocks_changes_nothing_that_is_drawn(kind, weights, seed, block):
    setting = AttentionConfig(n=20, d=12, m=5, kind=kind, weights=weights)
    whole = next(iter(draw_attention(setting, 9, SeedSequence(seed))))
    parts = list(draw_attention(setting, 9, SeedSequence(seed), block))
    for name in ("rows", "signs", "order"):
        joined = np.concatenate([getattr(part, name) for part in parts])
        assert np.array_equal(joined, getattr(whole, name))


@given(st.lists(st.floats(0, 1), min_size=CODES, max_size=CODES).filter(lambda x: sum(x) > 0.1))
def test_sets_that_fire_and_sets_that_are_silent_are_equivalent(weights):
    exact = np.array(weights) / sum(weights)
    np.testing.assert_allclose(outcomes_of_silence(silence_of_outcomes(exact)), exact, atol=1e-12)
    np.testing.assert_allclose(1 - firing_rates(exact), silence_of_outcomes(exact)[[1, 2, 4, 8]], atol=1e-12)


@given(setting=any_setting())
@settings(max_examples=40, deadline=None)
def test_chances_are_chances(setting):
    exact = exact_outcomes(setting)
    assert (exact >= 0).all()
    np.testing.assert_allclose(exact.sum(), 1.0, atol=1e-12)
    np.testing.assert_allclose(sum(p.chance for p in spike_patterns(setting)), 1.0, atol=1e-12)


@given(setting=any_setting())
@settings(max_examples=20, deadline=None)
def test_with_all_ones_cross_attention_is_self_attention(setting):
    """Only row sums matter, so the class of the spike query does not; with one row to a class it does."""
    assume(setting.copies > 1)
    one, two = (replace(setting, inner="ones", kind=kind) for kind in ("self", "c1"))
    np.testing.assert_allclose(exact_outcomes(one), exact_outcomes(two), atol=1e-12)


@given(setting=any_setting())
@settings(max_examples=20, deadline=None)
def test_the_order_of_classes_changes_no_chance(setting):
    one, two = (replace(setting, kind=kind) for kind in ("c1", "c1perm"))
    np.testing.assert_allclose(exact_outcomes(one), exact_outcomes(two), atol=1e-12)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"n": 205}, "200 or 220"),
        ({"n": 0}, "n is 0"),
        ({"n": -20}, "n is -20"),
        ({"d": 2}, "d is 2"),
        ({"m": 0}, "m is 0"),
        ({"a1": float("nan")}, "a1 is nan"),
        ({"a0": -0.1}, "a0 is -0.1"),
        ({"margin": float("inf")}, "margin is inf"),
        ({"b": 0.0, "c": 0.0}, "divide by zero"),
        ({"m": 10**9}, "m is 1000000000"),
    ],
)
def test_what_the_definitions_do_not_allow_is_refused_in_words(wrong, message):
    with pytest.raises(UsageError, match=message):
        AttentionConfig(**wrong)


def test_unknown_choices_are_refused():
    with pytest.raises(UnknownName):
        AttentionConfig(kind="c5")


def test_matrices_that_would_fill_the_memory_are_refused():
    with pytest.raises(UsageError, match="n x n"):
        reference.count_outcomes(AttentionConfig(n=20_000), 1, SeedSequence(0))


@pytest.mark.parametrize("inner", INNERS)
@pytest.mark.parametrize("kind", ALL_KINDS)
def test_two_classes_of_one_row_agree_with_the_definition(kind, inner):
    """The row with the spike is all its class has: with two classes that is half of all products."""
    setting = AttentionConfig(n=2, d=4, m=1, kind=kind, inner=inner, b=0.5, c=0.3, a0=0.4)
    for draws in draw_attention(setting, 300, SeedSequence(0)):
        want = largest_by_definition(setting, draws)
        np.testing.assert_allclose(monte_carlo.max_products(setting, draws), want, rtol=0, atol=1e-12)


@pytest.mark.parametrize("method", [monte_carlo, reference])
def test_what_stands_at_the_threshold_does_not_fire(method):
    """Without a spike products are b T / K + c y_d: with K = 4 classes T = 2 is the margin, T = 4 more."""
    setting = AttentionConfig(n=8, d=6, m=1, a0=0.0, a1=0.0, inner="ones")
    np.testing.assert_allclose(firing_rates(exact_outcomes(setting)), 1 / 32, atol=1e-15)
    counted = firing_rates(method.count_outcomes(setting, 2000, SeedSequence(0)).astype(float))
    assert (abs(counted - 2000 / 32) < 4.5 * np.sqrt(2000 / 32)).all()
