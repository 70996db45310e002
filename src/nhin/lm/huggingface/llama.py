"""Llama's format: RMS norms, rotary positions in halves, SwiGLU, grouped heads, no bias.

nhin stores keys and values in one matrix, the gate and what it multiplies in another; Llama stores four.
"""

from collections.abc import Iterator
from typing import Any

import torch

from nhin.errors import UsageError
from nhin.layers.mlp import compute_hidden_dim
from nhin.lm.huggingface.config_json import ConfigReader
from nhin.lm.huggingface.formats import CheckpointFormat, WeightMapping, find_unsupported_settings
from nhin.models.config import ModelConfig

EPS = torch.finfo(torch.float32).eps  # torch's default for RMS norms
ROPE_BASE = 10000.0
MAX_ANGLES = 2**30  # of the tables of all layers
_LAYERS = {
    "norm": ("input_layernorm",),
    "mlp_norm": ("post_attention_layernorm",),
    "attention.query": ("self_attn.q_proj",),
    "attention.out": ("self_attn.o_proj",),
    "mlp.down_proj": ("mlp.down_proj",),
    "attention.key_value": ("self_attn.k_proj", "self_attn.v_proj"),
    "mlp.up_proj": ("mlp.gate_proj", "mlp.up_proj"),
}
_BLOCK_WEIGHTS = [
    WeightMapping(
        (f"blocks.{{}}.{ours}.weight",), tuple(f"model.layers.{{}}.{name}.weight" for name in theirs), (1, 1)
    )
    for ours, theirs in _LAYERS.items()
]


def find_unsupported(config: ModelConfig) -> Iterator[str]:
    """Yield the settings that Llama does not support."""
    requirements = {"norm": ("rms",), "positions": ("rotary",), "mlp": ("swiglu",), "bias": (False,)}
    yield from find_unsupported_settings(config, requirements)
    for name, value in config.position.items():
        if (name, value) != ("pairs", "half") and name not in ("base", "context"):
            yield f"position has {name} = {value!r}"


def to_hf_config(config: ModelConfig) -> dict[str, Any]:
    """Return the config.json of a config."""
    dim, heads, base = config.dim or 0, config.heads or 1, float(config.position.get("base", ROPE_BASE))
    return {
        "model_type": "llama",
        "architectures": ["LlamaForCausalLM"],
        "hidden_size": dim,
        "intermediate_size": config.hidden_dim or compute_hidden_dim(dim, config.mlp_ratio, config.mlp),
        "num_hidden_layers": config.depth,
        "num_attention_heads": heads,
        "num_key_value_heads": config.kv_heads,
        "head_dim": dim // heads,
        "max_position_embeddings": config.context,
        "hidden_act": "silu",
        "rms_norm_eps": config.eps or EPS,
        # transformers before version 5 reads the one, later versions the other.
        "rope_theta": base,
        "rope_parameters": {"rope_type": "default", "rope_theta": base},
        "attention_bias": False,
        "mlp_bias": False,
        "attention_dropout": 0.0,
        "tie_word_embeddings": config.tie_embeddings,
    }


def from_hf_config(reader: ConfigReader) -> ModelConfig:
    """Return the config that a config.json describes.

    Raises:
        UsageError: It needs something that nhin does not have; the message names it.
        CheckpointError: A value is invalid.
    """
    reader.check_allowed({"hidden_act": ["silu", "swish"], "attention_bias": [False], "mlp_bias": [False]})
    dim, heads = reader.get_int("hidden_size", 4096), reader.get_int("num_attention_heads", 32)
    reader.check_allowed({"head_dim": [dim // heads]})
    depth, context = reader.get_int("num_hidden_layers", 32), reader.get_int("max_position_embeddings", 2048)
    if depth * context * dim // heads > MAX_ANGLES:
        raise UsageError(
            f"max_position_embeddings is {context}: a table of so many positions would take gigabytes"
        )
    inner, base = reader.get_int("intermediate_size", 11008), _read_rope_base(reader)
    eps = reader.get_float("rms_norm_eps", 1e-6)
    return ModelConfig(
        depth=depth,
        dim=dim,
        heads=heads,
        kv_heads=reader.get_int("num_key_value_heads", heads),
        context=context,
        position={} if base == ROPE_BASE else {"base": base},
        eps=None if eps == EPS else eps,
        mlp="swiglu",
        hidden_dim=None if inner == compute_hidden_dim(dim, 4, "swiglu") else inner,
        tie_embeddings=reader.get_bool("tie_word_embeddings", False),
    )


def _read_rope_base(reader: ConfigReader) -> float:
    """Return the base of plain rotary positions, from whichever key this version stores it in."""
    base = reader.get_float("rope_theta", ROPE_BASE)
    for name in ("rope_scaling", "rope_parameters"):
        part = reader.get_section(name)
        plain = {"rope_type": ["default"], "type": ["default"]}
        part.check_allowed(plain | {"partial_rotary_factor": [1.0, 1], "factor": [1.0, 1]})
        base = part.get_float("rope_theta", base)
    return base


LLAMA = CheckpointFormat(
    "llama",
    find_unsupported,
    to_hf_config,
    from_hf_config,
    {"embedding.weight": "model.embed_tokens.weight", "norm.weight": "model.norm.weight"},
    _BLOCK_WEIGHTS,
    (".rotary_emb.inv_freq",),
)
