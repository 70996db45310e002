"""Random features estimate the softmax without bias, the better the more there are; the same everywhere."""

import pytest
import torch
from torch.testing import assert_close

from nhin.attention.exact.naive import Naive
from nhin.attention.linear.performer import Performer, draw_directions
from nhin.errors import NhinError, ShapeError


def kernel_errors(features, seeds):
    """Estimates of exp(q·k) less the truth, for each seed, over it."""
    generator = torch.Generator().manual_seed(5)
    q, k = (torch.randn(40, 8, dtype=torch.float64, generator=generator) * 0.5 for _ in range(2))
    errors = []
    for seed in seeds:
        w = draw_directions(8, features, seed)
        fq, fk = ((x @ w - x.square().sum(-1, keepdim=True) / 2).exp() for x in (q, k))
        errors.append(fq @ fk.T / features / (q @ k.T).exp() - 1)
    return torch.stack(errors)


def test_the_estimate_has_no_bias():
    errors = kernel_errors(16, range(400))
    off = errors.mean(0) / (errors.std(0) / 400**0.5)
    assert off.square().mean() < 2.5


def test_twice_the_features_halve_the_squared_error():
    few, many = (kernel_errors(features, range(100)).square().mean() for features in (32, 128))
    assert 2.5 < few / many < 6.5


def test_the_answer_approaches_softmax():
    q, k, v = (torch.randn(1, 12, 2, 8, dtype=torch.float64) * 0.7 for _ in range(3))
    want = Naive()(q, k, v, causal=True)
    wrong = [
        sum((Performer(8, m, seed)(q, k, v, causal=True) - want).square().mean() for seed in range(12))
        for m in (16, 256)
    ]
    assert wrong[1] < wrong[0] / 4


def test_directions_are_orthogonal_in_blocks_and_as_long_as_gaussian_ones():
    w = draw_directions(6, 15, 3)
    assert w.shape == (6, 15)
    for block in (w[:, :6], w[:, 6:12], w[:, 12:]):
        gram = block.T @ block
        assert_close(gram, torch.diag(gram.diagonal()))
    lengths = draw_directions(64, 6400, 0).square().sum(0)
    assert abs(lengths.mean() / 64 - 1) < 0.02
    assert 0.8 < lengths.var() / 128 < 1.2


def test_the_seed_alone_decides_and_casts_change_nothing():
    one, other = Performer(6, seed=7), Performer(6, seed=7)
    assert torch.equal(one.projection, other.to(torch.bfloat16).to(torch.float32).projection)
    assert one.projection.dtype == torch.float64
    assert not torch.equal(one.projection, Performer(6, seed=8).projection)


def test_the_features_of_a_default_are_d_log_d():
    assert Performer(64).features == 267
    assert Performer(1).features == 1


@pytest.mark.parametrize("wrong", [{"features": 0}, {"head_dim": 0}, {"seed": -1}, {"chunk": 0}])
def test_settings_that_mean_nothing_are_refused(wrong):
    with pytest.raises(ShapeError, match=f"{next(iter(wrong))} is"):
        Performer(**({"head_dim": 4} | wrong))


def test_another_width_is_refused_with_the_way_out():
    x = torch.zeros(1, 3, 2, 5)
    with pytest.raises(NhinError, match="build it with head_dim=5"):
        Performer(4)(x, x, x)
