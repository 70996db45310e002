"""Activation memory of training: the bytes of all tensors that autograd saves, measured.

Blocks are alike, so a model saves ``ends + L x block``: embedding, last norm, head and loss, and what each of
L blocks adds. Both follow from measuring one block and two, in float32. Storage counts once however many
tensors view it; weights and buffers do not count. Not measured: temporary memory of an operation, and what
custom code saves without autograd.
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks

from nhin.models.build import build_lm
from nhin.models.config import ModelConfig, resolve
from nhin.models.gpt import GPT

MAX_WEIGHTS, MAX_MATRIX_ENTRIES = 2**27, 2**27  # of a model to measure, and of one of its matrices


@dataclass(frozen=True, slots=True)
class ActivationMemory:
    """Bytes that a training forward pass saves for one text.

    Args:
        length: Tokens of the text.
        dim: Width of the model.
        ends: Outside of blocks.
        block: Of each block.
        checkpointed: Of each block with checkpointing; a block being recomputed adds its own.
    """

    length: int
    dim: int
    ends: int
    block: int
    checkpointed: int

    def total(self, depth: int, *, checkpointing: bool = False) -> int:
        """Return the peak of a model with ``depth`` blocks."""
        if checkpointing and depth:
            return self.ends + depth * self.checkpointed + self.block
        return self.ends + depth * self.block


def measure_activations(vocab: int, config: ModelConfig, length: int) -> ActivationMemory | None:
    """Measure the activations of a text of ``length`` tokens; None where that would take gigabytes.

    Args:
        vocab: Number of tokens.
        config: A model's; its depth does not matter, as at most four blocks are built.
        length: Tokens of the text.
    """
    config = resolve(config)
    if not fits_memory(vocab, config, length):
        return None
    # Interleaved layers alternate two patterns, so two blocks are the unit.
    unit = 2 if config.mechanism == "interleaved" else 1
    # Blocks do not depend on the vocabulary, unless each has an exit.
    small_vocab = vocab if config.exits else min(vocab, 256)
    single, double, checkpointed_single, checkpointed_double = (
        _measure_bytes(small_vocab, replace(config, depth=depth * unit, checkpointing=checkpointing), length)
        for checkpointing in (False, True)
        for depth in (1, 2)
    )
    block = (double - single) // unit
    checkpointed = (checkpointed_double - checkpointed_single) // unit
    if small_vocab < vocab:
        single = _measure_bytes(vocab, replace(config, depth=unit, checkpointing=False), length)
    return ActivationMemory(length, config.dim or 0, single - unit * block, block, checkpointed)


def fits_memory(vocab: int, config: ModelConfig, length: int) -> bool:
    """Return whether two blocks and their matrices for a text of that length fit in little memory."""
    with torch.device("meta"):
        model = build_lm(vocab, replace(config, depth=2 if config.depth else 0))
    entries = length * max(vocab, (config.heads or 1) * length)
    return is_small_enough(model) and entries <= MAX_MATRIX_ENTRIES


def is_small_enough(model: nn.Module) -> bool:
    """Return whether a model is small enough to be built for a measurement."""
    return sum(weight.numel() for weight in model.parameters()) <= MAX_WEIGHTS


def count_activation_bytes(model: GPT, tokens: Tensor) -> int:
    """Return the bytes that autograd saves in the loss of a text, without weights and buffers."""
    own = {_data_ptr(tensor) for tensor in (*model.parameters(), *model.buffers())}
    saved: dict[int, Tensor] = {}  # kept alive, so that no address is used twice

    def save(tensor: Tensor) -> Tensor:
        if _data_ptr(tensor) not in own:
            saved[_data_ptr(tensor)] = tensor
        return tensor

    with saved_tensors_hooks(save, lambda tensor: tensor):
        model.loss(tokens, tokens)
    return sum(tensor.untyped_storage().nbytes() for tensor in saved.values())


def _measure_bytes(vocab: int, config: ModelConfig, length: int) -> int:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return count_activation_bytes(build_lm(vocab, config).train(), torch.randint(vocab, (1, length)))


def _data_ptr(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()
