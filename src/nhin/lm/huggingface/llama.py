"""Llama's format and its relatives': RMS norms, rotary positions in halves, SwiGLU, grouped heads.

Qwen 2 adds biases to queries, keys and values; Qwen 3 normalizes queries and keys, with learned gains. nhin
stores keys and values in one matrix, the gate and what it multiplies in another; these store four.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from nhin.layers.mlp import compute_hidden_dim
from nhin.lm.huggingface.config_json import ConfigReader
from nhin.lm.huggingface.formats import CheckpointFormat, WeightMapping, find_unsupported_settings
from nhin.lm.huggingface.rope import CONTEXT, POSITIONS, find_unsupported_rope, read_rope, write_rope
from nhin.models.config import BiasParts, ModelConfig

EPS = torch.finfo(torch.float32).eps  # torch's default for RMS norms
MAX_ANGLES, FIRST_ANGLES = 2**24, 4096  # of the tables of all layers, and positions of one that may grow
_LAYERS = {
    "norm": ("input_layernorm",),
    "mlp_norm": ("post_attention_layernorm",),
    "attention.query": ("self_attn.q_proj",),
    "attention.out": ("self_attn.o_proj",),
    "mlp.down_proj": ("mlp.down_proj",),
    "attention.key_value": ("self_attn.k_proj", "self_attn.v_proj"),
    "mlp.up_proj": ("mlp.gate_proj", "mlp.up_proj"),
}
_GAINS = {"attention.query_norm": ("self_attn.q_norm",), "attention.key_norm": ("self_attn.k_norm",)}
_KEYS = frozenset(
    """
    hidden_size intermediate_size num_hidden_layers num_attention_heads num_key_value_heads head_dim
    max_position_embeddings original_max_position_embeddings hidden_act rms_norm_eps rope_theta
    rope_scaling rope_parameters partial_rotary_factor attention_dropout
