"""Heads, caches and blocks: decoding step by step is the same as a single pass."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.testing import assert_close

from nhin.attention.base import CacheSpec
from nhin.attention.kv_cache import KVCache
from nhin.attention.registry import MECHANISMS
from nhin.errors import ShapeError, UnknownName, UsageError
from nhin.layers.block import Block
from nhin.layers.mlp import MLP
from nhin.layers.multihead import MultiHead
from nhin.layers.norm import NORMS, build_norm


def block(*, cross=False, dropout=0.0, order="pre", **heads):
    """Build a block 16 wide with 4 heads."""
    other = MultiHead(16, 4, dropout=dropout, **heads) if cross else None
    feed = MLP(16, dropout=dropout)
    return Block(16, MultiHead(16, 4, dropout=dropout, **heads), feed, cross=other, norm_order=order)


def torch_twin(ours: MultiHead, dim: int, heads: int) -> nn.MultiheadAttention:
    """Return PyTorch's own layer with our weights."""
    twin = nn.MultiheadAttention(dim, heads, bias=True, batch_first=True)
    with torch.no_grad():
        twin.in_proj_weight.copy_(torch.cat([ours.query.weight, ours.key_value.weight]))
        twin.in_proj_bias.copy_(torch.cat([ours.query.bias, ours.key_value.bias]))
        twin.out_proj.weight.copy_(ours.out.weight)
        twin.out_proj.bias.copy_(ours.out.bias)
    return twin


@pytest.mark.parametrize("name", MECHANISMS)
def test_it_is_the_multi_head_attention_of_pytorch(name):
    ours = MultiHead(12, 3, mechanism=name, bias=True)
    if not ours.mechanism.facts.exact:
        pytest.skip("not softmax attention")
    x, context = torch.randn(2, 5, 12), torch.randn(2, 7, 12)
    keep = torch.tensor([[True] * 7, [True] * 4 + [False] * 3])
    twin = torch_twin(ours, 12, 3)
    assert_close(ours(x), twin(x, x, x)[0])
    assert_close(ours(x, context=context, keep=keep), twin(x, context, context, key_padding_mask=~keep)[0])
    mask = nn.Transformer.generate_square_subsequent_mask(5)
    assert_close(ours(x, causal=True), twin(x, x, x, attn_mask=mask)[0])


@settings(max_examples=12)
@given(
    cuts=st.lists(st.integers(1, 4), min_size=1, max_size=4),
    kv_heads=st.sampled_from([1, 2, 4]),
    rotary=st.booleans(),
    batch=st.integers(1, 3),
)
def test_step_by_step_from_the_cache_is_all_at_once(cuts, kv_heads, rotary, batch):
    layer = MultiHead(16, 4, kv_heads=kv_heads, rotary=rotary).double()
    x = torch.randn(batch, sum(cuts), 16, dtype=torch.float64)
    with torch.inference_mode():
        cache = layer.new_cache(batch, sum(cuts))
        steps = [layer(part, causal=True, cache=cache) for part in x.split(cuts, 1)]
        assert_close(torch.cat(steps, 1), layer(x, causal=True))
    assert cache.lengths == (sum(cuts),) * batch


@pytest.mark.parametrize("rotary", [False, True])
def test_after_truncation_nothing_is_left_of_what_was_removed(rotary):
    layer = MultiHead(16, 4, kv_heads=2, rotary=rotary).eval()
    x, wrong = torch.randn(2, 6, 16), torch.full((2, 3, 16), float("nan"))
    with torch.inference_mode():
        cache = layer.new_cache(2, 8)
        layer(x[:, :4], causal=True, cache=cache)
        layer(wrong, causal=True, cache=cache)
        cache.truncate(4)
        assert_close(layer(x[:, 4:], causal=True, cache=cache), layer(x, causal=True)[:, 4:])


def test_after_reordering_each_row_continues_another():
    layer = MultiHead(16, 4, rotary=True).eval()
    x, rows = torch.randn(3, 5, 16), torch.tensor([2, 0, 0])
    with torch.inference_mode():
        cache = layer.new_cache(3, 5)
        layer(x[:, :4], causal=True, cache=cache)
        cache.reorder(rows)
        mixed = torch.cat([x[rows, :4], x[:, 4:]], 1)
        assert_close(layer(x[:, 4:], causal=True, cache=cache), layer(mixed, causal=True)[:, 4:])


