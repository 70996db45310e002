"""Data-parallel training: each process takes its own batches; gradients are averaged every step.

Start with ``torchrun --nproc-per-node 2 -m nhin train ...``. Every process holds the same weights; the first
one logs, validates and saves. On a CPU two processes of one thread are faster than one process of two
threads, which wait for each other in every operation.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor, distributed

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class ProcessGroup:
    """This process among all that train: ``rank`` is 0 to ``world`` - 1."""

    rank: int = 0
    world: int = 1

    @property
    def is_first(self) -> bool:
        """Whether this is the process that logs, validates and saves."""
        return self.rank == 0

    def share_threads(self, total: int) -> int:
        """Return how many of a machine's threads this process uses."""
        return max(1, total // int(os.environ.get("LOCAL_WORLD_SIZE", "1"))) if self.world > 1 else total

    def barrier(self) -> None:
        """Wait for all processes."""
        if self.world > 1:
            distributed.barrier()

    def deal(self, items: Iterator[T]) -> Iterator[tuple[T, T]]:
        """Give each process one of every ``world`` items; yield this process's and the last of them."""
        while len(group := list(islice(items, self.world))) == self.world:
            yield group[self.rank], group[-1]


def all_reduce_mean(
    world: int, grads: Sequence[Tensor], requests: Sequence[bool], losses: Mapping[str, float]
) -> tuple[list[bool], dict[str, float]]:
    """Average gradients (in place) and losses over ``world`` processes, in one all-reduce.

    Returns:
        Whether any process made each request, and the mean losses.
    """
    if world == 1:
        return list(requests), dict(losses)
    scalars = torch.tensor([*map(float, requests), *losses.values()])
    scalars = scalars.to(grads[0].device if grads else scalars.device)
    flat = torch.cat([grad.flatten().float() for grad in grads] + [scalars])
    distributed.all_reduce(flat)
    *sums, scalars = flat.split([grad.numel() for grad in grads] + [len(scalars)])
    for grad, total in zip(grads, sums, strict=True):
        grad.copy_(total.div_(world).view_as(grad))
    counts, totals = scalars.split([len(requests), len(losses)])
    means = (total / world for total in totals.tolist())
    return [count > 0 for count in counts.tolist()], dict(zip(losses, means, strict=True))


def seed_step(seed: int, step: int, rank: int = 0, world: int = 1, part: int = 0) -> None:
    """Seed torch for one part of one process's batch in one step, whatever was drawn before."""
    if part:
        words = np.random.SeedSequence([seed, step, rank, world, part]).generate_state(1, np.uint64)
        torch.manual_seed(int(words[0]))
    else:
        torch.manual_seed((seed * 1_000_003 + step) * world + rank)


@contextmanager
def join_process_group() -> Iterator[ProcessGroup]:
    """Join the process group of ``torchrun``, if there is one; leave it at the end if joined here."""
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
