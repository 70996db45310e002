"""The parts of a checkpoint format: the configs it supports, its config.json, its names for weights."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from nhin.attention.registry import MECHANISMS
from nhin.lm.huggingface.config_json import ConfigReader
from nhin.models.config import ModelConfig

Weights = Mapping[str, Tensor]
HEAD = "lm_head.weight"
# What configs of all models may say without changing what one computes: names, sampling, training.
COMMON_KEYS = frozenset(
    """
    model_type architectures vocab_size tie_word_embeddings use_cache torch_dtype dtype
    transformers_version _name_or_path name_or_path exported_by initializer_range pretraining_tp
    bos_token_id eos_token_id pad_token_id sep_token_id decoder_start_token_id unk_token_id
    return_dict output_attentions output_hidden_states torchscript is_decoder tokenizer_class
    id2label label2id problem_type finetuning_task task_specific_params prefix _commit_hash
    max_length min_length do_sample early_stopping num_beams num_beam_groups temperature top_k top_p
    typical_p repetition_penalty length_penalty diversity_penalty no_repeat_ngram_size
    encoder_no_repeat_ngram_size num_return_sequences _attn_implementation attn_implementation
    _attn_implementation_autoset chunk_size_feed_forward unsloth_version unsloth_fixed
""".split()
)


@dataclass(frozen=True, slots=True)
class WeightMapping:
    """Tensors of nhin and of a checkpoint with the same rows; ``{}`` in a name is the number of a block.

    Args:
        ours: Names in nhin; the rows of several follow each other.
        theirs: Names in the checkpoint, likewise.
        shares: Where one side has several names: how the rows divide among them.
        is_transposed: Whether the checkpoint stores columns as rows.
    """

    ours: tuple[str, ...]
    theirs: tuple[str, ...]
    shares: tuple[int, ...] = (1,)
    is_transposed: bool = False

    def to_hf(self, ours: Weights, layer: int) -> dict[str, Tensor]:
        """Return tensors by the checkpoint's names; a bias that nhin does not have is zeros."""
        parts = [_weight_or_zeros(ours, name.format(layer)) for name in self.ours]
        tensors = _divide(parts, len(self.theirs), self.shares)
        names = (name.format(layer) for name in self.theirs)
        return {n: t.T if self.is_transposed else t for n, t in zip(names, tensors, strict=True)}

    def from_hf(self, theirs: Weights, layer: int) -> dict[str, Tensor]:
        """Return tensors by the names of nhin."""
        parts = [theirs[name.format(layer)] for name in self.theirs]
        tensors = _divide([t.T if self.is_transposed else t for t in parts], len(self.ours), self.shares)
        return dict(zip((name.format(layer) for name in self.ours), tensors, strict=True))


@dataclass(frozen=True, slots=True)
class CheckpointFormat:
    """One of Hugging Face's models, as functions of a resolved config.

    Args:
        name: Its ``model_type``.
        find_unsupported: Which settings it cannot express, one sentence each.
        to_hf_config: Its config.json, without the keys that all formats share.
        from_hf_config: The config that a config.json describes.
        weights: Its names for weights outside of blocks, the embedding first.
        block_weights: Its names for the weights of a block of a config.
        keys: The keys of its config.json that nhin reads, or that change nothing.
        buffer_suffixes: Endings of the names of tensors that are not weights.
        splitting: How transformers splits texts for it, whatever tokenizer.json says; None for as it says.
    """

    name: str
    find_unsupported: Callable[[ModelConfig], Iterator[str]]
    to_hf_config: Callable[[ModelConfig], dict[str, Any]]
    from_hf_config: Callable[[ConfigReader], ModelConfig]
    weights: Mapping[str, str]
    block_weights: Callable[[ModelConfig], Sequence[WeightMapping]]
    keys: frozenset[str]
    buffer_suffixes: tuple[str, ...]
    splitting: str | None = None

    def to_hf_weights(self, ours: Weights, config: ModelConfig) -> dict[str, Tensor]:
        """Return weights by the checkpoint's names."""
        if config.qk_norm and not config.qk_gain:
            ours = _add_gains(ours, config)
        theirs: dict[str, Tensor] = {}
        for mapping, layer in self._iter_mappings(config):
            theirs |= mapping.to_hf(ours, layer)
        return theirs

    def from_hf_weights(self, theirs: Weights, config: ModelConfig) -> dict[str, Tensor]:
        """Return weights by the names of nhin."""
        ours: dict[str, Tensor] = {}
        for mapping, layer in self._iter_mappings(config):
            ours |= mapping.from_hf(theirs, layer)
        return ours

    def _iter_mappings(self, config: ModelConfig) -> Iterator[tuple[WeightMapping, int]]:
        head = {} if config.tie_embeddings else {"head.weight": HEAD}
        for ours, theirs in (dict(self.weights) | head).items():
            yield WeightMapping((ours,), (theirs,)), 0
        for layer in range(config.depth):
            yield from ((mapping, layer) for mapping in self.block_weights(config))


def _add_gains(ours: Weights, config: ModelConfig) -> Weights:
    """Return weights with gains of 1 for normalized queries and keys."""
    gain = torch.ones(config.head_dim or (config.dim or 0) // (config.heads or 1))
    names = (
        f"blocks.{layer}.attention.{x}_norm.weight" for layer in range(config.depth) for x in ("query", "key")
    )
    return {**ours, **dict.fromkeys(names, gain)}


def _weight_or_zeros(ours: Weights, name: str) -> Tensor:
    if name in ours or not name.endswith(".bias"):
        return ours[name]
    weight = ours[name.removesuffix("bias") + "weight"]
    return weight.new_zeros(weight.shape[0])


def _divide(parts: Sequence[Tensor], count: int, shares: tuple[int, ...]) -> Sequence[Tensor]:
    """Join the rows of some tensors and divide them among ``count`` others."""
    rows = parts[0] if len(parts) == 1 else torch.cat(list(parts))
    unit = len(rows) // sum(shares)
    return [rows] if count == 1 else rows.split([unit * share for share in shares])


def find_unsupported_settings(
    config: ModelConfig, requirements: Mapping[str, tuple[object, ...]]
) -> Iterator[str]:
    """Yield the settings that no format supports, or that differ from the requirements of one."""
    common = {
        "norm_order": ("pre",),
        "final_norm": (True,),
        "qk_norm": (False,),
        "head_dim": (None, (config.dim or 0) // (config.heads or 1)),
        "experts": (0,),
        "memory": (0,),
    }
    for name, allowed in (common | dict(requirements)).items():
        value = getattr(config, name)
        if value not in allowed:
            yield f"{name} is {value!r}, not {' or '.join(map(repr, allowed))}"
    if not MECHANISMS[config.mechanism].facts.exact:
        yield f"mechanism is {config.mechanism!r}, not 'softmax'"
    if not config.depth:
        yield "depth is 0"
