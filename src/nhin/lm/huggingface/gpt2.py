"""GPT-2's layout: the classic block with layer norms, learned positions and biases.

Its matrices stand the other way round than a linear layer's, queries, keys and values in one. A bias that our
design does not have is zeros there.
"""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from nhin.lm.huggingface.config_json import ConfigReader
from nhin.lm.huggingface.formats import CheckpointFormat, Weights, find_unsupported_settings
from nhin.models.config import ModelConfig

EPS = 1e-5  # of torch's layer norm too
_ACTIVATIONS = {"gelu": "gelu", "gelu-tanh": "gelu_new", "relu2": "relu2"}
_ACTIVATIONS_FROM_HF = {theirs: ours for ours, theirs in _ACTIVATIONS.items()} | {
    "gelu_pytorch_tanh": "gelu-tanh"
}
_LINEARS = {"attention.out": "attn.c_proj", "feed.widen": "mlp.c_fc", "feed.narrow": "mlp.c_proj"}
_NORMS = {"norm": "ln_1", "feed_norm": "ln_2"}


def find_unsupported(config: ModelConfig) -> Iterator[str]:
    """Say what of a design GPT-2 does not have."""
    wanted: dict[str, tuple[object, ...]] = {
        "norm": ("layer",),
        "positions": ("learned",),
        "feed": tuple(_ACTIVATIONS),
    }
    yield from find_unsupported_settings(config, wanted)
    if config.kv_heads != config.heads:
        yield f"kv_heads is {config.kv_heads}, not {config.heads}, the number of heads"


def to_hf_config(config: ModelConfig) -> dict[str, Any]:
    """Return the config.json of a design."""
    return {
        "model_type": "gpt2",
        "architectures": ["GPT2LMHeadModel"],
        "n_embd": config.dim,
        "n_layer": config.depth,
        "n_head": config.heads,
        "n_positions": config.context,
        "n_inner": config.inner or config.expand * (config.dim or 0),
        "activation_function": _ACTIVATIONS[config.feed],
        "layer_norm_epsilon": config.eps or EPS,
        "embd_pdrop": config.dropout,
        "resid_pdrop": config.dropout,
        "attn_pdrop": 0.0,
        "scale_attn_weights": True,
        "scale_attn_by_inverse_layer_idx": False,
        "tie_word_embeddings": config.tied,
    }


def from_hf_config(reader: ConfigReader) -> ModelConfig:
    """Return the design that a config.json describes.

    Raises:
        UsageError: It asks for what nhin does not have; the message names it.
        CheckpointError: A value makes no sense.
    """
    reader.check_allowed(
        {
            "scale_attn_weights": [True],
            "scale_attn_by_inverse_layer_idx": [False],
            "add_cross_attention": [False],
        }
    )
    dim, eps = reader.get_int("n_embd", 768), reader.get_float("layer_norm_epsilon", EPS)
    inner = reader.get_int("n_inner", 4 * dim)
    return ModelConfig(
        depth=reader.get_int("n_layer", 12),
        dim=dim,
        heads=reader.get_int("n_head", 12),
        context=reader.get_int("n_positions", 1024),
        positions="learned",
        norm="layer",
        eps=None if eps == EPS else eps,
        feed=reader.get_choice("activation_function", _ACTIVATIONS_FROM_HF, "gelu_new"),  # pyright: ignore[reportArgumentType]
        inner=None if inner == 4 * dim else inner,
        bias=True,
        tied=reader.get_bool("tie_word_embeddings", True),
        dropout=reader.get_fraction("resid_pdrop", 0.1),
    )


def to_hf_weights(ours: Weights, config: ModelConfig) -> dict[str, Tensor]:
    """Return our weights by GPT-2's names."""
    theirs = {
        "transformer.wte.weight": ours["embedding.weight"],
        "transformer.wpe.weight": ours["positions.table"],
        "transformer.ln_f.weight": ours["norm.weight"],
        "transformer.ln_f.bias": ours["norm.bias"],
    }
    if not config.tied:
        theirs["lm_head.weight"] = ours["head.weight"]
    for layer in range(config.depth):
        here, there = f"blocks.{layer}", f"transformer.h.{layer}"
        for name, other in _NORMS.items():
            for kind in ("weight", "bias"):
                theirs[f"{there}.{other}.{kind}"] = ours[f"{here}.{name}.{kind}"]
        looks = [_transpose_linear(ours, f"{here}.attention.{name}") for name in ("query", "key_value")]
        theirs[f"{there}.attn.c_attn.weight"] = torch.cat([weight for weight, _ in looks], 1)
        theirs[f"{there}.attn.c_attn.bias"] = torch.cat([bias for _, bias in looks])
        for name, other in _LINEARS.items():
            weight, bias = _transpose_linear(ours, f"{here}.{name}")
            theirs |= {f"{there}.{other}.weight": weight, f"{there}.{other}.bias": bias}
    return theirs


def from_hf_weights(theirs: Weights, config: ModelConfig) -> dict[str, Tensor]:
    """Return GPT-2's weights by our names; the design has a bias everywhere."""
    ours = {
        "embedding.weight": theirs["transformer.wte.weight"],
        "positions.table": theirs["transformer.wpe.weight"],
        "norm.weight": theirs["transformer.ln_f.weight"],
        "norm.bias": theirs["transformer.ln_f.bias"],
    }
    if not config.tied:
        ours["head.weight"] = theirs["lm_head.weight"]
    dim = config.dim or 0
    for layer in range(config.depth):
        here, there = f"blocks.{layer}", f"transformer.h.{layer}"
        for name, other in _NORMS.items():
            for kind in ("weight", "bias"):
                ours[f"{here}.{name}.{kind}"] = theirs[f"{there}.{other}.{kind}"]
        weight, bias = (theirs[f"{there}.attn.c_attn.{kind}"] for kind in ("weight", "bias"))
        for name, place in (("query", slice(dim)), ("key_value", slice(dim, None))):
            ours[f"{here}.attention.{name}.weight"] = weight[:, place].T
            ours[f"{here}.attention.{name}.bias"] = bias[place]
        for name, other in _LINEARS.items():
            ours[f"{here}.{name}.weight"] = theirs[f"{there}.{other}.weight"].T
            ours[f"{here}.{name}.bias"] = theirs[f"{there}.{other}.bias"]
    return ours


def _transpose_linear(ours: Weights, name: str) -> tuple[Tensor, Tensor]:
    """Return a linear layer as GPT-2 has it: turned, and with a bias."""
    weight = ours[f"{name}.weight"]
    bias = ours.get(f"{name}.bias")
    return weight.T, weight.new_zeros(weight.shape[0]) if bias is None else bias


GPT2 = CheckpointFormat(
    "gpt2",
    find_unsupported,
    to_hf_config,
    from_hf_config,
    to_hf_weights,
    from_hf_weights,
    (".attn.bias", ".attn.masked_bias"),
)
