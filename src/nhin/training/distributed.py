"""Several processes train one model: each takes its own batches, gradients are averaged every step.

Start them with ``torchrun --nproc-per-node 2 -m nhin train ...``. Every process holds the same weights; the
first one logs, validates and saves. On a CPU two processes of one thread each do more work than one process
of two threads, whose threads wait for each other in every operation.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import TypeVar

import torch
from torch import Tensor, distributed

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class ProcessGroup:
    """Which of the training processes this is: ``rank`` counts from 0 to ``world`` - 1."""

    rank: int = 0
    world: int = 1

    @property
    def is_first(self) -> bool:
        """Whether this is the process that logs, validates and saves."""
        return self.rank == 0

    def share_threads(self, total: int) -> int:
        """Return this process's share of the threads of a machine."""
        return max(1, total // int(os.environ.get("LOCAL_WORLD_SIZE", "1"))) if self.world > 1 else total

    def barrier(self) -> None:
        """Wait until every process has come here."""
        if self.world > 1:
            distributed.barrier()

    def average(
        self, grads: Sequence[Tensor], requests: Sequence[bool], losses: Mapping[str, float]
    ) -> tuple[list[bool], dict[str, float]]:
        """Average gradients in place and losses over all processes, in one all-reduce.

        Returns:
            The requests that any process has, and the mean losses.
        """
        if self.world == 1:
            return list(requests), dict(losses)
        scalars = torch.tensor([*map(float, requests), *losses.values()])
        scalars = scalars.to(grads[0].device if grads else scalars.device)
        flat = torch.cat([grad.flatten().float() for grad in grads] + [scalars])
        distributed.all_reduce(flat)
        *sums, scalars = flat.split([grad.numel() for grad in grads] + [len(scalars)])
        for grad, total in zip(grads, sums, strict=True):
            grad.copy_(total.div_(self.world).view_as(grad))
        counts, totals = scalars.split([len(requests), len(losses)])
        means = (total / self.world for total in totals.tolist())
        return [count > 0 for count in counts.tolist()], dict(zip(losses, means, strict=True))

    def deal(self, items: Iterator[T]) -> Iterator[tuple[T, T]]:
        """Deal items out in rounds, one a process; yield this process's item and the round's last one."""
        while len(group := list(islice(items, self.world))) == self.world:
            yield group[self.rank], group[-1]

    def seed_step(self, seed: int, step: int) -> None:
        """Make chance in a step depend on the seed, the step and the process, and on nothing before it."""
        torch.manual_seed((seed * 1_000_003 + step) * self.world + self.rank)


@contextmanager
def join_process_group() -> Iterator[ProcessGroup]:
    """Join the processes that ``torchrun`` started, if it did; leave them at the end if joined here."""
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if world == 1:
        yield ProcessGroup()
        return
    if distributed.is_initialized():
        yield ProcessGroup(distributed.get_rank(), world)
        return
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
    distributed.init_process_group("cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo")
    try:
        yield ProcessGroup(distributed.get_rank(), world)
    finally:
        distributed.destroy_process_group()
