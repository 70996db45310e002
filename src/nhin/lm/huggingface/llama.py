"""Llama's layout: RMS norms, rotary positions in halves, SwiGLU, grouped heads, no bias.

Our gate stands before what it lets through in one matrix, keys before values in another; there each has its
own.
"""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from nhin.errors import UsageError
from nhin.layers.mlp import compute_hidden_dim
from nhin.lm.huggingface.config_json import ConfigReader
from nhin.lm.huggingface.formats import CheckpointFormat, Weights, find_unsupported_settings
from nhin.models.config import ModelConfig

EPS = torch.finfo(torch.float32).eps  # of torch's RMS norm that was given none
ROPE_BASE = 10000.0
MAX_ANGLES = 2**30  # every layer has a table of them
_DIRECT = {
    "norm": "input_layernorm",
    "feed_norm": "post_attention_layernorm",
    "attention.query": "self_attn.q_proj",
    "attention.out": "self_attn.o_proj",
    "feed.narrow": "mlp.down_proj",
}
_FUSED = {
    "attention.key_value": ("self_attn.k_proj", "self_attn.v_proj"),
    "feed.widen": ("mlp.gate_proj", "mlp.up_proj"),
}


def find_unsupported(config: ModelConfig) -> Iterator[str]:
    """Say what of a design Llama does not have."""
    wanted: dict[str, tuple[object, ...]] = {
        "norm": ("rms",),
        "positions": ("rotary",),
        "feed": ("swiglu",),
        "bias": (False,),
    }
    yield from find_unsupported_settings(config, wanted)
    for name, value in config.position.items():
        if (name, value) != ("pairs", "half") and name not in ("base", "context"):
            yield f"position has {name} = {value!r}"


def to_hf_config(config: ModelConfig) -> dict[str, Any]:
    """Return the config.json of a design."""
    dim, heads, base = config.dim or 0, config.heads or 1, float(config.position.get("base", ROPE_BASE))
    return {
        "model_type": "llama",
        "architectures": ["LlamaForCausalLM"],
        "hidden_size": dim,
        "intermediate_size": config.inner or compute_hidden_dim(dim, config.expand, config.feed),
        "num_hidden_layers": config.depth,
        "num_attention_heads": heads,
        "num_key_value_heads": config.kv_heads,
        "head_dim": dim // heads,
        "max_position_embeddings": config.context,
        "hidden_act": "silu",
        "rms_norm_eps": config.eps or EPS,
        # The one is what transformers read before version 5, the other since.
        "rope_theta": base,
        "rope_parameters": {"rope_type": "default", "rope_theta": base},
        "attention_bias": False,
        "mlp_bias": False,
        "attention_dropout": 0.0,
        "tie_word_embeddings": config.tied,
    }


def from_hf_config(reader: ConfigReader) -> ModelConfig:
    """Return the design that a config.json describes.

    Raises:
        UsageError: It asks for what nhin does not have; the message names it.
        CheckpointError: A value makes no sense.
    """
    reader.check_allowed({"hidden_act": ["silu", "swish"], "attention_bias": [False], "mlp_bias": [False]})
    dim, heads = reader.get_int("hidden_size", 4096), reader.get_int("num_attention_heads", 32)
    reader.check_allowed({"head_dim": [dim // heads]})
    depth, context = reader.get_int("num_hidden_layers", 32), reader.get_int("max_position_embeddings", 2048)
    if depth * context * dim // heads > MAX_ANGLES:
        raise UsageError(
            f"max_position_embeddings is {context}: angles of so many places would take gigabytes"
        )
    inner, eps, base = (
        reader.get_int("intermediate_size", 11008),
        reader.get_float("rms_norm_eps", 1e-6),
        _read_rope_base(reader),
    )
    return ModelConfig(
        depth=depth,
        dim=dim,
        heads=heads,
        kv_heads=reader.get_int("num_key_value_heads", heads),
        context=context,
        position={} if base == ROPE_BASE else {"base": base},
        eps=None if eps == EPS else eps,
        feed="swiglu",
        inner=None if inner == compute_hidden_dim(dim, 4, "swiglu") else inner,
        tied=reader.get_bool("tie_word_embeddings", False),
    )


def _read_rope_base(reader: ConfigReader) -> float:
    """Return the base of plain rotary positions, wherever this version keeps it."""
    turned = reader.get_float("rope_theta", ROPE_BASE)
    for name in ("rope_scaling", "rope_parameters"):
        part = reader.get_section(name)
        part.check_allowed(
            {
                "rope_type": ["default"],
                "type": ["default"],
                "partial_rotary_factor": [1.0, 1],
                "factor": [1.0, 1],
            }
        )
        turned = part.get_float("rope_theta", turned)
    return turned


def to_hf_weights(ours: Weights, config: ModelConfig) -> dict[str, Tensor]:
    """Return our weights by Llama's names."""
    theirs = {
        "model.embed_tokens.weight": ours["embedding.weight"],
        "model.norm.weight": ours["norm.weight"],
    }
    if not config.tied:
        theirs["lm_head.weight"] = ours["head.weight"]
    for layer in range(config.depth):
        here, there = f"blocks.{layer}", f"model.layers.{layer}"
        for name, other in _DIRECT.items():
            theirs[f"{there}.{other}.weight"] = ours[f"{here}.{name}.weight"]
        for name, others in _FUSED.items():
            for other, half in zip(others, ours[f"{here}.{name}.weight"].chunk(2), strict=True):
                theirs[f"{there}.{other}.weight"] = half
    return theirs


def from_hf_weights(theirs: Weights, config: ModelConfig) -> dict[str, Tensor]:
    """Return Llama's weights by our names."""
    ours = {
        "embedding.weight": theirs["model.embed_tokens.weight"],
        "norm.weight": theirs["model.norm.weight"],
    }
    if not config.tied:
        ours["head.weight"] = theirs["lm_head.weight"]
    for layer in range(config.depth):
        here, there = f"blocks.{layer}", f"model.layers.{layer}"
        for name, other in _DIRECT.items():
            ours[f"{here}.{name}.weight"] = theirs[f"{there}.{other}.weight"]
        for name, others in _FUSED.items():
            ours[f"{here}.{name}.weight"] = torch.cat([theirs[f"{there}.{other}.weight"] for other in others])
    return ours


LLAMA = CheckpointFormat(
    "llama",
    find_unsupported,
    to_hf_config,
    from_hf_config,
    to_hf_weights,
    from_hf_weights,
    (".rotary_emb.inv_freq",),
)
