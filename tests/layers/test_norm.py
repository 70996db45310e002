"""Norms: vectors of one scale, whatever the inputs."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.testing import assert_close

from nhin.layers.norm import NORMS, build_norm


@given(dim=st.integers(1, 9), size=st.sampled_from([1e-3, 1.0, 1e6]))
def test_scale_norm_gives_all_vectors_one_length_and_keeps_their_direction(dim, size):
    x = size * (torch.randn(2, 5, dim) + 2.0)
    out = build_norm("scale", dim)(x)
    assert_close(out.norm(dim=-1), torch.full((2, 5), dim**0.5))
    assert_close(out / out.norm(dim=-1, keepdim=True), x / x.norm(dim=-1, keepdim=True))


def test_scale_norm_learns_one_number():
    norm, x = build_norm("scale", 8), torch.randn(3, 8)
    assert [p.numel() for p in norm.parameters()] == [1]
    with torch.no_grad():
        norm.weight.fill_(5.0)
    assert_close(norm(x).norm(dim=-1), torch.full((3,), 5.0))
    norm(x).sum().backward()
    assert norm.weight.grad.abs() > 0


@pytest.mark.parametrize("name", NORMS)
def test_norms_remove_the_scale_and_zeros_stay_finite(name):
    norm, x = build_norm(name, 8), torch.randn(4, 8)
    assert_close(norm(50 * x), norm(x), rtol=1e-3, atol=1e-3)
    zeros = torch.zeros(2, 8, requires_grad=True)
    norm(zeros).sum().backward()
    assert norm(zeros).isfinite().all()
    assert zeros.grad.isfinite().all()


@pytest.mark.parametrize("name", NORMS)
def test_norms_divide_by_eps_at_least(name):
    x = 1e-3 * torch.randn(4, 8)
    assert build_norm(name, 8, 1.0)(x).abs().max() < 0.1 < build_norm(name, 8)(x).abs().max()
