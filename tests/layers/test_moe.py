"""Mixtures of experts: the weighted sum of the chosen ones, no dropped tokens, and balanced use."""

import copy

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.testing import assert_close

from nhin.errors import UsageError
from nhin.layers.mlp import ACTIVATIONS, activate
from nhin.layers.moe import MixtureOfExperts


def moe_by_token(layer, x):
    """Compute the formula token by token and expert by expert."""
    rows = []
    for token in x.flatten(0, -2):
        gates = (layer.router.weight @ token).softmax(0)
        top = gates.argsort(descending=True)[: layer.top_k]
        outputs = [layer.down_proj[e] @ activate(layer.up_proj[e] @ token, layer.activation) for e in top]
        total = gates[top].sum() if layer.top_k > 1 else 1.0
        rows.append(sum(gates[e] / total * one for e, one in zip(top, outputs, strict=True)))
    return torch.stack(rows).view_as(x)


def gradients(layer, out, x):
    weight = torch.linspace(-1, 2, out.numel(), dtype=out.dtype).view_as(out)
    return torch.autograd.grad((weight * out).sum(), [x, *layer.parameters()])


@given(
    experts=st.integers(1, 5),
    top_k=st.integers(1, 5),
    activation=st.sampled_from(ACTIVATIONS),
    length=st.integers(1, 9),
)
def test_the_output_and_its_gradients_are_those_of_the_formula(experts, top_k, activation, length):
    layer = MixtureOfExperts(6, experts, top_k=min(top_k, experts), activation=activation).double()
    x = torch.randn(2, length, 6, dtype=torch.float64, requires_grad=True)
    out, want = layer(x), moe_by_token(layer, x)
    assert_close(out, want)
    for got, expected in zip(gradients(layer, out, x), gradients(layer, want, x), strict=True):
        assert_close(got, expected)


def test_with_all_experts_active_it_is_the_sum_weighted_by_gates():
    layer, x = MixtureOfExperts(6, 3, top_k=3), torch.randn(4, 6)
    gates = layer.router(x).softmax(-1)
    outputs = [activate(x @ layer.up_proj[e].T, "gelu") @ layer.down_proj[e].T for e in range(3)]
    assert_close(layer(x), sum(gates[:, e, None] * outputs[e] for e in range(3)))


def test_no_token_is_dropped_when_all_choose_one_expert():
    layer, x = MixtureOfExperts(4, 4, top_k=1), torch.rand(50, 4) + 0.1
    with torch.no_grad():
        layer.router.weight.zero_()[2] = 9.0
    gate = layer.router(x).softmax(-1)[:, 2:3]
    assert_close(layer(x), gate * (activate(x @ layer.up_proj[2].T, "gelu") @ layer.down_proj[2].T))


def test_tokens_do_not_mix():
    layer, x = MixtureOfExperts(6, 4).double(), torch.randn(7, 6, dtype=torch.float64)
    assert_close(layer(x)[3], layer(x[3:4])[0])


def test_the_balance_loss_is_1_for_even_use_and_the_number_of_experts_for_one():
    layer = MixtureOfExperts(4, 4, top_k=1)
    with torch.no_grad():
        layer.router.weight.copy_(50 * torch.eye(4))
    layer(torch.eye(4))
    assert_close(layer.balance_loss, torch.tensor(1.0))
    layer(torch.eye(4)[:1].repeat(4, 1))
    assert_close(layer.balance_loss, torch.tensor(4.0))


@pytest.mark.parametrize("active", [1, 2, 4])
def test_the_balance_loss_and_the_output_train_the_router(active):
    layer, x = MixtureOfExperts(6, 4, top_k=active), torch.randn(30, 6)
    out = layer(x)
    for loss in (layer.balance_loss, out.square().sum()):
        grad = torch.autograd.grad(loss, layer.router.weight, retain_graph=True)[0]
        assert (grad.abs().sum(1) > 0).all()


def test_parts_of_a_batch_that_average_their_fractions_have_the_balance_loss_of_the_whole_batch():
    layer, x = MixtureOfExperts(6, 4, top_k=1).double(), torch.randn(12, 6, dtype=torch.float64)
    with torch.no_grad():
        layer.router.weight.copy_(torch.eye(4, 6))
    x[:6, 0] += 9.0  # the parts use different experts
    x[6:, 1] += 9.0
    layer(x)
    whole, fractions = layer.balance_loss, []
    layer.average = lambda fraction: fractions.append(fraction) or fraction
    for part in x.chunk(2):
        layer(part)
    layer.average = lambda fraction: sum(fractions) / 2
    losses = [(layer(part), layer.balance_loss)[1] for part in x.chunk(2)]
    assert_close(sum(losses) / 2, whole)
    grads = [torch.autograd.grad(loss, layer.router.weight)[0] for loss in (sum(losses) / 2, whole)]
    assert_close(*grads)
    fractions.clear()
    layer.average = fractions.append
    layer.eval()(x)
    assert not fractions, "one process alone validates"


def test_training_on_the_balance_loss_alone_evens_the_use():
    layer, x = MixtureOfExperts(6, 4, top_k=1), torch.randn(200, 6) + 0.5
    with torch.no_grad():
        layer.router.weight[0] += 1.0
    optimizer = torch.optim.Adam([layer.router.weight], lr=0.05)
    losses = []
    for _ in range(60):
        layer(x)
        optimizer.zero_grad()
        layer.balance_loss.backward()
        optimizer.step()
        losses.append(layer.balance_loss.item())
    assert losses[0] > 1.5 > 1.1 > losses[-1]


def test_routing_is_precise_under_bfloat16():
    """Of two experts whose gates are equal in bfloat16, the better one is chosen."""
    layer, x = MixtureOfExperts(4, 2, top_k=1), torch.ones(1, 4)
    with torch.no_grad():
        layer.router.weight.fill_(1.0)[1, 0] += 1e-3
        layer.down_proj[0] = 0.0
        with torch.autocast("cpu", dtype=torch.bfloat16):
            assert layer(x).abs().sum() > 0


def test_nothing_in_gives_nothing_out_and_a_copy_can_be_made_after_a_call():
    layer = MixtureOfExperts(4, 3)
    assert layer(torch.zeros(2, 0, 4)).shape == (2, 0, 4)
    x = torch.randn(3, 4)
    want = layer(x)
    assert torch.equal(copy.deepcopy(layer)(x), want)


@pytest.mark.parametrize("active", [0, 4, -1])
def test_more_active_experts_than_there_are_is_refused(active):
    with pytest.raises(UsageError, match=f"top_k is {active}; give 1 to 3"):
        MixtureOfExperts(4, 3, top_k=active)