""".split()
) | {CONTEXT}
_ATTENTION_BIAS, _MLP_BIAS = "attention_bias", "mlp_bias"
# A sliding window needs use_sliding_window; without it the other keys change nothing.
_WINDOW_KEYS = frozenset({"use_sliding_window", "sliding_window", "max_window_layers", "layer_types"})
_QWEN_DEFAULTS = {"intermediate_size": 22016, "num_key_value_heads": 32, "max_position_embeddings": 32768}


@dataclass(frozen=True, slots=True)
class _Relative:
    """What distinguishes a relative of Llama.

    Args:
        name: Its ``model_type``.
        architecture: Its class in transformers.
        biases: Its values of ``bias_parts``, None for no bias, by the values of ``bias_keys``.
        bias_keys: The keys of its config.json that turn biases on.
        qk_norm: Whether it normalizes queries and keys.
        defaults: Values of keys that a file may leave out, where they differ from Llama's.
        keys: Keys of its config.json besides those of all.
        splitting: How transformers splits texts for it; see ``CheckpointFormat``.
    """

    name: str
    architecture: str
    biases: Mapping[tuple[bool, ...], BiasParts | None]
    bias_keys: tuple[str, ...] = ()
    qk_norm: bool = False
    defaults: Mapping[str, int] = field(default_factory=dict)
    keys: frozenset[str] = frozenset()
    splitting: str | None = None

    def find_unsupported(self, config: ModelConfig) -> Iterator[str]:
        """Yield the settings that this format does not support."""
        requirements = {
            "norm": ("rms",),
            "positions": POSITIONS,
            "mlp": ("swiglu",),
            "qk_norm": (self.qk_norm,),
        }
        yield from find_unsupported_settings(config, requirements | {"head_dim": (config.head_dim,)})
        yield from find_unsupported_rope(config)
        if self._find_bias_flags(config) is None:
            allowed = " or ".join(x or "none" for x in self.biases.values())
            yield f"the layers with a bias are {_bias_parts(config) or 'none'}, not {allowed}"
        if config.qk_norm and not config.qk_gain and config.eps is not None:
            yield f"eps is {config.eps}, and norms of queries and keys without gains have their own"

    def to_hf_config(self, config: ModelConfig) -> dict[str, Any]:
        """Return the config.json of a config."""
        dim, heads = config.dim or 0, config.heads or 1
        return {
            "model_type": self.name,
            "architectures": [self.architecture],
            "hidden_size": dim,
            "intermediate_size": config.hidden_dim or compute_hidden_dim(dim, config.mlp_ratio, config.mlp),
            "num_hidden_layers": config.depth,
            "num_attention_heads": heads,
            "num_key_value_heads": config.kv_heads,
            "head_dim": config.head_dim or dim // heads,
            "hidden_act": "silu",
            "rms_norm_eps": config.eps or EPS,
            **write_rope(config),
            **dict(zip(self.bias_keys, self._find_bias_flags(config) or (), strict=True)),
            "attention_dropout": 0.0,
            "tie_word_embeddings": config.tie_embeddings,
        }

    def from_hf_config(self, reader: ConfigReader) -> ModelConfig:
        """Return the config that a config.json describes.

        Raises:
            UsageError: It needs something that nhin does not have; the message names it.
            CheckpointError: A value is invalid.
        """
        reader.check_allowed({"hidden_act": ["silu", "swish"], "use_sliding_window": [False]})
        reader.check_items("layer_types", ["full_attention"])
        defaults = {"intermediate_size": 11008, "max_position_embeddings": 2048} | dict(self.defaults)
        dim, heads = reader.get_int("hidden_size", 4096), reader.get_int("num_attention_heads", 32)
        depth = reader.get_int("num_hidden_layers", 32)
        head_dim = reader.get_int("head_dim", defaults.get("head_dim", max(dim // heads, 1)))
        context = reader.get_int("max_position_embeddings", defaults["max_position_embeddings"])
        positions, position, context = read_rope(reader, context)
        if depth * context * head_dim > MAX_ANGLES:
            position["context"] = FIRST_ANGLES  # tables grow when a longer text comes
        inner = reader.get_int("intermediate_size", defaults["intermediate_size"])
        eps = reader.get_float("rms_norm_eps", 1e-6)
        parts = self.biases[tuple(reader.get_bool(key, False) for key in self.bias_keys)]
        return ModelConfig(
            depth=depth,
            dim=dim,
            heads=heads,
            kv_heads=reader.get_int("num_key_value_heads", defaults.get("num_key_value_heads", heads)),
            head_dim=None if head_dim * heads == dim else head_dim,
            context=context,
            positions=positions,
            position=position,
            eps=None if eps == EPS else eps,
            qk_norm=self.qk_norm,
            qk_gain=self.qk_norm,
            mlp="swiglu",
            hidden_dim=None if inner == compute_hidden_dim(dim, 4, "swiglu") else inner,
            bias=parts is not None,
            bias_parts=parts or "all",
            tie_embeddings=reader.get_bool("tie_word_embeddings", False),
        )

    def build_format(self) -> CheckpointFormat:
        """Return its functions and names."""
        return CheckpointFormat(
            self.name,
            self.find_unsupported,
            self.to_hf_config,
            self.from_hf_config,
            {"embedding.weight": "model.embed_tokens.weight", "norm.weight": "model.norm.weight"},
            self._map_block,
            _KEYS | self.keys | {*self.bias_keys},
            (".rotary_emb.inv_freq",),
            self.splitting,
        )

    def _find_bias_flags(self, config: ModelConfig) -> tuple[bool, ...] | None:
        """Return the values of ``bias_keys`` for a config; None where there are none.

        A format of which all of the attention can have a bias stores a zero for the one of its output.
        """
        parts = _bias_parts(config)
        stored = "attention" if parts == "qkv" and "qkv" not in self.biases.values() else parts
        return next((flags for flags, known in self.biases.items() if known == stored), None)

    def _map_block(self, config: ModelConfig) -> Sequence[WeightMapping]:
        """Return the names of the weights and biases of a block."""
        qkv, out, mlp = config.has_biases
        out |= qkv and "qkv" not in self.biases.values()
        biased = {"attention.query": qkv, "attention.key_value": qkv, "attention.out": out}
        biased |= {"mlp.up_proj": mlp, "mlp.down_proj": mlp}
        return [
            WeightMapping(
                (f"blocks.{{}}.{ours}.{kind}",),
                tuple(f"model.layers.{{}}.{name}.{kind}" for name in theirs),
                (1, 1),
            )
            for ours, theirs in (_LAYERS | (_GAINS if self.qk_norm else {})).items()
            for kind in (("weight", "bias") if biased.get(ours) else ("weight",))
        ]


def _bias_parts(config: ModelConfig) -> BiasParts | None:
    return config.bias_parts if config.bias else None


LLAMA = _Relative(
    "llama",
    "LlamaForCausalLM",
    {(False, False): None, (True, False): "attention", (False, True): "mlp", (True, True): "all"},
    (_ATTENTION_BIAS, _MLP_BIAS),
).build_format()
QWEN2 = _Relative(
    "qwen2", "Qwen2ForCausalLM", {(): "qkv"}, defaults=_QWEN_DEFAULTS, keys=_WINDOW_KEYS, splitting="Qwen 2"
).build_format()
QWEN3 = _Relative(
    "qwen3",
    "Qwen3ForCausalLM",
    {(False,): None, (True,): "attention"},
    (_ATTENTION_BIAS,),
    qk_norm=True,
    defaults=_QWEN_DEFAULTS | {"head_dim": 128},
    keys=_WINDOW_KEYS,
).build_format()
