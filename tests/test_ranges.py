"""Numbers that a user gives are parsed and checked in one way."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nhin.errors import UsageError
from nhin.ranges import check_float, check_int, parse_list


def test_lists_are_read_and_other_words_refused():
    assert parse_list("2,4,8", int, "depths look like 2") == (2, 4, 8)
    assert parse_list("1e-3, 0.01", float, "rates look like 1") == (1e-3, 0.01)
    with pytest.raises(UsageError, match="depths look like 2, not '2;4'"):
        parse_list("2;4", int, "depths look like 2")
    with pytest.raises(UsageError, match="depths look like 2"):
        parse_list("2,,4", int, "depths look like 2")
    with pytest.raises(UsageError, match="rates look like 1, not 'fast'"):
        parse_list("fast", float, "rates look like 1")


@given(value=st.integers(-9, 9), low=st.integers(-5, 0), high=st.integers(0, 5))
def test_a_number_in_its_range_comes_back_and_any_other_is_refused(value, low, high):
    for check, number in ((check_int, value), (check_float, float(value))):
        if low <= value <= high:
            assert check("size", number, low, high) == value
        else:
            with pytest.raises(UsageError, match=f"size is {value}; give a .*number from {low} to {high}"):
                check("size", number, low, high)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_is_in_no_range(value):
    with pytest.raises(UsageError):
        check_float("size", value, -math.inf, math.inf)


@pytest.mark.parametrize("value", [True, 2.0, "2"])
def test_only_a_whole_number_is_one(value):
    with pytest.raises(UsageError):
        check_int("size", value, 0, 9)
