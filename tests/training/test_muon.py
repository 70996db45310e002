"""Laws of Muon: orthogonal whatever the gradient's size, every matrix by itself, AdamW for the rest."""

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from nhin.training.checkpoint import pack_optimizer, unpack_optimizer
from nhin.training.muon import Muon, as_matrices, orthogonalize
from nhin.training.optimizers import build_muon


@settings(max_examples=20, deadline=None)
@given(
    count=st.integers(1, 3), rows=st.integers(2, 24), columns=st.integers(2, 24), size=st.floats(1e-3, 1e3)
)
def test_singular_values_come_near_one_and_vectors_stay(count, rows, columns, size):
    u, _, v = torch.linalg.svd(torch.randn(count, rows, columns, dtype=torch.float64), full_matrices=False)
    values = size * torch.linspace(0.2, 1.0, u.shape[-1], dtype=torch.float64)
    out = orthogonalize(u * values @ v)
    turned = u.mT @ out @ v.mT
    diagonal = turned.diagonal(dim1=-2, dim2=-1)
    assert ((diagonal > 0.6) & (diagonal < 1.3)).all()
    torch.testing.assert_close(turned, torch.diag_embed(diagonal), rtol=0, atol=1e-9)


def test_matrices_of_one_parameter_are_turned_apart():
    fused = torch.randn(12, 5)
    apart = torch.cat([orthogonalize(part[None])[0] for part in fused.split(4)])
    together = orthogonalize(as_matrices(fused, 3)).reshape(12, 5)
    torch.testing.assert_close(together, apart)
    assert not torch.allclose(orthogonalize(fused[None])[0], apart, atol=0.05)
    assert as_matrices(torch.zeros(3, 8, 5), 2).shape == (6, 4, 5)


def stepped(optimizer, parameters, gradients):
    for p, grad in zip(parameters, gradients, strict=True):
        p.grad = grad.clone()
    optimizer.step()


def test_a_step_does_not_depend_on_the_gradients_size_and_has_that_of_adamws():
    moves = []
    for size in (1.0, 1000.0):
        torch.manual_seed(0)
        weight = nn.Parameter(torch.zeros(32, 64))
        stepped(Muon([{"params": [weight], "matrices": 1}], 0.01), [weight], [size * torch.randn(32, 64)])
        moves.append(weight.detach().clone())
    torch.testing.assert_close(moves[0], moves[1], rtol=1e-4, atol=1e-6)
    # AdamW's updates have a root mean square of 0.2 to 0.4 times the rate.
    assert 0.1 * 0.01 < moves[0].square().mean().sqrt() < 0.4 * 0.01


def test_everything_but_matrices_is_moved_as_adamw_does():
    torch.manual_seed(0)
    ours, theirs = nn.Parameter(torch.ones(5)), nn.Parameter(torch.ones(5))
    matrix = nn.Parameter(torch.randn(4, 4))
    mine = Muon([{"params": [matrix], "matrices": 1}, {"params": [ours]}], 0.1, betas=(0.8, 0.9))
    plain = torch.optim.AdamW([theirs], lr=0.1, betas=(0.8, 0.9), weight_decay=0.0)
    for _ in range(4):
        grad = torch.randn(5)
        stepped(mine, [matrix, ours], [torch.randn(4, 4), grad])
        stepped(plain, [theirs], [grad])
    torch.testing.assert_close(ours, theirs)


def test_weights_shrink_by_the_rate_and_momentum_looks_ahead():
    torch.manual_seed(0)
    weight, grads = nn.Parameter(torch.randn(6, 6)), [torch.randn(6, 6) for _ in range(3)]
    want, held = weight.detach().clone(), torch.zeros(6, 6)
    optimizer = Muon([{"params": [weight], "matrices": 1}], 0.1, momentum=0.9, weight_decay=0.5)
    for grad in grads:
        stepped(optimizer, [weight], [grad])
        held = 0.9 * held + grad
        want = want * (1 - 0.1 * 0.5) - 0.1 * 0.2 * 6**0.5 * orthogonalize((grad + 0.9 * held)[None])[0]
    torch.testing.assert_close(weight.detach(), want)


def test_a_state_packed_and_unpacked_goes_on_bit_for_bit():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 6), nn.Linear(6, 3))
    twin = copy.deepcopy(model)
    both = []
    for net in (model, twin):
        both.append(build_muon(net, {net[0].weight: 1}, 0.1, scale=0.5))
    grads = [[torch.randn_like(p) for p in model.parameters()] for _ in range(4)]
    for grad in grads[:2]:
        stepped(both[0], list(model.parameters()), grad)
    twin.load_state_dict(model.state_dict())
    unpack_optimizer(both[1], *copy.deepcopy(pack_optimizer(both[0])))
    for grad in grads[2:]:
        stepped(both[0], list(model.parameters()), grad)
        stepped(both[1], list(twin.parameters()), grad)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), twin.parameters(), strict=True))


@pytest.mark.parametrize("dtype", [torch.bfloat16, None])
def test_it_learns_in_any_numbers(dtype):
    torch.manual_seed(0)
    model, data = nn.Linear(8, 8, bias=False), torch.randn(64, 8)
    want = data @ torch.linalg.qr(torch.randn(8, 8))[0]
    optimizer = build_muon(model, {model.weight: 1}, 0.05, dtype=dtype)
    for _ in range(60):
        optimizer.zero_grad()
        loss = (model(data) - want).square().mean()
        loss.backward()
        optimizer.step()
    assert loss < 0.2  # from 2; it ends at 0.03 to 0.07
