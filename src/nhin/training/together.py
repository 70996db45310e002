"""Several processes train one model: each takes its own batches, gradients are averaged every step.

Start them with ``torchrun --nproc-per-node 2 -m nhin train ...``. Every process holds the whole model and
the same weights; the first one logs, measures and saves. On a CPU two processes of one thread each do
more work than one process of two threads, whose threads wait for each other in every operation.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import TypeVar

import torch
from torch import distributed, nn
from torch.distributed.tensor import DTensor

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

    def threads(self, wanted: int) -> int:
        """Return how many threads this process should compute with: a machine's processes share them."""
        return max(1, wanted // int(os.environ.get("LOCAL_WORLD_SIZE", "1"))) if self.world > 1 else wanted

    def meet(self) -> None:
        """Wait until every process has come here."""
        if self.world > 1:
            distributed.barrier()

    def mean(
        self, model: nn.Module, wishes: Sequence[bool], losses: Mapping[str, float]
    ) -> tuple[list[bool], dict[str, float]]:
        """Average gradients over all processes, in place, and losses; grant what any of them wishes.

        Gradients that are sharded have been averaged while they were computed, and are left.

        Returns:
            The wishes that any process has, and the mean losses.
        """
        if self.world == 1:
            return list(wishes), dict(losses)
        held = [p.grad for p in model.parameters() if p.grad is not None and not isinstance(p.grad, DTensor)]
        device = next(model.parameters()).device
        said = torch.tensor([*map(float, wishes), *losses.values()], device=device)
        flat = torch.cat([grad.flatten().float() for grad in held] + [said])
        distributed.all_reduce(flat)
        *parts, said = flat.split([grad.numel() for grad in held] + [len(said)])
        for grad, part in zip(held, parts, strict=True):
            grad.copy_(part.div_(self.world).view_as(grad))
        told = said.tolist()
        means = (total / self.world for total in told[len(wishes) :])
        return [wish > 0 for wish in told[: len(wishes)]], dict(zip(losses, means, strict=True))

    def deal(self, items: Iterator[T]) -> Iterator[tuple[T, T]]:
        """Deal items out in rounds, one a process; yield this process's item and the round's last one."""
        while len(group := list(islice(items, self.world))) == self.world:
            yield group[self.rank], group[-1]

    def seed(self, seed: int, step: int) -> None:
        """Let chance in a step depend on the seed, the step and the process, and on nothing before it."""
        torch.manual_seed((seed * 1_000_003 + step) * self.world + self.rank)


@contextmanager
def together() -> Iterator[Together]:
    """Join the processes that ``torchrun`` started; alone when it did not. Joined already, stay so."""
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if world == 1:
        yield Together()
        return
    if distributed.is_initialized():
        yield Together(distributed.get_rank(), world)
        return
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
    distributed.init_process_group("cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo")
    try:
        yield Together(distributed.get_rank(), world)
    finally:
        distributed.destroy_process_group()
