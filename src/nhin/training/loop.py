"""Training is something you iterate over: the loop takes steps, its caller logs, saves and stops."""

import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from nhin.errors import Diverged
from nhin.training.ema import Average
from nhin.training.precision import autocast
from nhin.training.schedule import Schedule

B = TypeVar("B")


@dataclass(frozen=True, slots=True)
class Step:
    """What one optimiser step did; ``losses`` holds the parts, ``seconds`` counts computing alone."""

    number: int
    loss: float
    losses: Mapping[str, float]
    grad_norm: float
    rate: float
    seconds: float


@dataclass(frozen=True, slots=True)
class Pace:
    """How steps are taken: the rate at each, the largest gradient norm, the numbers, the last step done."""

    schedule: Schedule
    clip: float = 1.0
    dtype: torch.dtype = torch.float32
    done: int = 0


@dataclass(frozen=True, slots=True)
class How(Generic[B]):
    """What a workflow adds to a step.

    Args:
        average: Moved after every step.
        share: Called with the model and the losses once gradients stand; averages both with other processes.
        pieces: Cuts a batch into pieces of one size whose gradients are computed one after the other.
    """

    average: Average[Any] | None = None
    share: Callable[[nn.Module, Mapping[str, float]], Mapping[str, float]] | None = None
    pieces: Callable[[B], Sequence[B]] | None = None


def train(
    model: nn.Module,
    batches: Iterable[B],
    loss_of: Callable[[nn.Module, B], Mapping[str, Tensor]],
    optimizer: Optimizer,
    pace: Pace,
    how: How[B] | None = None,
) -> Iterator[tuple[Step, B]]:
    """Take one optimiser step per batch and yield what happened, with the batch.

    Args:
        model: Updated in place; put in training mode before every step.
        batches: One batch per step.
        loss_of: The mean loss of a batch, or of a piece, as ``loss``, and its parts under other names.
        optimizer: Already holds the model's parameters; a group's ``scale`` multiplies its rate.
        pace: Rate, clipping, number format.
        how: What is done besides.

    Yields:
        A Step and its batch; the model is consistent whenever the caller has the floor.

    Raises:
        Diverged: The loss or its gradient is not finite; the model is left as it was.
    """
    how = how or How()
    for number, batch in enumerate(batches, start=pace.done + 1):
        begin = time.perf_counter()
        rate = pace.schedule.at(number)
        for group in optimizer.param_groups:
            group["lr"] = rate * group.get("scale", 1.0)
        model.train()
        optimizer.zero_grad(set_to_none=True)
        losses = _gradients(model, how.pieces(batch) if how.pieces else [batch], loss_of, pace.dtype)
        if not math.isfinite(losses["loss"]):
            raise Diverged(f"the loss is {losses['loss']} at step {number}; a lower rate or clip may help")
        if how.share is not None:
            losses = how.share(model, losses)
        norm = clip(model, pace.clip)
        if not math.isfinite(norm):
            raise Diverged(f"the gradient's norm is {norm} at step {number}; a lower rate may help")
        optimizer.step()
        if how.average is not None:
            how.average.update(model, number)
        parts = {name: value for name, value in losses.items() if name != "loss"}
        yield Step(number, losses["loss"], parts, norm, rate, time.perf_counter() - begin), batch


def _gradients(
    model: nn.Module,
    pieces: Sequence[B],
    loss_of: Callable[[nn.Module, B], Mapping[str, Tensor]],
    dtype: torch.dtype,
) -> dict[str, float]:
    """Leave the mean gradient of the pieces in the model; return their mean losses."""
    totals: dict[str, float] = {}
    device = next((p.device.type for p in model.parameters()), "cpu")
    for piece in pieces:
        with autocast(dtype, device):
            losses = loss_of(model, piece)
        for name, value in losses.items():
            totals[name] = totals.get(name, 0.0) + value.item() / len(pieces)
        if not math.isfinite(totals["loss"]):
            break
        (losses["loss"] / len(pieces) if len(pieces) > 1 else losses["loss"]).backward()
    return totals


def clip(model: nn.Module, most: float) -> float:
    """Shorten the gradient to a norm of at most ``most``; return the norm it had."""
    norm = nn.utils.clip_grad_norm_(model.parameters(), most)
    # Sharded over processes, a norm is told whole only when asked.
    whole = getattr(norm, "full_tensor", None)
    return float(whole() if whole is not None else norm)
