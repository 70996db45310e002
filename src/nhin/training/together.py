"""Several processes train one model: each takes its own batches, gradients are averaged every step.

Start them with ``torchrun --nproc-per-node 2 -m nhin train ...``. Every process holds the whole model and
the same weights; the first one logs, measures and saves. On a CPU two processes of one thread each do
more work than one process of two threads, whose threads wait for each other in every operation.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import TypeVar

import torch
from torch import distributed, nn

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Together:
    """Who this process is among those that train: ``rank`` counts from 0 to ``world`` - 1."""

    rank: int = 0
    world: int = 1

    @property
    def first(self) -> bool:
        """Whether this is the process that logs, measures and saves."""
        return self.rank == 0

    def mean_gradients(self, model: nn.Module, stop: bool) -> bool:
        """Average gradients over all processes, in place; return whether any of them was asked to stop."""
        if self.world == 1:
            return stop
        held = [p.grad for p in model.parameters() if p.grad is not None]
        flat = torch.cat([grad.flatten() for grad in held] + [torch.tensor([float(stop)])])
        distributed.all_reduce(flat)
        parts = flat[:-1].div_(self.world).split([grad.numel() for grad in held])
        for grad, part in zip(held, parts, strict=True):
            grad.copy_(part.view_as(grad))
        return bool(flat[-1] > 0)

    def deal(self, items: Iterator[T]) -> Iterator[tuple[T, T]]:
        """Deal items out in rounds, one a process; yield this process's item and the round's last one."""
        while len(group := list(islice(items, self.world))) == self.world:
            yield group[self.rank], group[-1]

    def seed(self, seed: int, step: int) -> None:
        """Let chance in a step depend on the seed, the step and the process, and on nothing before it."""
        torch.manual_seed((seed * 1_000_003 + step) * self.world + self.rank)


@contextmanager
def together() -> Iterator[Together]:
    """Join the processes that ``torchrun`` started; alone when it did not."""
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if world == 1:
        yield Together()
        return
    distributed.init_process_group("gloo")
    try:
        yield Together(distributed.get_rank(), world)
    finally:
        distributed.destroy_process_group()
