"""Training is something you iterate over: the loop takes steps, its caller logs, saves and stops."""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

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


def train(
    model: nn.Module,
    batches: Iterable[B],
    loss_of: Callable[[nn.Module, B], Mapping[str, Tensor]],
    optimizer: Optimizer,
    pace: Pace,
    average: Average[Any] | None = None,
    share: Callable[[nn.Module], None] | None = None,
) -> Iterator[tuple[Step, B]]:
    """Take one optimiser step per batch and yield what happened, with the batch.

    Args:
        model: Updated in place; put in training mode before every step.
        batches: One batch per step.
        loss_of: The mean loss of a batch as ``loss``, and its parts under other names.
        optimizer: Already holds the model's parameters.
        pace: Rate, clipping, number format.
        average: Moved after every step.
        share: Called with the model once its gradients stand, to average them with other processes.

    Yields:
        A Step and its batch; the model is consistent whenever the caller has the floor.

    Raises:
        Diverged: The loss or its gradient is not finite; the model is left as it was.
    """
    for number, batch in enumerate(batches, start=pace.done + 1):
        begin = time.perf_counter()
        rate = pace.schedule.at(number)
        for group in optimizer.param_groups:
            group["lr"] = rate
        model.train()
        optimizer.zero_grad(set_to_none=True)
        with autocast(pace.dtype):
            losses = loss_of(model, batch)
        loss = losses["loss"]
        if not torch.isfinite(loss):
            raise Diverged(f"the loss is {loss.item()} at step {number}; a lower rate or clip may help")
        loss.backward()
        if share is not None:
            share(model)
        norm = nn.utils.clip_grad_norm_(model.parameters(), pace.clip)
        if not torch.isfinite(norm):
            raise Diverged(f"the gradient's norm is {norm.item()} at step {number}; a lower rate may help")
        optimizer.step()
        if average is not None:
            average.update(model, number)
        parts = {name: value.item() for name, value in losses.items() if name != "loss"}
        yield Step(number, loss.item(), parts, norm.item(), rate, time.perf_counter() - begin), batch
