"""What a training forward keeps for the gradient, measured: the bytes of all tensors that autograd saves.

Blocks are alike, so a model keeps ``ends + L x block``: embedding, last norm, head and loss, and what each of
L blocks adds. Both follow from measuring one block and two, in float32, on a text of the length asked for.
Memory is counted once however many tensors view it; weights and tables are not counted. Not seen: what an
operation takes only while it runs, and what is kept behind autograd's back.
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks

from nhin.models.build import build_lm
from nhin.models.config import ModelConfig, resolve
from nhin.models.gpt import GPT

MAX_WEIGHTS, MAX_TABLE_ENTRIES = 2**27, 2**27  # what a measurement may build, and hold in one table


@dataclass(frozen=True, slots=True)
class ActivationMemory:
    """Bytes that a training forward keeps for one text.

    Args:
        length: Tokens of the text.
        dim: Width.
        ends: Outside of blocks.
        block: For each block.
        checkpointed: For each block with checkpointing; while one is computed again, its own besides.
    """

    length: int
    dim: int
    ends: int
    block: int
    checkpointed: int

    def total(self, depth: int, *, checkpointing: bool = False) -> int:
        """Return what is kept at most in so many blocks, until the gradient has passed."""
        if checkpointing and depth:
            return self.ends + depth * self.checkpointed + self.block
        return self.ends + depth * self.block


def measure_activations(vocab: int, config: ModelConfig, length: int) -> ActivationMemory | None:
    """Measure what a text of ``length`` tokens leaves behind in a training forward.

    Args:
        vocab: Tokens there are.
        config: A model's; its depth does not matter, and of models larger than memory two blocks are built.
        length: Tokens of the text.

    Returns:
        What is kept; None where measuring would take gigabytes.
    """
    config = resolve(config)
    if not fits_memory(vocab, config, length):
        return None
    # The kinds of looking of interleaved layers take turns, so that two blocks are the unit.
    unit = 2 if config.mechanism == "interleaved" else 1
    # What blocks keep does not hang on the vocabulary, unless each has an exit.
    few = vocab if config.exits else min(vocab, 256)
    plain, double, short, long = (
        _measure_bytes(few, replace(config, depth=depth * unit, checkpointing=again), length)
        for again in (False, True)
        for depth in (1, 2)
    )
    block, again = (double - plain) // unit, (long - short) // unit
    if few < vocab:
        plain = _measure_bytes(vocab, replace(config, depth=unit, checkpointing=False), length)
    return ActivationMemory(length, config.dim or 0, plain - unit * block, block, again)


def fits_memory(vocab: int, config: ModelConfig, length: int) -> bool:
    """Say whether two blocks can be built and a text of that length be put through them in passing."""
    with torch.device("meta"):
        model = build_lm(vocab, replace(config, depth=2 if config.depth else 0))
    tables = length * max(vocab, (config.heads or 1) * length)
    return sum(weight.numel() for weight in model.parameters()) <= MAX_WEIGHTS and tables <= MAX_TABLE_ENTRIES


def count_activation_bytes(model: GPT, tokens: Tensor) -> int:
    """Return the bytes that autograd saves in the loss of a text, weights and tables aside."""
    own = {_data_ptr(tensor) for tensor in (*model.parameters(), *model.buffers())}
    held: dict[int, Tensor] = {}  # kept alive, so that no place is given away twice

    def note(tensor: Tensor) -> Tensor:
        if _data_ptr(tensor) not in own:
            held[_data_ptr(tensor)] = tensor
        return tensor

    with saved_tensors_hooks(note, lambda tensor: tensor):
        model.loss(tokens, tokens)
    return sum(tensor.untyped_storage().nbytes() for tensor in held.values())


def _measure_bytes(vocab: int, config: ModelConfig, length: int) -> int:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return count_activation_bytes(build_lm(vocab, config).train(), torch.randint(vocab, (1, length)))


def _data_ptr(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()