def test_rows_of_different_lengths_decode_together():
    layer = MultiHead(16, 4, rotary=True).eval()
    x = torch.randn(2, 5, 16)
    with torch.inference_mode():
        cache = layer.new_cache(2, 5)
        first = layer(x[:, :4], causal=True, cache=cache, lengths=[4, 2])
        last = layer(x[:, 4:], causal=True, cache=cache)
        assert_close(torch.cat([first, last], 1)[0], layer(x[:1], causal=True)[0])
        short = layer(torch.cat([x[1:, :2], x[1:, 4:]], 1), causal=True)
        assert_close(torch.cat([first[1:, :2], last[1:]], 1), short)
        with pytest.raises(UsageError, match="takes no mask"):
            layer(x[:, :1], causal=True, keep=torch.ones(2, 1, dtype=torch.bool), cache=cache)


def test_a_context_is_projected_once():
    layer = MultiHead(16, 4).eval()
    x, context = torch.randn(2, 3, 16), torch.randn(2, 7, 16)
    with torch.inference_mode():
        cache = layer.new_context_cache(2, 7)
        first = layer(x[:, :1], context=context, cache=cache)
        rest = layer(x[:, 1:], context=torch.full_like(context, float("nan")), cache=cache)
        assert_close(torch.cat([first, rest], 1), layer(x, context=context))


def test_the_cache_reports_its_size():
    """32 heads with 8 groups: a quarter of multi-head, eight times multi-query."""
    sizes = {g: MultiHead(64, 32, kv_heads=g).new_cache(2, 10, dtype=torch.bfloat16).size for g in (32, 8, 1)}
    assert sizes[32] == 4 * sizes[8]
    assert sizes[8] == 8 * sizes[1]
    assert sizes[1] == 2 * 2 * 10 * 2 * 2


def test_a_cache_refuses_what_it_cannot_do():
    cache = KVCache(CacheSpec(2, 4, 1, 8))
    k = torch.zeros(2, 3, 1, 8)
    cache.append(k, k)
    with pytest.raises(
        ShapeError, match=r"full: 3 of 4 positions taken, 3 more came; .* larger context or truncate"
    ):
        cache.append(k, k)
    with pytest.raises(ShapeError, match=r"q has shape \(1, 3, 1, 8\); this cache takes \(2"):
        cache.append(k[:1], k[:1])
    with pytest.raises(ShapeError, match="cannot truncate to 5; the cache holds 3"):
        cache.truncate(5)
    with pytest.raises(ShapeError, match="one row number for each of 2"):
        cache.reorder(torch.tensor([0]))
    with pytest.raises(UsageError, match="inference_mode"):
        cache.append(k[:, :1].requires_grad_(), k[:, :1])
    assert cache.lengths == (3, 3)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"heads": 5}, "heads is 5, which does not divide dim 16"),
        ({"heads": 4, "kv_heads": 3}, "kv_heads is 3, which does not divide heads 4"),
        ({"heads": 0}, "heads is 0"),
    ],
)
def test_heads_that_do_not_divide_are_refused(settings, words):
    with pytest.raises(ShapeError, match=words):
        MultiHead(16, **settings)


@pytest.mark.parametrize("cross", [False, True])
def test_a_block_decodes_step_by_step_as_all_at_once(cross):
    layer = block(kv_heads=2, rotary=True, cross=cross).eval()
    x, context = torch.randn(2, 6, 16), torch.randn(2, 5, 16) if cross else None
    keep = torch.tensor([[True] * 5, [True] * 3 + [False] * 2]) if cross else None
    with torch.inference_mode():
        want = layer(x, context=context, causal=True, context_keep=keep)
        cache = layer.attention.new_cache(2, 6)
        context_cache = layer.cross.new_context_cache(2, 5) if layer.cross is not None else None
        steps = [
            layer(
                x[:, i : i + 1],
                context=context,
                causal=True,
                context_keep=keep,
                cache=cache,
                context_cache=context_cache,
            )
            for i in range(6)
        ]
    assert_close(torch.cat(steps, 1), want)


def test_a_block_refuses_a_missing_or_needless_context():
    x = torch.randn(1, 3, 16)
    with pytest.raises(UsageError, match="give it a context"):
        block(cross=True)(x)
    with pytest.raises(UsageError, match=r"cross=MultiHead\(...\)"):
        block()(x, context=x)


