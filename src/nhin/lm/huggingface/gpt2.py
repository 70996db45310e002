"""GPT-2's format: the classic block with layer norms, learned positions and biases.

Its matrices are the transpose of a linear layer's, with queries, keys and values in one. A bias that nhin's
model does not have is stored as zeros.
"""

from collections.abc import Iterator
from typing import Any

from nhin.lm.huggingface.config_json import ConfigReader
from nhin.lm.huggingface.formats import CheckpointFormat, WeightMapping, find_unsupported_settings
from nhin.models.config import ModelConfig

EPS = 1e-5  # torch's default too
_ACTIVATIONS = {"gelu": "gelu", "gelu-tanh": "gelu_new", "relu2": "relu2"}
_ACTIVATIONS_FROM_HF = {theirs: ours for ours, theirs in _ACTIVATIONS.items()} | {
    "gelu_pytorch_tanh": "gelu-tanh"
}
_NORMS = {"ln_1": ("norm",), "ln_2": ("mlp_norm",)}
_LINEARS = {
    "attn.c_attn": ("attention.query", "attention.key_value"),
    "attn.c_proj": ("attention.out",),
    "mlp.c_fc": ("mlp.up_proj",),
    "mlp.c_proj": ("mlp.down_proj",),
}
_KEYS = frozenset(
    """
    n_embd n_layer n_head n_positions n_ctx n_inner activation_function layer_norm_epsilon
    embd_pdrop resid_pdrop attn_pdrop scale_attn_weights scale_attn_by_inverse_layer_idx
    reorder_and_upcast_attn summary_type summary_use_proj summary_activation summary_proj_to_labels
    summary_first_dropout gradient_checkpointing
""".split()
)
_BLOCK_WEIGHTS = [
    WeightMapping(
        tuple(f"blocks.{{}}.{name}.{kind}" for name in ours),
        (f"transformer.h.{{}}.{theirs}.{kind}",),
        shares=(1, 2),  # queries; keys and values
        is_transposed=theirs in _LINEARS and kind == "weight",
    )
    for theirs, ours in (_NORMS | _LINEARS).items()
    for kind in ("weight", "bias")
]


def find_unsupported(config: ModelConfig) -> Iterator[str]:
    """Yield the settings that GPT-2 does not support."""
    requirements = {"norm": ("layer",), "positions": ("learned",), "mlp": tuple(_ACTIVATIONS)}
    yield from find_unsupported_settings(config, requirements)
    if config.kv_heads != config.heads:
        yield f"kv_heads is {config.kv_heads}, not {config.heads}, the number of heads"


def to_hf_config(config: ModelConfig) -> dict[str, Any]:
    """Return the config.json of a config."""
    return {
        "model_type": "gpt2",
        "architectures": ["GPT2LMHeadModel"],
        "n_embd": config.dim,
        "n_layer": config.depth,
        "n_head": config.heads,
        "n_positions": config.context,
        "n_inner": config.hidden_dim or config.mlp_ratio * (config.dim or 0),
        "activation_function": _ACTIVATIONS[config.mlp],
        "layer_norm_epsilon": config.eps or EPS,
        "embd_pdrop": config.dropout,
        "resid_pdrop": config.dropout,
        "attn_pdrop": 0.0,
        "scale_attn_weights": True,
        "scale_attn_by_inverse_layer_idx": False,
        "tie_word_embeddings": config.tie_embeddings,
    }


def from_hf_config(reader: ConfigReader) -> ModelConfig:
    """Return the config that a config.json describes.

    Raises:
        UsageError: It needs something that nhin does not have; the message names it.
        CheckpointError: A value is invalid.
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
        mlp=reader.get_choice("activation_function", _ACTIVATIONS_FROM_HF, "gelu_new"),  # pyright: ignore[reportArgumentType]
        hidden_dim=None if inner == 4 * dim else inner,
        bias=True,
        tie_embeddings=reader.get_bool("tie_word_embeddings", True),
        dropout=reader.get_fraction("resid_pdrop", 0.1),
    )


GPT2 = CheckpointFormat(
    "gpt2",
    find_unsupported,
    to_hf_config,
    from_hf_config,
    {
        "embedding.weight": "transformer.wte.weight",
        "positions.table": "transformer.wpe.weight",
        "norm.weight": "transformer.ln_f.weight",
        "norm.bias": "transformer.ln_f.bias",
    },
    lambda config: _BLOCK_WEIGHTS,
    _KEYS,
    (".attn.bias", ".attn.masked_bias"),
)
