"""Numbers out of range are refused with the value and the allowed range."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nhin.errors import ShapeError, UsageError
from nhin.ranges import check_float, check_int, check_range, check_size, parse_list


@given(value=st.integers() | st.floats(), low=st.integers(-5, 5), high=st.integers(-5, 5))
def test_a_number_is_returned_if_it_is_in_its_range_and_refused_else(value, low, high):
    for bounds, allowed in (
        ({"minimum": low, "maximum": high}, low <= value <= high),
        ({"above": low, "below": high}, low < value < high),
        ({"minimum": low}, low <= value < math.inf),
        ({"maximum": high}, -math.inf < value <= high),
        ({}, math.isfinite(value) if isinstance(value, float) else True),
    ):
        if allowed:
            assert check_range("x", value, **bounds) is value
        else:
            with pytest.raises(UsageError, match=r"^x is .*; give "):
                check_range("x", value, **bounds)


@pytest.mark.parametrize(
    ("bounds", "words"),
    [
        ({"minimum": 1, "maximum": 2**16}, "depth is 0; give 1 to 65536"),
        ({"minimum": 0.25, "maximum": 1.0}, "depth is 0; give 0.25 to 1"),
        ({"minimum": 1}, "depth is 0; give at least 1"),
        ({"above": 0, "maximum": 1}, "depth is 0; give more than 0 and at most 1"),
        ({"minimum": 1, "below": 3}, "depth is 0; give at least 1 and less than 3"),
    ],
)
def test_the_message_names_the_number_and_its_range(bounds, words):
    with pytest.raises(UsageError) as caught:
        check_range("depth", 0, **bounds)
    assert str(caught.value) == words


def test_a_size_is_at_least_one_and_a_shape_error_else():
    assert check_size("heads", 1) == 1
    with pytest.raises(ShapeError, match="heads is 0; give at least 1"):
        check_size("heads", 0)


@pytest.mark.parametrize("value", [True, 1.0, "1", None, 0, 6])
def test_a_whole_number_is_an_int_in_its_range(value):
    assert check_int("n", 3, 1, 5) == 3
    with pytest.raises(UsageError, match=f"n is {value}; give"):
        check_int("n", value, 1, 5)


def test_lists_are_read_and_other_words_refused():
    assert parse_list("2,4,8", int, "depths look like 2") == (2, 4, 8)
    assert parse_list("1e-3, 0.01", float, "rates look like 1") == (1e-3, 0.01)
    with pytest.raises(UsageError, match="depths look like 2, not '2;4'"):
        parse_list("2;4", int, "depths look like 2")
    with pytest.raises(UsageError, match="depths look like 2"):
        parse_list("2,,4", int, "depths look like 2")
    with pytest.raises(UsageError, match="rates look like 1, not 'fast'"):
        parse_list("fast", float, "rates look like 1")


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_is_in_no_range(value):
    with pytest.raises(UsageError):
        check_float("size", value, -math.inf, math.inf)
