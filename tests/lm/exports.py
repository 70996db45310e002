"""Designs that go to Hugging Face's formats, and changes of an exported folder, for the tests of both."""

from dataclasses import replace

import torch
from runs import tiny_run
from safetensors.torch import load_file, save_file

from nhin.lm.loading import open_run
from nhin.models.config import ModelConfig

CLASSIC = ModelConfig(depth=2, dim=16, heads=2, context=20, norm="layer", positions="learned", bias=True)
MODERN = ModelConfig(depth=2, dim=16, heads=4, kv_heads=2, context=20, mlp="swiglu")
DESIGNS = {
    "gpt2": CLASSIC,
    "gpt2 plain": replace(CLASSIC, bias=False, tie_embeddings=False, mechanism="naive", dropout=0.2),
    "gpt2 tanh": replace(CLASSIC, mlp="gelu-tanh", hidden_dim=24, eps=1e-3),
    "gpt2 relu2": replace(CLASSIC, mlp="relu2", mlp_ratio=2, exits=True),
    "llama": MODERN,
    "llama wide": replace(MODERN, kv_heads=4, tie_embeddings=False, hidden_dim=24, eps=1e-2),
    "llama far": replace(MODERN, position={"base": 300.0, "pairs": "half"}, mlp_ratio=3),
    "llama narrow": replace(MODERN, head_dim=6, bias=True),
    "llama biased": replace(MODERN, bias=True, bias_parts="mlp", mlp_ratio=3),
    "llama without a bias of outputs": replace(MODERN, bias=True, bias_parts="qkv", mlp_ratio=3),
    "qwen3": replace(MODERN, qk_norm=True, qk_gain=True, head_dim=8, eps=1e-2),
    "qwen3 without gains": replace(MODERN, qk_norm=True, tie_embeddings=False),
} | {
    f"llama {name}": replace(MODERN, positions=name, position=position)
    for name, position in {
        "interpolation": {"factor": 3.0},
        "ntk": {"factor": 2.0},
        "dynamic-ntk": {"factor": 2.0, "trained": 7},
        "yarn": {"factor": 2.0, "trained": 10, "fast": 4.0, "temperature": 1.1},
        "llama3": {"factor": 4.0, "trained": 10, "fast": 2.0, "slow": 0.5, "base": 30.0},
    }.items()
}


def made(folder, design, **given):
    """Return a run whose weights are large enough to show every slip."""
    run = open_run(tiny_run(folder, design=design, **given))
    torch.manual_seed(1)
    with torch.no_grad():
        for weight in run.model.parameters():
            weight.copy_(torch.randn_like(weight) * (0.3 if weight.ndim > 1 else 0.5) + (weight.ndim == 1))
    return run


def tensors(edit):
    def change(place):
        held = load_file(place / "model.safetensors")
        edit(held)
        save_file(held, place / "model.safetensors")

    return change


def first(held):
    return next(name for name in held if name.endswith(("wte.weight", "embed_tokens.weight")))
