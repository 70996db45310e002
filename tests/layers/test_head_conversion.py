"""Laws of converting a checkpoint to fewer key and value heads."""

import pytest
import torch
from torch.testing import assert_close

from nhin.errors import ShapeError, UnknownName, UsageError
from nhin.layers.head_conversion import LAYOUTS, ProjectionLayout, convert_heads
from nhin.layers.multihead import MultiHead

DIM, HEADS, KV, WIDTH = 24, 6, 2, 4


def equal_within_groups(parts=2):
    """Build a layer whose key and value heads are equal within each group of three."""
    layer = MultiHead(DIM, HEADS, bias=True)
    with torch.no_grad():
        for x in layer.key_value.parameters():
            grouped = x.unflatten(0, (parts, KV, HEADS // KV, WIDTH))
            grouped.copy_(grouped[:, :, :1].expand_as(grouped).clone())
    return layer


def split(layer):
    """Return q, k and v rows of a layer, weight and bias."""
    kv = {name: x.detach().chunk(2) for name, x in layer.key_value.named_parameters()}
    return {name: (x.detach(), *kv[name]) for name, x in layer.query.named_parameters()}


def gpt2(rows):
    return {
        f"h.0.attn.c_attn.{name}": torch.cat(x).T if name == "weight" else torch.cat(x)
        for name, x in rows.items()
    }


def fused(key):
    return lambda rows: {f"blocks.0.{key}{name}": torch.cat(x) for name, x in rows.items()}


def neox(rows):
    return {
        f"layers.0.attention.query_key_value.{name}": torch.stack(
            [part.unflatten(0, (HEADS, WIDTH)) for part in x], 1
        ).flatten(0, 2)
        for name, x in rows.items()
    }


def separate(pattern):
    return lambda rows: {
        pattern.format(part) + name: y for name, x in rows.items() for part, y in zip("qkv", x, strict=True)
    }


def bert(rows):
    names = ("query", "key", "value")
    return {
        f"layer.0.attention.self.{part}.{name}": y
        for name, x in rows.items()
        for part, y in zip(names, x, strict=True)
    }


def from_fused(state, name, transposed=False):
    """Cut what came back, all queries, then keys, then values."""
    x = next(x for key, x in state.items() if key.endswith(name))
    x = x.T if transposed and x.ndim == 2 else x
    return x[:DIM], x[DIM:]


def from_neox(state, name):
    x = next(x for key, x in state.items() if key.endswith(name)).unflatten(0, (KV, HEADS // KV + 2, WIDTH))
    return x[:, :-2].flatten(0, 2), torch.cat([x[:, -2].flatten(0, 1), x[:, -1].flatten(0, 1)])


def from_parts(state, name):
    q, k, v = (x for key, x in state.items() if key.endswith(name))
    return q, torch.cat([k, v])


WAYS = {
    "gpt2": (gpt2, lambda state, name: from_fused(state, name, transposed=True)),
    "neox": (neox, from_neox),
    "mpt": (fused("attn.Wqkv."), from_fused),
    "torch": (fused("attn.in_proj_"), from_fused),
    "separate": (separate("model.layers.0.self_attn.{}_proj."), from_parts),
    "bert": (bert, from_parts),
    "t5": (separate("block.0.layer.0.SelfAttention.{}."), from_parts),
}


def loaded(layer, cut, state):
    """Build a grouped layer of the converted rows."""
    grouped = MultiHead(DIM, HEADS, kv_heads=KV, bias=True)
    grouped.out.load_state_dict(layer.out.state_dict())
    with torch.no_grad():
        for name in ("weight", "bias"):
            q, kv = cut(state, name)
            getattr(grouped.query, name).copy_(q)
            getattr(grouped.key_value, name).copy_(kv)
    return grouped


def test_every_layout_is_tested():
    assert set(WAYS) | {"nhin"} == set(LAYOUTS)


@pytest.mark.parametrize("way", WAYS)
def test_equal_heads_lose_nothing_in_any_layout(way):
    write, cut = WAYS[way]
    layer, x = equal_within_groups(), torch.randn(2, 5, DIM)
    state = write(split(layer))
    for layout in (None, way):
        made = convert_heads(state, KV, heads=HEADS, layout=layout)
        assert list(made) == list(state)
        assert_close(loaded(layer, cut, made)(x, causal=True), layer(x, causal=True))
    # Whole heads come back as they were.
    same = convert_heads(state, HEADS, heads=HEADS)
    assert all(torch.equal(same[name], state[name]) for name in state)


def test_our_own_layers_convert_and_other_tensors_are_left():
    layer, x = equal_within_groups(), torch.randn(2, 5, DIM)
    state = layer.state_dict()
    made = convert_heads(state, KV, heads=HEADS)
    assert all(made[name] is state[name] for name in state if "key_value" not in name)
    grouped = MultiHead(DIM, HEADS, kv_heads=KV, bias=True)
    grouped.load_state_dict(made)
    assert_close(grouped(x), layer(x))


def test_unequal_heads_become_their_mean():
    state = MultiHead(DIM, HEADS).state_dict()
    made = convert_heads(state, KV, heads=HEADS)["key_value.weight"]
    old = state["key_value.weight"]
    for part in range(2):
        for group in range(KV):
            for row in range(WIDTH):
                rows = [part * DIM + (group * 3 + head) * WIDTH + row for head in range(3)]
                want = sum(old[i] for i in rows) / 3
                assert_close(made[part * KV * WIDTH + group * WIDTH + row], want)


def test_half_precision_is_rounded_once():
    state = {"k_proj.weight": torch.randn(DIM, DIM).bfloat16()}
    made = convert_heads(state, 1, heads=HEADS)["k_proj.weight"]
    want = state["k_proj.weight"].double().unflatten(0, (HEADS, WIDTH)).mean(0)
    assert torch.equal(made, want.float().bfloat16())


@pytest.mark.parametrize(
    ("kv_heads", "given", "error", "words"),
    [
        (4, {}, ShapeError, "kv_heads is 4, which does not divide heads 6"),
        (0, {}, ShapeError, "kv_heads is 0"),
        (1, {"heads": 7}, ShapeError, r"key_value.weight has 48 rows, which is not 2 x 7 heads"),
        (1, {"head_dim": 8}, ShapeError, r"heads of width 8"),
        (2, {"layout": "gtp2"}, UnknownName, "did you mean gpt2"),
        (
            2,
            {"layout": "neox"},
            UsageError,
            "among query.weight, key_value.weight, out.weight; give a ProjectionLayout",
        ),
    ],
)
def test_what_cannot_be_converted_is_refused(kv_heads, given, error, words):
    state = MultiHead(DIM, HEADS).state_dict()
    with pytest.raises(error, match=words):
        convert_heads(state, kv_heads, **{"heads": HEADS} | given)


def test_a_checkpoint_with_fewer_heads_already_is_refused():
    state = MultiHead(DIM, HEADS, kv_heads=KV).state_dict()
    with pytest.raises(ShapeError, match=r"key_value.weight has 16 rows.*fewer heads already"):
        convert_heads(state, 1, heads=HEADS)
    separate = {"k_proj.weight": torch.zeros(DIM // 2, DIM)}
    with pytest.raises(ShapeError, match="fewer heads already"):
        convert_heads(separate, 1, heads=HEADS)
    # Unless the width of a head says that none is missing.
    assert convert_heads(separate, 1, heads=HEADS, head_dim=2)["k_proj.weight"].shape == (2, DIM)


def test_a_layout_of_ones_own():
    mine = ProjectionLayout("mine", r"\.kv$", "vk", inputs_first=True)
    made = convert_heads({"a.kv": torch.randn(DIM, 2 * DIM)}, KV, heads=HEADS, layout=mine)
    assert made["a.kv"].shape == (DIM, 2 * KV * WIDTH)
