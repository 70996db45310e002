"""Blocks: the order of norms, filling a cache, and DeepNorm at any depth."""

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from nhin.layers.block import Block, deepnorm
from nhin.layers.mlp import MLP
from nhin.layers.multihead import MultiHead

ORDERS = ("pre", "post", "deep")


def build(order, *, alpha=1.0, mlp=True, norm="layer"):
    attention = MultiHead(16, 4, rotary=True)
    return Block(16, attention, MLP(16) if mlp else None, norm=norm, norm_order=order, alpha=alpha)


@pytest.mark.parametrize("order", ORDERS)
def test_a_block_is_its_formula(order):
    alpha = 1.7 if order == "deep" else 1.0
    block, x = build(order, alpha=1.7), torch.randn(2, 5, 16)
    parts = [
        (block.norm, lambda y: block.attention(y, causal=True)),
        (block.mlp_norm, block.mlp),
    ]
    want = x
    for norm, part in parts:
        want = want + part(norm(want)) if order == "pre" else norm(alpha * want + part(want))
    assert_close(block(x, causal=True), want)


def test_a_block_may_have_no_mlp():
    block, x = build("pre", mlp=False), torch.randn(2, 5, 16)
    assert_close(block(x, causal=True), x + block.attention(block.norm(x), causal=True))
    assert not any("mlp" in name for name in block.state_dict())


@pytest.mark.parametrize("order", ORDERS)
def test_filling_the_cache_alone_is_what_the_block_does(order):
    """A later position attends alike to earlier ones that were computed or only appended."""
    block, x = build(order).eval(), torch.randn(2, 5, 16)
    with torch.inference_mode():
        one, other = block.attention.new_cache(2, 5), block.attention.new_cache(2, 5)
        block(x[:, :4], causal=True, cache=one)
        block.fill_cache(x[:, :4], other)
        assert one.lengths == other.lengths == (4, 4)
        assert_close(block(x[:, 4:], causal=True, cache=one), block(x[:, 4:], causal=True, cache=other))


def xavier(order, depth, dim=32):
    """Build blocks with Xavier's weights, times DeepNorm's gain where the order is deep."""
    alpha, gain = deepnorm(depth)
    blocks = nn.Sequential(
        *(Block(dim, MultiHead(dim, 4), MLP(dim), norm_order=order, alpha=alpha) for _ in range(depth))
    )
    with torch.no_grad():
        for layer in (m for m in blocks.modules() if isinstance(m, nn.Linear)):
            nn.init.xavier_normal_(layer.weight)
        for one in blocks if order == "deep" else ():
            one.attention.key_value.weight[dim:] *= gain
            for layer in (one.attention.out, one.mlp.up_proj, one.mlp.down_proj):
                layer.weight *= gain
    return blocks


def after_a_step(order, depth):
    """Return how much a gradient step changes the output, and the first gradient over the last."""
    torch.manual_seed(0)
    blocks = xavier(order, depth)
    x, target = torch.randn(2, 2, 8, 32)
    before = blocks(x)
    (before - target).square().mean().backward()
    matrices = [[p for p in one.parameters() if p.ndim == 2] for one in blocks]
    sizes = [sum(p.grad.square().sum() for p in one).sqrt() for one in matrices]
    with torch.no_grad():
        for p in (p for one in matrices for p in one):
            p -= 0.05 * p.grad
        return (blocks(x) - before).square().mean().sqrt(), sizes[0] / sizes[-1]


def test_deepnorm_bounds_what_a_step_changes_however_deep():
    """The paper's theorem; without DeepNorm the change grows with the depth."""
    shallow, deep = after_a_step("deep", 2), after_a_step("deep", 64)
    assert deep[0] < 3 * shallow[0]
    assert 0.5 < deep[1] < 2
    for order in ("pre", "post"):
        assert after_a_step(order, 64)[0] > 5 * after_a_step(order, 2)[0]


def test_deepnorm_has_the_constants_of_a_decoder():
    assert deepnorm(8) == pytest.approx((2.0, 64**-0.25))
