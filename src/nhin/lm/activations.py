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
from nhin.models.design import Design, settled
from nhin.models.gpt import GPT

MOST_WEIGHTS, MOST_PLACES = 2**27, 2**27  # what a measurement may build, and hold in one table


@dataclass(frozen=True, slots=True)
class Kept:
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


def activations(vocab: int, design: Design, length: int) -> Kept | None:
    """Measure what a text of ``length`` tokens leaves behind in a training forward.

    Args:
        vocab: Tokens there are.
        design: A model's; its depth does not matter, and of models larger than memory two blocks are built.
        length: Tokens of the text.

    Returns:
        What is kept; None where measuring would take gigabytes.
    """
    design = settled(design)
    if not affordable(vocab, design, length):
        return None
    # The kinds of looking of interleaved layers take turns, so that two blocks are the unit.
    unit = 2 if design.mechanism == "interleaved" else 1
    # What blocks keep does not hang on the vocabulary, unless each has an exit.
    few = vocab if design.exits else min(vocab, 256)
    plain, double, short, long = (
        _measured(few, replace(design, depth=depth * unit, checkpointing=again), length)
        for again in (False, True)
        for depth in (1, 2)
    )
    block, again = (double - plain) // unit, (long - short) // unit
    if few < vocab:
        plain = _measured(vocab, replace(design, depth=unit, checkpointing=False), length)
    return Kept(length, design.dim or 0, plain - unit * block, block, again)


def affordable(vocab: int, design: Design, length: int) -> bool:
    """Say whether two blocks can be built and a text of that length be put through them in passing."""
    with torch.device("meta"):
        model = build_lm(vocab, replace(design, depth=2 if design.depth else 0))
    tables = length * max(vocab, (design.heads or 1) * length)
    return sum(weight.numel() for weight in model.parameters()) <= MOST_WEIGHTS and tables <= MOST_PLACES


def kept(model: GPT, tokens: Tensor) -> int:
    """Return the bytes that autograd saves in the loss of a text, weights and tables aside."""
    own = {_place(tensor) for tensor in (*model.parameters(), *model.buffers())}
    held: dict[int, Tensor] = {}  # kept alive, so that no place is given away twice

    def note(tensor: Tensor) -> Tensor:
        if _place(tensor) not in own:
            held[_place(tensor)] = tensor
        return tensor

    with saved_tensors_hooks(note, lambda tensor: tensor):
        model.loss(tokens, tokens)
    return sum(tensor.untyped_storage().nbytes() for tensor in held.values())


def _measured(vocab: int, design: Design, length: int) -> int:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return kept(build_lm(vocab, design).train(), torch.randint(vocab, (1, length)))


def _place(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()
