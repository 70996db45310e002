"""Laws of means with intervals and of straight lines."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nhin.metrics.statistics import Interval, confidence_interval, fit_line, t_quantile, weigh_means

numbers = st.floats(-100, 100)


@pytest.mark.parametrize(
    ("freedom", "confidence", "printed"),
    [
        (1, 0.95, 12.706),
        (2, 0.95, 4.303),
        (3, 0.95, 3.182),
        (4, 0.99, 4.604),
        (5, 0.90, 2.015),
        (10, 0.95, 2.228),
        (30, 0.95, 2.042),
        (120, 0.95, 1.980),
        (10_000, 0.95, 1.960),
    ],
)
def test_quantiles_of_t_are_those_of_tables(freedom, confidence, printed):
    assert t_quantile(freedom, confidence) == pytest.approx(printed, abs=5e-4)


def test_an_interval_of_three_is_the_one_worked_out_by_hand():
    found = confidence_interval([1.0, 2.0, 3.0])
    assert found.mean == 2.0
    assert found.half_width == pytest.approx(4.302653 / math.sqrt(3), rel=1e-6)
    assert (found.low, found.high) == (found.mean - found.half_width, found.mean + found.half_width)


def test_one_value_has_an_infinite_interval():
    assert confidence_interval([3.0]) == Interval(3.0, math.inf)


def test_intervals_hold_the_true_mean_as_often_as_they_say():
    rng = np.random.default_rng(0)
    held = [
        abs(found.mean) <= found.half_width
        for found in map(confidence_interval, rng.normal(size=(4000, 3)).tolist())
    ]
    assert np.mean(held) == pytest.approx(0.95, abs=0.015)


@given(start=numbers, slope=numbers, xs=st.lists(st.integers(0, 50), min_size=2, max_size=6, unique=True))
def test_points_on_a_line_give_the_line(start, slope, xs):
    found = fit_line(xs, [start + slope * x for x in xs])
    assert found.start == pytest.approx(start, abs=1e-6)
    assert found.slope == pytest.approx(slope, abs=1e-6)
    assert found.predict(7) == pytest.approx(start + 7 * slope, abs=1e-5)


@given(ys=st.lists(numbers, min_size=4, max_size=4))
def test_the_line_is_numpys_and_its_fit_the_square_of_the_correlation(ys):
    xs = [1, 2, 4, 8]
    found = fit_line(xs, ys)
    slope, start = np.polyfit(xs, ys, 1)
    assert (found.start, found.slope) == pytest.approx((start, slope), abs=1e-6)
    if np.ptp(ys) > 1e-3:
        assert found.fit == pytest.approx(np.corrcoef(xs, ys)[0, 1] ** 2, abs=1e-6)


def test_bent_points_fit_worse_than_straight_ones():
    straight, bent = fit_line([2, 4, 8], [2.0, 4.0, 8.0]), fit_line([2, 4, 8], [4.0, 16.0, 64.0])
    assert straight.fit == pytest.approx(1.0)
    assert 0.9 < bent.fit < 0.99
    assert fit_line([1, 2, 3], [5.0, 5.0, 5.0]).fit == 1.0


def test_a_difference_of_means_has_the_interval_of_welch():
    x, y = [1.0, 2.0, 3.0], [11.0, 12.0, 13.0]
    found = weigh_means([x, y], [-1.0, 1.0])
    assert found.mean == 10.0
    assert found.half_width == pytest.approx(
        2.776445 * math.sqrt(2 / 3), rel=1e-6
    )  # t of 4 degrees of freedom
    assert weigh_means([x, [5.0] * 9], [1.0, 1.0]).half_width == confidence_interval(x).half_width
    assert weigh_means([x, [5.0]], [1.0, 1.0]).half_width == math.inf
    assert weigh_means([[5.0] * 3, y], [1.0, 0.0]) == Interval(5.0, 0.0)
