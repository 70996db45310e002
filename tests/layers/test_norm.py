"""Norms: one length for every place, whatever came in."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.testing import assert_close

from nhin.layers.norm import NORMS, build_norm


@given(dim=st.integers(1, 9), size=st.sampled_from([1e-3, 1.0, 1e6]))
def test_scale_norm_gives_all_places_one_length_and_leaves_their_direction(dim, size):
    x = size * (torch.randn(2, 5, dim) + 2.0)
    out = build_norm("scale", dim)(x)
    assert_close(out.norm(dim=-1), torch.full((2, 5), dim**0.5))
    assert_close(out / out.norm(dim=-1, keepdim=True), x / x.norm(dim=-1, keepdim=True))


def test_scale_norm_learns_one_number():
    made, x = build_norm("scale", 8), torch.randn(3, 8)
    assert [p.numel() for p in made.parameters()] == [1]
    with torch.no_grad():
        made.weight.fill_(5.0)
    assert_close(made(x).norm(dim=-1), torch.full((3,), 5.0))
    made(x).sum().backward()
    assert made.weight.grad.abs() > 0


@pytest.mark.parametrize("name", NORMS)
def test_the_size_of_a_place_does_not_pass_a_norm_and_nothing_stays_finite(name):
    made, x = build_norm(name, 8), torch.randn(4, 8)
    assert_close(made(50 * x), made(x), rtol=1e-3, atol=1e-3)
    nothing = torch.zeros(2, 8, requires_grad=True)
    made(nothing).sum().backward()
    assert made(nothing).isfinite().all()
    assert nothing.grad.isfinite().all()


@pytest.mark.parametrize("name", NORMS)
def test_what_norms_divide_by_is_never_less_than_eps_asks(name):
    x = 1e-3 * torch.randn(4, 8)
    assert build_norm(name, 8, 1.0)(x).abs().max() < 0.1 < build_norm(name, 8)(x).abs().max()
