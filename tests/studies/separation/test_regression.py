"""Regression: the definition, eight columns at a time, and what is exact."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.random import SeedSequence

from nhin.errors import UsageError
from nhin.studies.separation import monte_carlo, reference, regression_exact
from nhin.studies.separation.config import HIGH, LOW, SPIKE, RegressionConfig, columns_for
from nhin.studies.separation.measure import exact_outcomes, standard_errors
from nhin.studies.separation.outcomes import CODES, SUCCESS
from nhin.studies.separation.samples import draw_regression


@st.composite
def any_setting(draws):
    return RegressionConfig(
        n=draws(st.integers(10, 60)),
        m=draws(st.integers(1, 20)),
        tau=draws(st.floats(0.05, 0.9)),
        weights=draws(st.sampled_from(("shared", "independent"))),
    )


@given(setting=any_setting(), seed=st.integers(0, 2**32))
@settings(max_examples=40, deadline=None)
def test_sums_by_byte_are_the_inner_products_of_the_definition(setting, seed):
    for draws in draw_regression(setting, 3, SeedSequence(seed)):
        products_by_byte = monte_carlo.column_products(setting, draws)
        for repeat, net, products in reference.regression_products(setting, draws):
            np.testing.assert_allclose(products_by_byte[repeat, net], products, rtol=0, atol=1e-12)


@given(setting=any_setting(), seed=st.integers(0, 2**32))
@settings(max_examples=15, deadline=None)
def test_the_same_networks_fire_by_either_way(setting, seed):
    one, two = (method.count_outcomes(setting, 20, SeedSequence(seed)) for method in (monte_carlo, reference))
    assert np.array_equal(one, two)


@given(setting=any_setting(), seed=st.integers(0, 2**32))
@settings(max_examples=50, deadline=None, derandomize=True)  # chance may not decide whether a test passes
def test_drawn_outcomes_come_near_exact_ones(setting, seed):
    exact, repeats = exact_outcomes(setting), 600
    if exact is None:
        return
    counted = monte_carlo.count_outcomes(setting, repeats, SeedSequence(seed))
    for code in range(CODES):
        chance = float(exact[code])
        if repeats * min(chance, 1 - chance) < 4:
            assert min(counted[code], repeats - counted[code]) <= 20
        else:
            # Columns share the data, which the exact method leaves out: a hundredth at most, and only here.
            assert (
                abs(counted[code] / repeats - chance) < 4.5 * np.sqrt(chance * (1 - chance) / repeats) + 0.01
            )


def test_many_repeats_come_near_the_exact_chance_where_noise_is_largest():
    setting, repeats = RegressionConfig(100, 5), 40_000
    counted = monte_carlo.count_outcomes(setting, repeats, SeedSequence(2))
    assert abs(standard_errors(int(counted[SUCCESS]), repeats, float(exact_outcomes(setting)[SUCCESS]))) < 4


@given(seed=st.integers(0, 2**32), block=st.integers(1, 3000))
@settings(max_examples=20, deadline=None)
@pytest.mark.parametrize("weights", ["shared", "independent"])
def test_the_size_of_blocks_changes_nothing_that_is_drawn(weights, seed, block):
    setting = RegressionConfig(17, 11, weights=weights)
    whole = next(iter(draw_regression(setting, 9, SeedSequence(seed))))
    parts = list(draw_regression(setting, 9, SeedSequence(seed), block))
    for name in ("data", "signs"):
        joined = np.concatenate([getattr(part, name) for part in parts])
        assert np.array_equal(joined, getattr(whole, name))


@given(seed=st.integers(0, 2**32))
@settings(max_examples=10, deadline=None)
def test_fewer_columns_of_one_draw_are_counted_as_if_there_were_no_more(seed):
    wide = RegressionConfig(30, 12)
    counts = monte_carlo.count_nested(wide, 50, SeedSequence(seed))
    for m in (1, 7, 8, 9, 12):
        alone = reference.count_outcomes(replace(wide, m=m), 50, SeedSequence(seed), drawn=12)
        assert np.array_equal(counts[m - 1], alone)


def test_data_follow_the_definition():
    draws = next(iter(draw_regression(RegressionConfig(50, 3), 2000, SeedSequence(0), block=1 << 30)))
    spiked, plain = draws.data[:, 0], draws.data[:, 1]
    assert ((spiked == SPIKE).sum(1) == 1).all()
    assert plain.min() >= LOW and plain.max() <= HIGH
    assert abs(plain.mean() - 1.2) < 4 * 0.1155 / np.sqrt(plain.size)
    where = (spiked == SPIKE).argmax(1)
    assert np.bincount(where, minlength=50).min() > 10


def test_where_the_spike_does_not_decide_nothing_exact_is_claimed():
    assert exact_outcomes(RegressionConfig(10, 3, 0.999)) is None
    with pytest.raises(UsageError, match="mc"):
        regression_exact.exact_outcomes(RegressionConfig(10, 3, 0.999))


@pytest.mark.parametrize(
    "wrong", [{"n": 0}, {"n": -5}, {"m": 0}, {"tau": 1.5}, {"tau": float("nan")}, {"n": 10**9}]
)
def test_what_makes_no_sense_is_refused(wrong):
    with pytest.raises(UsageError):
        RegressionConfig(**wrong)


def test_columns_are_rounded_as_asked():
    assert [columns_for(n, "ceil") for n in (100, 2000)] == [5, 8]
    assert [columns_for(n, "floor") for n in (100, 2000)] == [4, 7]
