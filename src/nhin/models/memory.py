"""The memory that a model takes, known from its shapes before anything is allocated."""

import os
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from nhin.errors import UsageError
from nhin.models.build import build_lm
from nhin.models.config import ModelConfig, resolve

FLOAT_BYTES, STATES = 4, 4  # of a weight in training: itself, its gradient and two moments
_FREE_TABLES = 2**29


@dataclass(frozen=True, slots=True)
class ModelSize:
    """The number of weights, and the bytes of the tables that follow from the settings."""

    weights: int
    tables: int


class _NoDraws(TorchFunctionMode):
    """Draw no numbers: torch takes long over that on the meta device, where tensors hold none."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        if func in (torch.Tensor.normal_, torch.Tensor.uniform_):
            return args[0]
        return func(*args, **(kwargs or {}))


def measure_model(build: Callable[[], nn.Module]) -> ModelSize:
    """Build a model on the meta device, which takes no memory, and return its size."""
    with torch.device("meta"), _NoDraws():
        model = build()
    saved = model.state_dict().keys()
    tables = sum(table.nbytes for name, table in model.named_buffers() if name not in saved)
    return ModelSize(sum(weight.numel() for weight in model.parameters()), tables)


def measure_lm(vocab: int, config: ModelConfig) -> ModelSize:
    """Return the size of a language model from that of two blocks, since all of its blocks are alike."""
    config = resolve(config)
    one, two = (
        measure_model(lambda depth=depth: build_lm(vocab, replace(config, depth=depth)))
        for depth in (min(1, config.depth), min(2, config.depth))
    )
    more = max(0, config.depth - 2)
    return ModelSize(
        two.weights + more * (two.weights - one.weights), two.tables + more * (two.tables - one.tables)
    )


def check_training_memory(size: ModelSize, activations: int = 0) -> None:
    """Refuse to train what cannot fit into memory, before it is allocated.

    Args:
        size: The model.
        activations: The numbers that a step keeps for the gradient, at least.

    Raises:
        UsageError: It takes more than there is.
    """
    needed = FLOAT_BYTES * (STATES * size.weights + activations) + size.tables
    if needed > (available := available_memory()):
        raise UsageError(
            f"a model of {size.weights:,} weights and this batch take {needed / 2**30:,.1f} GiB at least; "
            f"there are {available / 2**30:,.1f}; choose a smaller model, context or batch"
        )


def check_tables(size: ModelSize, where: str) -> None:
    """Refuse a stranger's settings whose tables dwarf the weights that come with them.

    Raises:
        UsageError: They take over half a gibibyte, and over four times the weights.
    """
    if size.tables > max(_FREE_TABLES, STATES * FLOAT_BYTES * size.weights):
        raise UsageError(
            f"the settings in {where} need tables of {size.tables / 2**30:,.1f} GiB for "
            f"{size.weights:,} weights; its context is too long"
        )


def available_memory() -> int:
    """Return the bytes that this process may have: those of the machine, or fewer where they are limited."""
    try:
        available = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):  # Windows
        return sys.maxsize
    import resource

    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    if limit != resource.RLIM_INFINITY:
        with suppress(OSError, ValueError, IndexError):
            used = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
            limit -= used * os.sysconf("SC_PAGE_SIZE")
        available = min(available, max(0, limit))
    return available
