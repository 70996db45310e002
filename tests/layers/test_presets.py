"""Laws of presets: named settings of one layer."""

import pytest
import torch
from torch.testing import assert_close

from nhin.attention.position_registry import POSITIONS
from nhin.attention.registry import MECHANISMS
from nhin.errors import UnknownName
from nhin.layers.block import Block
from nhin.layers.multihead import MultiHead
from nhin.layers.presets import PRESETS, build_preset

CAUSAL = [name for name, preset in PRESETS.items() if preset.causal]


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_names_what_exists_and_runs(name):
    preset = PRESETS[name]
    assert preset.name == name
    assert preset.mechanism in MECHANISMS
    assert preset.rotary is False or preset.rotary in POSITIONS
    assert preset.source
    layer = build_preset(name, dim=64, heads=8)
    assert (layer.query.bias is not None) == preset.bias
    assert layer(torch.randn(2, 5, 64), causal=preset.causal).shape == (2, 5, 64)


@pytest.mark.parametrize("name", CAUSAL)
def test_a_preset_decodes_step_by_step_as_in_one_pass(name):
    overrides = {"settings": {"window": 3}} if name == "mistral" else {}
    layer = build_preset(name, dim=64, heads=8, **overrides).double().eval()
    x = torch.randn(2, 9, 64, dtype=torch.float64)
    with torch.inference_mode():
        cache = layer.new_cache(2, 9)
        steps = [layer(part, causal=True, cache=cache) for part in x.split([2, 1, 3, 1, 1, 1], 1)]
        assert_close(torch.cat(steps, 1), layer(x, causal=True))


@pytest.mark.parametrize("name", CAUSAL)
def test_rows_of_unequal_lengths_decode_together(name):
    layer = build_preset(name, dim=64, heads=8).double().eval()
    x = torch.randn(2, 6, 64, dtype=torch.float64)
    with torch.inference_mode():
        cache = layer.new_cache(2, 6)
        first = layer(x[:, :5], causal=True, cache=cache, lengths=[5, 3])
        last = layer(x[:, 5:], causal=True, cache=cache)
        short = torch.cat([x[1:, :3], x[1:, 5:]], 1)
        assert_close(torch.cat([first, last], 1)[0], layer(x[:1], causal=True)[0])
        assert_close(torch.cat([first[1:, :3], last[1:]], 1), layer(short, causal=True))


def test_caches_of_groups_weigh_a_quarter_and_eightfold():
    """32 heads: all of them (MPT), 8 groups (Mistral), one (Falcon), read from the caches."""
    settings = {"mechanism": "softmax"}
    sizes = [build_preset(n, dim=64, heads=32, **settings).new_cache(1, 16).size for n in ("gpt2", "mistral")]
    one = build_preset("falcon", dim=64, heads=32).new_cache(1, 16).size
    assert sizes[0] == 4 * sizes[1]
    assert sizes[1] == 8 * one


@pytest.mark.parametrize(
    ("name", "heads", "kv_heads"),
    [
        ("gpt2", 12, 12),
        ("bert", 12, 12),
        ("llama2", 64, 8),
        ("mistral", 32, 8),
        ("falcon", 71, 1),
        ("palm", 48, 1),
        ("starcoder", 48, 1),
        ("mpt", 32, 32),
        ("llama2", 4, 1),
    ],
)
def test_groups_are_those_of_the_papers(name, heads, kv_heads):
    assert PRESETS[name].kv_heads(heads) == kv_heads
    assert build_preset(name, dim=2 * heads, heads=heads).kv_heads == kv_heads


def test_mistral_sees_its_window_and_a_preset_can_be_changed():
    assert PRESETS["mistral"].settings == {"window": 4096}
    layer = build_preset("mistral", dim=16, heads=2, settings={"window": 2}).double().eval()
    x, other = torch.randn(2, 1, 6, 16, dtype=torch.float64)
    changed = torch.cat([other[:, :1], x[:, 1:]], 1)
    assert_close(layer(x, causal=True)[:, 2:], layer(changed, causal=True)[:, 2:])
    assert build_preset("mistral", dim=16, heads=2, mechanism="softmax", rotary=False).rotary is None


def test_an_unknown_preset_or_argument_names_the_nearest():
    with pytest.raises(UnknownName, match="no preset named 'mistrall'; did you mean mistral"):
        build_preset("mistrall", dim=16, heads=2)
    with pytest.raises(UnknownName, match="no argument of MultiHead named 'kvheads'; did you mean kv_heads"):
        build_preset("gpt2", dim=16, heads=2, kvheads=1)


@pytest.mark.parametrize("name", [name for name, p in POSITIONS.items() if p.where == "heads"])
def test_every_position_of_heads_decodes_in_a_layer_step_by_step_as_all_at_once(name):
    settings = {
        "dynamic-ntk": {"trained": 3},
        "yarn": {"trained": 16},
        "rotary-2d": {"columns": 3},
        "llama3": {"trained": 9},
    }
    wanted = {"name": name, **settings.get(name, {})}
    layer = MultiHead(32, 4, kv_heads=2, rotary=wanted).double().eval()
    x = torch.randn(2, 8, 32, dtype=torch.float64)
    with torch.inference_mode():
        cache = layer.new_cache(2, 8)
        steps = [layer(part, causal=True, cache=cache) for part in x.split([3, 1, 2, 1, 1], 1)]
        assert_close(torch.cat(steps, 1), layer(x, causal=True))
    assert Block(32, layer.float())(torch.randn(1, 3, 32), causal=True).shape == (1, 3, 32)
