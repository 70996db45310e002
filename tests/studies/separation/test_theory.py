"""What the paper proves and the guide worked out: lemmas, limits, bounds, and figures to come out."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.random import SeedSequence

from nhin.studies.separation import monte_carlo, reference
from nhin.studies.separation.config import AttentionConfig, RegressionConfig
from nhin.studies.separation.measure import exact_outcomes
from nhin.studies.separation.options import Variant
from nhin.studies.separation.outcomes import NETS, SUCCESS, attend, firing_rates
from nhin.studies.separation.samples import draw_regression
from nhin.studies.separation.sweeps import sweep_points

small = st.integers(2, 5)


@given(n=small, d=small, seed=st.integers(0, 2**32))
@settings(max_examples=20, deadline=None)
def test_scores_are_the_kronecker_product_of_the_paper(n, d, seed):
    """A1 X A2^T, row by row, is (A1 kron A2) vec(X)."""
    a1, a2 = np.random.default_rng(seed).normal(size=(2, n, d))
    for inner, x in (("eye", np.eye(d)), ("ones", np.ones((d, d)))):
        long = np.kron(a1, a2) @ x.reshape(-1)
        np.testing.assert_allclose(reference.score_matrix(inner, a1, a2), long.reshape(n, n), atol=1e-12)


@given(n=st.integers(100, 2000), seed=st.integers(0, 2**32))
@settings(max_examples=25, deadline=None)
def test_attention_of_the_regression_keeps_the_lemmas_bounds(n, seed):
    setting = RegressionConfig(n, 1)
    data = next(iter(draw_regression(setting, 4, SeedSequence(seed)))).data
    f = dict(zip(NETS, monte_carlo.network_weights(setting, data).transpose(1, 0, 2), strict=True))
    spike = data[:, 0].argmax(1)
    at, rows = f["exp1"][np.arange(4), spike], np.arange(4)
    rest = f["exp1"].copy()
    rest[rows, spike] = 0
    assert f["lin0"].max() <= 1.4 / n
    assert f["exp0"].max() <= n**-0.6
    assert f["lin1"].max() <= 4 / (n + 3)
    assert at.min() >= 0.5
    assert rest.max() <= n**-2.6
    np.testing.assert_allclose(sum(map(np.sum, f.values())), 16, atol=1e-9)


@given(n=st.sampled_from([4, 10, 100, 2000]), seed=st.integers(0, 2**32), data=st.data())
@settings(max_examples=30, deadline=None)
def test_the_spike_decides_whatever_the_other_signs(n, seed, data):
    """Lemma 4.2.2: the inner product is a quarter at least in size, with the sign that y has at the spike."""
    u = np.random.default_rng(seed).uniform(1, 1.4, n)
    u[0] = 4
    y = data.draw(arrays(np.int8, n, elements=st.sampled_from([-1, 1])))
    for signs in (y, np.where(np.arange(n) == 0, y[0], -y[0])):
        product = attend("exp", u * math.log(n)) @ signs
        assert product * y[0] >= 0.25


@pytest.mark.parametrize("n", [100, 1000])
def test_noise_has_no_heavier_tails_than_hoeffding_says(n):
    setting = RegressionConfig(n, 8)
    draws = next(iter(draw_regression(setting, 2000, SeedSequence(0), block=1 << 30)))
    f = monte_carlo.network_weights(setting, draws.data)[:, 2:]
    products = monte_carlo.column_products(setting, draws)[:, 2:]
    length = np.sqrt((f**2).sum(2))[:, :, None]
    for sds in (1.0, 2.0, 3.0):
        share = (np.abs(products) > sds * length).mean()
        assert share <= 2 * math.exp(-(sds**2) / 2) + 4 * math.sqrt(0.25 / products.size)


@pytest.mark.parametrize("n", [100, 200, 500, 1000, 2000])
def test_success_is_no_rarer_than_hoeffding_and_the_union_bound_say(n):
    m, tau = math.ceil(math.log(n)), 0.25
    squares = {"exp0": n ** (2 * -0.6) * n, "lin0": 1.4**2 / n, "lin1": (4 / (n + 3)) ** 2 * n}
    lost = sum(m * math.exp(-(tau**2) / (2 * square)) for square in squares.values())
    assert exact_outcomes(RegressionConfig(n, m))[SUCCESS] >= 1 - 0.5**m - lost


def test_with_much_data_only_the_signs_at_the_spike_matter():
    for m in (1, 2, 5, 10):
        assert exact_outcomes(RegressionConfig(5000, m))[SUCCESS] == pytest.approx(1 - 0.5**m, abs=1e-12)


@pytest.mark.parametrize("inner", ["eye", "ones"])
@pytest.mark.parametrize("m", [5, 15, 30])
def test_with_many_classes_only_two_signs_matter(inner, m):
    """A column needs y_1 = y_d = 1: the limit is 1 - (3/4)^m."""
    setting = AttentionConfig(n=1024, d=258, m=m, inner=inner)
    assert exact_outcomes(setting)[SUCCESS] == pytest.approx(1 - 0.75**m, abs=2e-3)


@given(c=st.floats(0.3, 1.5))
@settings(max_examples=20, deadline=None)
def test_the_constant_column_cancels_in_softmax_with_the_identity(c):
    """Where no sum stands at the threshold, softmax fires on D0 as often whatever c is."""
    rates = [firing_rates(exact_outcomes(AttentionConfig(c=value, margin=0.0937)))[2] for value in (c, 0.8)]
    assert rates[0] == pytest.approx(rates[1], abs=1e-12)


@given(st.data())
@settings(max_examples=20, deadline=None)
def test_rows_of_attention_sum_to_one(data):
    k = data.draw(st.integers(1, 6))
    setting = AttentionConfig(n=2 * k, d=k + 2, inner=data.draw(st.sampled_from(["eye", "ones"])))
    a = reference.build_matrix(setting, 1.2, 0)
    for kernel in ("exp", "lin"):
        np.testing.assert_allclose(
            reference.attend(kernel, reference.score_matrix(setting.inner, a, a)).sum(1), 1, atol=1e-12
        )


GOLDEN = [
    # (setting, X = vec(I), X = 1), worked out with an independent prototype (the guide, section 2.2)
    ({}, 0.763, 0.892),
    ({"n": 200, "d": 12}, 0.469, 0.650),
    ({"n": 210, "d": 12}, 0.469, 0.650),
    ({"n": 220, "d": 12}, 0.650, 0.650),
    ({"n": 1000, "d": 12}, 0.650, 0.650),
    *(
        ({"n": 256, "d": d}, eye, ones)
        for d, eye, ones in (
            (4, 0.131, 0.131),
            (6, 0.076, 0.219),
            (10, 0.318, 0.491),
            (18, 0.737, 0.818),
            (34, 0.944, 0.970),
            (66, 0.985, 0.986),
        )
    ),
    *(
        ({"m": m}, eye, ones)
        for m, eye, ones in (
            (1, 0.238, 0.245),
            (5, 0.689, 0.732),
            (10, 0.791, 0.880),
            (20, 0.710, 0.872),
            (40, 0.507, 0.766),
            (80, 0.258, 0.586),
        )
    ),
    ({"a0": 0.8}, 0.056, 0.0),
    ({"c": 0.5}, 0.617, 0.904),
    ({"c": 0.9}, 0.843, 0.892),
    ({"c": 0.5, "b": 0.5}, 0.031, 0.163),
    ({"c": 0.7, "b": 0.3}, 0.473, 0.473),
    ({"c": 0.9, "b": 0.1}, 0.987, 0.987),
    ({"weights": "independent"}, 0.593, None),
    ({"kind": "c1"}, 0.787, 0.892),
    ({"kind": "c1", "n": 256, "d": 66}, 0.985, 0.986),
    ({"margin": 0.0999}, 0.763, 0.843),  # sums stand at the threshold itself
    ({"a1": 2.0}, None, 0.786),
    ({"a1": 3.0}, None, 0.446),
]


@pytest.mark.parametrize(("changed", "eye", "ones"), GOLDEN)
def test_known_chances_come_out(changed, eye, ones):
    for inner, want in (("eye", eye), ("ones", ones)):
        if want is not None:
            got = exact_outcomes(AttentionConfig(**changed, inner=inner))[SUCCESS]
            assert got == pytest.approx(want, abs=6e-4)


@pytest.mark.parametrize(
    ("n", "floor", "ceil"),
    [
        (100, 0.879, 0.891),
        (200, 0.963, 0.978),
        (500, 0.985, 0.992),
        (1000, 0.993, 0.997),
        (2000, 0.994, 0.996),
    ],
)
def test_known_counts_of_the_regression_are_near(n, floor, ceil):
    """Those were counted in 1,000 repeats: three standard errors."""
    for rounding, want in (("floor", floor), ("ceil", ceil)):
        m = getattr(math, rounding)(math.log(n))
        chance = exact_outcomes(RegressionConfig(n, m))[SUCCESS]
        assert abs(chance - want) <= 3 * math.sqrt(chance * (1 - chance) / 1000)


@pytest.mark.parametrize(
    ("tau", "want"), [(0.05, 0.0), (0.10, 0.547), (0.15, 0.995), (0.20, 1.0), (0.9, 1.0)]
)
def test_the_threshold_of_the_regression_matters_only_where_noise_reaches_it(tau, want):
    chance = exact_outcomes(RegressionConfig(1000, 100, tau))[SUCCESS]
    assert abs(chance - want) <= 3 * math.sqrt(max(chance * (1 - chance), 1e-6) / 1000)


def test_large_spikes_fail_because_linear_attention_fires():
    """Not because softmax is silent: the four conditions show it."""
    rates = dict(zip(NETS, firing_rates(exact_outcomes(AttentionConfig(a1=2.8))), strict=True))
    assert rates["exp1"] > 0.98
    assert rates["lin1"] > 0.95
    low = dict(
        zip(
            NETS,
            firing_rates(exact_outcomes(replace(AttentionConfig(), n=256, d=6))),
            strict=True,
        )
    )
    assert low["exp0"] > 0.9 and low["lin0"] > 0.9


def test_every_published_point_is_there():
    many = {family: len(sweep_points(family, Variant())) for family in ("regression", "self", "cross")}
    assert many == {"regression": 291, "self": 818, "cross": 818}
    assert {point.config.m for point in sweep_points("self", Variant()) if point.sweep not in ("m",)} == {15}
    places = [point.index for family in many for point in sweep_points(family, Variant())]
    assert len(set(places)) == len(places)
