"""Designs: one dial, sizes that follow from it, and clear words for what cannot be."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from nhin.attention.position_registry import POSITIONS
from nhin.attention.registry import MECHANISMS
from nhin.config import from_dict, to_dict
from nhin.errors import ShapeError, UnknownName, UsageError
from nhin.layers.presets import PRESETS
from nhin.models.build import build_lm
from nhin.models.config import ModelConfig, resolve, resolve_positions
from nhin.models.early_exit import EarlyExitGPT
from nhin.models.gpt import GPT
from nhin.models.recurrent_memory import RecurrentMemoryGPT


@given(depth=st.integers(0, 40), dim=st.none() | st.integers(1, 2000))
def test_depth_alone_makes_sizes_that_fit(depth, dim):
    config = resolve(ModelConfig(depth=depth, dim=dim))
    assert config.dim == dim if dim else config.dim == 48 * max(2, depth)
    assert config.dim % config.heads == 0
    assert config.kv_heads == config.heads
    assert config.dim // config.heads >= min(config.dim, 32)


@pytest.mark.parametrize(
    ("dim", "heads"), [(16, 1), (64, 2), (128, 2), (512, 8), (768, 12), (100, 2), (97, 1)]
)
def test_heads_are_as_wide_as_usual_or_wider(dim, heads):
    assert resolve(ModelConfig(dim=dim)).heads == heads


@pytest.mark.parametrize(
    "given", [{}, {"preset": "mpt"}, {"preset": "mistral"}, {"positions": "t5", "position": {"buckets": 8}}]
)
def test_settling_twice_is_settling_once_and_a_tree_keeps_it(given):
    config = resolve(ModelConfig(**given))
    assert resolve(config) == config
    assert from_dict(ModelConfig, to_dict(config), "config") == config


def test_positions_of_scores_become_the_mechanism_with_their_settings():
    config = resolve(ModelConfig(positions="t5", position={"buckets": 8}))
    assert (config.mechanism, config.positions, config.settings) == ("t5", "none", {"buckets": 8})
    assert resolve(ModelConfig(positions="alibi", mechanism="alibi")).mechanism == "alibi"


@pytest.mark.parametrize("name", [name for name, preset in PRESETS.items() if preset.causal])
def test_a_preset_sets_heads_mechanism_positions_and_bias(name):
    preset, config = PRESETS[name], resolve(ModelConfig(preset=name, dim=64, heads=16, context=32))
    assert config.kv_heads == preset.kv_heads(16)
    assert (config.mechanism, config.bias) == (preset.mechanism, preset.bias)
    where = resolve_positions(config)
    assert where.inputs == preset.inputs
    assert bool(where.rotary) == bool(preset.rotary)
    assert config.settings.get("window", 32) == 32


@pytest.mark.parametrize("name", ["location", "global", "local-p"])
def test_mechanisms_that_ask_for_the_context_get_it_and_memory_room(name):
    assert resolve(ModelConfig(mechanism=name, context=9)).settings["context"] == 9
    assert resolve(ModelConfig(mechanism=name, context=9, memory=2)).settings["context"] == 13
    assert resolve(ModelConfig(mechanism=name, settings={"context": 5})).settings["context"] == 5


def test_a_design_builds_the_model_it_describes():
    small = ModelConfig(depth=1, dim=8, heads=2, context=4)
    assert type(build_lm(5, small)) is GPT
    assert type(build_lm(5, replace(small, memory=1))) is RecurrentMemoryGPT
    assert type(build_lm(5, replace(small, exits=True))) is EarlyExitGPT
    names = build_lm(5, small).state_dict().keys()
    assert names == build_lm(5, replace(small, exits=True)).state_dict().keys()
    assert names | {"memory"} == build_lm(5, replace(small, memory=1)).state_dict().keys()


SIZES = {
    "hidden_dim is 0; give 1 to": {"hidden_dim": 0},
    "depth is -1; give 0 to 1024": {"depth": -1},
    "depth is 1025; give 0 to 1024": {"depth": 1025},
    "dim is 0; give 1 to 65536": {"dim": 0},
    "dim is 1000000; give": {"dim": 10**6},
    "heads is 0; give 1 to 1024": {"dim": 32, "heads": 0},
    "heads is 3, which does not divide dim 64; choose a divisor": {"dim": 64, "heads": 3},
    "kv_heads is 3, which does not divide heads 4": {"dim": 64, "heads": 4, "kv_heads": 3},
    "context is 0; give 1": {"context": 0},
    "context is 10000000; give 1 to 4194304": {"context": 10**7},
    "mlp_ratio is 0; give 1 to 64": {"mlp_ratio": 0},
    "experts is -1; give 0 to 4096": {"experts": -1},
    "memory is -1; give 0": {"memory": -1},
    "segments is 0; give 1": {"memory": 1, "segments": 0},
    "head_dim is 5; rotary positions rotate pairs": {"dim": 5, "heads": 1},
}
NAMES = {
    "no mechanism named 'sofmax'; did you mean softmax": {"mechanism": "sofmax"},
    "no setting of window named 'windw'; did you mean window": {
        "mechanism": "window",
        "settings": {"windw": 3},
    },
    "no position named 'rotery'; did you mean rotary": {"positions": "rotery"},
    "no setting of rotary named 'bas'; did you mean base": {"position": {"bas": 3}},
    "no preset named 'gtp2'; did you mean gpt2": {"preset": "gtp2"},
    "no norm named 'lyer'; did you mean layer": {"norm": "lyer"},
    "no choice mlp named 'gleu'; did you mean gelu": {"mlp": "gleu"},
    "no choice norm_order named 'prep'; did you mean pre": {"norm_order": "prep"},
    "no choice init named 'zeros'; did you mean zero": {"init": "zeros"},
}
USES = {
    "preset bert is bidirectional; a language model needs a causal one": {"preset": "bert"},
    "linformer lacks 'causal'": {"mechanism": "linformer"},
    "nystromformer lacks 'causal'.*these have it: .*naive, .*softmax": {"mechanism": "nystromformer"},
    "positions 'alibi' act on the logits of softmax, not of 'linear'": {
        "positions": "alibi",
        "mechanism": "linear",
    },
    "rotary-2d positions are for pictures; text needs other positions": {"positions": "rotary-2d"},
    "sinusoidal-2d positions are for pictures": {"positions": "sinusoidal-2d"},
    "positions 'learned' has no settings": {"positions": "learned", "position": {"base": 3}},
    "positions 'none' has no settings": {"positions": "none", "position": {"base": 3}},
    "depth 0 reads one token, whatever its position": {"depth": 0, "positions": "learned"},
    "memory and exits do not go together; give one of them": {"memory": 1, "exits": True},
    "memory needs blocks; give a depth of 1 or more": {"memory": 1, "depth": 0},
    "exits need blocks; give a depth of 1 or more": {"exits": True, "depth": 0},
    "dropout is 1.0; give at least 0 and less than 1": {"dropout": 1.0},
    "dropout is nan": {"dropout": float("nan")},
    "top_k is 3; give 1 to 2": {"experts": 2, "top_k": 3},
    "top_k is 0; give 1 to 4096": {"experts": 2, "top_k": 0},
    "experts are MLPs; give mlp=": {"experts": 2, "mlp": "none"},
    "eps is 0.0; give more than 0": {"eps": 0.0},
    "eps is nan": {"eps": float("nan")},
    "balance_loss is -1": {"balance_loss": -1.0},
    "balance_loss is inf": {"balance_loss": float("inf")},
}
WRONG = [
    (error, words, config)
    for error, table in (((ShapeError, UsageError), SIZES), (UnknownName, NAMES), (UsageError, USES))
    for words, config in table.items()
]


@pytest.mark.parametrize(("error", "words", "given"), WRONG, ids=[words for _, words, _ in WRONG])
def test_what_cannot_be_is_refused_in_plain_words(error, words, given):
    config = ModelConfig()
    for name, value in given.items():
        object.__setattr__(config, name, value)  # as a caller without type checks may
    with pytest.raises(error, match=words):
        build_lm(11, config)


@pytest.mark.parametrize("vocab", [0, -3, 2**23])
def test_a_vocabulary_has_bounds(vocab):
    with pytest.raises(ShapeError, match=f"vocab is {vocab}; give 1 to 4194304"):
        GPT(vocab, ModelConfig(depth=1, dim=8))


def test_a_model_of_another_kind_is_not_built_by_mistake():
    with pytest.raises(UsageError, match="memory is 0; a recurrent model needs 1 or more"):
        RecurrentMemoryGPT(5, ModelConfig(depth=1, dim=8))
    with pytest.raises(UsageError, match="exits need blocks"):
        EarlyExitGPT(5, ModelConfig(depth=0))


@pytest.mark.parametrize("name", [*POSITIONS, "none"])
def test_every_position_of_texts_is_built(name):
    if name.endswith("2d"):
        pytest.skip("of pictures")
    made = build_lm(11, ModelConfig(depth=1, dim=16, heads=2, context=600, positions=name))
    assert made(torch.zeros(1, 3, dtype=torch.long)).shape == (1, 3, 11)
    # A table that is long enough at once need not grow, which a compiled model cannot let it do.
    rotary = made.blocks[0].attention.rotary
    assert rotary is None or rotary.cos.shape[0] == 600


def test_every_causal_mechanism_is_built():
    for name, made in MECHANISMS.items():
        if "causal" in made.facts.abilities:
            build_lm(5, ModelConfig(depth=1, dim=16, heads=2, context=8, mechanism=name))