def test_every_weight_of_a_block_learns_and_its_state_dict_restores_it():
    layer = block(kv_heads=1, rotary=True, cross=True)
    layer(torch.randn(2, 3, 16), context=torch.randn(2, 4, 16)).square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in layer.parameters())
    other = block(kv_heads=1, rotary=True, cross=True)
    other.load_state_dict(layer.state_dict())
    x = torch.randn(1, 2, 16)
    assert_close(other(x, context=x), layer(x, context=x))


def test_dropout_acts_in_training_only():
    layer, x = block(dropout=0.5), torch.randn(2, 3, 16)
    assert not torch.equal(layer(x), layer(x))
    layer.eval()
    assert torch.equal(layer(x), layer(x))


def test_positions_do_not_mix_in_the_mlp():
    feed, x = MLP(8, mlp_ratio=2), torch.randn(2, 5, 8)
    assert feed.up_proj.out_features == 16
    assert_close(feed(x)[:, 2], feed(x[:, 2]))


def test_norms_are_built_by_name():
    x = torch.randn(2, 3, 8) * 5
    assert all(build_norm(name, 8)(x).square().mean() < 2 for name in NORMS)
    with pytest.raises(UnknownName, match="did you mean layer"):
        build_norm("layers", 8)


@pytest.mark.parametrize("empty", [(0, 3), (2, 0)])
def test_nothing_in_gives_nothing_out(empty):
    assert block(kv_heads=2, rotary=True)(torch.zeros(*empty, 16), causal=True).shape == (*empty, 16)


def test_normalized_queries_and_keys_bound_the_logits_whatever_the_weights():
    layer, x = MultiHead(16, 4, qk_norm=True, rotary=True), torch.randn(2, 5, 16)
    with torch.no_grad():
        layer.query.weight *= 1e3
        layer.key_value.weight[:16] *= 1e3
    q, k, v = layer.project_qkv(x)
    assert_close(q.square().mean(-1), torch.ones(2, 5, 4))
    assert (torch.einsum("bthd,bshd->bhts", q, k) <= layer.head_dim * (1 + 1e-5)).all()
    out = layer.mechanism(q, k, v, causal=True)
    assert_close(layer(x, causal=True), layer.out(out.flatten(2)))


def test_gains_scale_the_channels_of_normalized_queries_and_keys():
    layer, x = MultiHead(16, 4, qk_norm=True, qk_gain=True), torch.randn(2, 5, 16)
    plain = MultiHead(16, 4, qk_norm=True)
    plain.load_state_dict({name: x for name, x in layer.state_dict().items() if "_norm" not in name})
    with torch.no_grad():
        layer.query_norm.weight.copy_(torch.arange(4.0))
        layer.key_norm.weight.copy_(torch.arange(4.0) - 2)
    (q, k, v), (plain_q, plain_k, plain_v) = layer.project_qkv(x), plain.project_qkv(x)
    assert_close(q, plain_q * torch.arange(4.0))
    assert_close(k, plain_k * (torch.arange(4.0) - 2))
    assert_close(v, plain_v)


def test_a_head_may_be_wider_or_narrower_than_its_share_of_the_model():
    layer = MultiHead(10, 4, kv_heads=2, head_dim=6, rotary=True, bias=True, out_bias=False).eval()
    q, k, v = layer.project_qkv(torch.randn(2, 5, 10))
    assert (q.shape, k.shape, v.shape) == ((2, 5, 4, 6), (2, 5, 2, 6), (2, 5, 2, 6))
    assert (layer.query.bias is None, layer.out.bias is None) == (False, True)
    assert layer(torch.randn(2, 5, 10), causal=True).shape == (2, 5, 10)


@pytest.mark.parametrize("gain", [False, True])
def test_normalized_keys_are_cached_normalized(gain):
    layer = MultiHead(16, 4, qk_norm=True, qk_gain=gain, rotary=True).eval()
    x = 5 * torch.randn(2, 6, 16)
    with torch.inference_mode():
        cache = layer.new_cache(2, 6)
        steps = [layer(part, causal=True, cache=cache) for part in x.split([3, 1, 2], 1)]
        assert_close(torch.cat(steps, 1), layer(x, causal=True))
