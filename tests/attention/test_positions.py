"""Laws of positions."""

import inspect
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

from nhin.attention.position_registry import POSITIONS
from nhin.attention.positions import LearnedEmbedding, Rotary, sinusoidal, sinusoidal_2d
from nhin.errors import ShapeError


def test_sinusoidal_positions_are_the_formula():
    table = sinusoidal(50, 6)
    for place in (0, 1, 49):
        for i in range(3):
            angle = place / 10000 ** (2 * i / 6)
            assert table[place, 2 * i].item() == pytest.approx(math.sin(angle), abs=1e-6)
            assert table[place, 2 * i + 1].item() == pytest.approx(math.cos(angle), abs=1e-6)


@given(length=st.integers(0, 9), dim=st.integers(1, 9))
def test_sinusoidal_positions_have_any_shape_and_do_not_depend_on_the_length(length, dim):
    table = sinusoidal(length, dim)
    assert table.shape == (length, dim)
    assert table.dtype == torch.float32
    assert torch.equal(table, sinusoidal(length + 5, dim)[:length])


def test_sinusoidal_positions_refuse_no_channels():
    with pytest.raises(ShapeError, match=r"dim >= 1"):
        sinusoidal(4, 0)


def test_learned_positions_start_anywhere_and_end_at_the_context():
    places = LearnedEmbedding(8, 4)
    assert_close(places(3, start=5), places.table[5:8])
    assert places(8).requires_grad
    with pytest.raises(ShapeError, match=r"positions 5 to 8 .* context is 8, .* larger context"):
        places(4, start=5)


@settings(max_examples=15)
@given(length=st.integers(1, 9), heads=st.integers(1, 3), half=st.integers(1, 5), shift=st.integers(0, 3000))
def test_rotary_scores_depend_on_the_distance_only(length, heads, half, shift):
    rotary = Rotary(2 * half)
    q, k = torch.randn(2, 2, length, heads, 2 * half, dtype=torch.float64)
    here, there = (
        torch.einsum("bthd,bshd->bhts", rotary(q, start=start), rotary(k, start=start))
        for start in (0, shift)
    )
    assert_close(here, there, atol=1e-5, rtol=1e-5)


@given(start=st.integers(0, 3000), half=st.integers(1, 5))
def test_rotary_turns_without_stretching(start, half):
    x = torch.randn(1, 4, 2, 2 * half)
    assert_close(Rotary(2 * half)(x, start=start).norm(dim=-1), x.norm(dim=-1))


def test_rotary_is_the_formula_in_the_half_convention():
    x = torch.randn(1, 7, 1, 6, dtype=torch.float64)
    out = Rotary(6)(x)
    for place in range(7):
        for i in range(3):
            angle = place * 10000 ** (-2 * i / 6)
            one, two = x[0, place, 0, i], x[0, place, 0, i + 3]
            assert_close(
                out[0, place, 0, i], one * math.cos(angle) - two * math.sin(angle), atol=1e-6, rtol=1e-6
            )
            assert_close(
                out[0, place, 0, i + 3], two * math.cos(angle) + one * math.sin(angle), atol=1e-6, rtol=1e-6
            )


def test_rotary_keeps_the_dtype_and_its_own_tables_stay_exact():
    rotary = Rotary(8).to(torch.bfloat16)
    assert rotary.cos.dtype == torch.float32
    x = torch.randn(1, 3, 2, 8, dtype=torch.bfloat16)
    out = rotary(x, start=40000)
    assert out.dtype == torch.bfloat16
    assert_close(out, Rotary(8)(x.float(), start=40000).bfloat16())


def test_rotary_goes_on_past_its_first_table_even_when_that_was_in_inference():
    rotary = Rotary(4, context=8)
    with torch.inference_mode():
        rotary(torch.randn(1, 20, 1, 4))
    x = torch.randn(1, 30, 1, 4, requires_grad=True)
    rotary(x).sum().backward()
    assert_close(rotary(x)[:, :8], Rotary(4)(x[:, :8]))
    assert not rotary.state_dict()


def test_rotary_refuses_an_odd_head():
    with pytest.raises(ShapeError, match=r"head_dim is 5; .* even"):
        Rotary(5)


def test_waves_on_a_grid_know_the_row_in_the_first_channels_and_the_column_in_the_others():
    for dim in (2, 5, 8):
        table = sinusoidal_2d(3, 4, dim)
        assert table.shape == (3, 4, dim)
        down, along = sinusoidal(3, dim - dim // 2), sinusoidal(4, dim // 2)
        for row in range(3):
            for column in range(4):
                assert torch.equal(table[row, column], torch.cat([down[row], along[column]]))
    assert sinusoidal_2d(0, 4, 6).shape == (0, 4, 6)
    with pytest.raises(ShapeError, match="dim >= 2"):
        sinusoidal_2d(3, 4, 1)


@pytest.mark.parametrize("name", POSITIONS)
def test_the_table_of_positions_is_complete(name):
    position = POSITIONS[name]
    assert position.where in ("inputs", "heads", "scores")
    assert position.title
    told = inspect.getmodule(position.make).__doc__
    parts = ("Cost:", "Source:", "Differs:", "Extends:") + (() if name == "learned" else (".. math::",))
    for part in parts:
        assert part in told, f"the docstring of {name} lacks {part}"
