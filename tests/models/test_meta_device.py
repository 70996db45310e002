"""Models built without numbers, then loaded, answer as the saved ones: nothing but the state is needed."""

import pytest
import torch
from cases import by_way_of_meta
from torch import nn

from nhin.attention.position_registry import POSITIONS, build_rotary
from nhin.attention.registry import MECHANISMS
from nhin.layers.backbones import BACKBONES, build_backbone
from nhin.layers.norm import NORMS
from nhin.models.build import build_lm
from nhin.models.config import ModelConfig
from nhin.models.recognizer import RecognizerNet
from nhin.text.charset import Charset

CHANGES = {
    **{f"positions {x}": {"positions": x} for x in ("none", *POSITIONS) if not x.endswith("2d")},
    **{f"norm {x}": {"norm": x} for x in NORMS},
    **{f"mechanism {x}": {"mechanism": x} for x, m in MECHANISMS.items() if "causal" in m.facts.abilities},
    "exits": {"exits": True},
    "exits early": {"exits": True},
    "memory": {"memory": 2, "positions": "sinusoidal"},
    "experts": {"experts": 3},
    "untied": {"tie_embeddings": False, "bias": True, "qk_norm": True},
    "swiglu": {"mlp": "swiglu", "norm_order": "post"},
}


def build(name: str) -> nn.Module:
    """Build a language model of one block."""
    config = {"depth": 1, "dim": 8, "heads": 2, "context": 12} | CHANGES[name]
    model = build_lm(9, ModelConfig(**config)).eval()
    if name == "exits early":
        model.confidence = 0.2
    return model


def fill(model: nn.Module) -> nn.Module:
    """Draw what is saved anew, so that no part is still as it was built."""
    torch.manual_seed(0)
    with torch.no_grad():
        for p in (
            *model.parameters(),
            *(m.running_mean for m in model.modules() if hasattr(m, "running_mean")),
        ):
            p.normal_(0, 0.5)
    return model


def tables(model: nn.Module) -> dict[str, torch.Tensor]:
    saved = model.state_dict()
    return {name: x for name, x in model.named_buffers() if name not in saved}


@pytest.mark.parametrize("name", CHANGES)
def test_a_language_model_needs_its_state_alone(name):
    model, tokens = fill(build(name)), torch.arange(22).reshape(2, 11) % 9
    for other in by_way_of_meta(model, lambda: build(name)):
        assert torch.equal(other(tokens), model(tokens))


def recognizer() -> RecognizerNet:
    return RecognizerNet(Charset("aáàb"), backbone="tiny", dim=8, depth=1, decoder_depth=1, heads=2).eval()


def test_a_recognizer_needs_its_state_alone():
    model, pictures, tokens = fill(recognizer()), torch.rand(2, 1, 40, 24), torch.tensor([[1, 3], [1, 4]])
    for other in by_way_of_meta(model, recognizer):
        for got, want in zip(other(pictures, tokens), model(pictures, tokens), strict=True):
            assert torch.equal(got, want)


@pytest.mark.parametrize("name", BACKBONES)
def test_a_backbone_has_nothing_that_is_not_saved(name):
    assert not tables(build_backbone(name))


@pytest.mark.parametrize("name", [name for name, position in POSITIONS.items() if position.where == "heads"])
def test_a_grown_rotation_is_computed_again_as_long_as_it_was(name):
    def build() -> nn.Module:
        rotary = build_rotary({"name": name, "context": 4}, 8)
        assert rotary is not None
        return rotary

    x = torch.rand(1, 9, 2, 8)
    model = build()
    want = model(x)
    returned = model.to("meta").to_empty(device="cpu")
    assert torch.equal(returned(x), want)
    for other in by_way_of_meta(build(), build):
        assert torch.equal(other(x), want)


@pytest.mark.parametrize("name", ["rotary", "xpos", "sinusoidal", "alibi", "t5"])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_rounds_no_table(name, dtype):
    model = build(f"positions {name}")
    before = {key: x.clone() for key, x in tables(model).items()}
    assert before
    after = tables(model.to(dtype))
    assert all(torch.equal(x, after[key]) for key, x in before.items())
