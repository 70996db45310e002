"""Data-parallel training: each process takes its own batches; gradients are averaged every step.

Start with ``torchrun --nproc-per-node 2 -m nhin train ...``. Every process holds the same weights; the first
one logs, validates and saves. On a CPU two processes of one thread are faster than one process of two
threads, which wait for each other in every operation.

An error in one process ends all. That process records its exit code in the store of the group and closes its
connections, which wakes those that wait for it; they end with the same code and say nothing.
"""

import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from itertools import islice
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor, distributed
from torch.distributed import DistError
from torch.distributed.distributed_c10d import Store
from torch.distributed.rendezvous import rendezvous

from nhin.errors import ProcessError, UsageError

T = TypeVar("T")

_JOIN_TIMEOUT = timedelta(minutes=10)
_STORE_TIMEOUT = timedelta(seconds=30)
_LOST_TIMEOUT = timedelta(seconds=3)  # a process that is lost never answers
_INTERRUPTED = 130


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
    world: int, grads: Sequence[Tensor], requests: Sequence[bool], losses: Mapping[str, Tensor]
) -> tuple[list[bool], dict[str, Tensor]]:
    """Average gradients (in place) and losses over ``world`` processes, in one all-reduce.

    Returns:
        Whether any process made each request, and the mean losses.
    """
    if world == 1:
        return list(requests), dict(losses)
    values = torch.stack(list(losses.values())).float()
    scalars = [torch.tensor(list(map(float, requests)), device=values.device), values]
    flat = torch.cat([grad.flatten().float() for grad in grads] + scalars)
    distributed.all_reduce(flat)
    *sums, counts, totals = flat.split([x.numel() for x in (*grads, *scalars)])
    for grad, total in zip(grads, sums, strict=True):
        grad.copy_(total.div_(world).view_as(grad))
    return [count > 0 for count in counts.tolist()], dict(zip(losses, totals.double() / world, strict=True))


def seed_step(seed: int, step: int, rank: int = 0, world: int = 1, part: int = 0) -> None:
    """Seed torch for one part of one process's batch in one step, whatever was drawn before."""
    if part:
        words = np.random.SeedSequence([seed, step, rank, world, part]).generate_state(1, np.uint64)
        torch.manual_seed(int(words[0]))
    else:
        torch.manual_seed((seed * 1_000_003 + step) * world + rank)


@torch.no_grad()
def broadcast_tensors(tensors: Iterable[Tensor], world: int) -> None:
    """Give every process the values of the first one's tensors, in place."""
    for tensor in tensors if world > 1 else ():
        values = tensor.contiguous()
        distributed.broadcast(values.view(torch.uint8) if values.dtype == torch.bool else values, 0)
        tensor.copy_(values)


def average_tensor(x: Tensor) -> Tensor:
    """Return the mean of a tensor over all processes, without a gradient."""
    x = x.detach().clone()
    distributed.all_reduce(x)
    return x / distributed.get_world_size()


def count_processes() -> int:
    """Return how many processes ``torchrun`` has started.

    Raises:
        UsageError: WORLD_SIZE is no number.
    """
    text = os.environ.get("WORLD_SIZE") or "1"
    if not text.isdecimal() or not (world := int(text)):
        raise UsageError(f"WORLD_SIZE is {text!r}; torchrun sets it to the number of processes")
    return world


@contextmanager
def join_process_group() -> Iterator[ProcessGroup]:
    """Join the process group of ``torchrun``, if there is one; leave it at the end if joined here.

    Raises:
        ProcessError: Another process has failed, or the others cannot be reached.
    """
    if count_processes() == 1:
        yield ProcessGroup()
        return
    if distributed.is_initialized():
        yield ProcessGroup(distributed.get_rank(), distributed.get_world_size())
        return
    store, group = _connect()
    try:
        yield group
        group.barrier()  # no process has succeeded while another may still fail
    except BaseException as why:  # noqa: BLE001 - raised again, or the error of another process is
        error = _record_failure(store, group, why)
        _leave()  # wakes those that wait for this process
        _let_others_read(store, group, _LOST_TIMEOUT if isinstance(error, ProcessError) else _STORE_TIMEOUT)
        raise error from (None if isinstance(error, ProcessError) else error.__cause__)
    finally:
        _leave()


def _leave() -> None:
    if distributed.is_initialized():
        with suppress(RuntimeError):
            distributed.destroy_process_group()


def _connect() -> tuple[Store, ProcessGroup]:
    """Meet the other processes."""
    local = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    has_gpus = torch.cuda.is_available() and torch.cuda.device_count() >= local
    if has_gpus:
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
    try:
        store, rank, world = next(rendezvous("env://", timeout=_JOIN_TIMEOUT))
        distributed.init_process_group(
            "cpu:gloo,cuda:nccl" if has_gpus else "gloo", store=store, rank=rank, world_size=world
        )
        distributed.barrier()  # none goes on, and may fail, while another still connects
    except (ValueError, RuntimeError) as why:
        raise ProcessError(f"cannot join the other processes: {str(why).splitlines()[0]}") from why
    return store, ProcessGroup(rank, world)


def _record_failure(store: Store, group: ProcessGroup, why: BaseException) -> BaseException:
    """Return the error that this process ends with: its own, if it is the first to fail."""
    lost = ProcessError("another process of this training has ended without a word; --resume continues it")
    is_lost = isinstance(why, DistError) or (isinstance(why, RuntimeError) and "gloo" in str(why))
    try:
        store.set_timeout(_STORE_TIMEOUT)
        if store.add("nhin/failures", 1) == 1:
            store.set("nhin/exit_code", str(_find_exit_code(lost if is_lost else why)))
            return lost if is_lost else why
        return ProcessError("another process of this training failed", int(store.get("nhin/exit_code")), True)
    except RuntimeError:
        # The store has ended with the first process; of those left, the next one says so.
        lost.is_reported = group.rank != 1
        return lost if is_lost else why


def _let_others_read(store: Store, group: ProcessGroup, timeout: timedelta) -> None:
    """Keep the store, which may live in the first process, until the others have read the exit code."""
    if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True":
        return  # it lives in torchrun
    with suppress(RuntimeError):
        count = store.add("nhin/left", 1)
        deadline = time.monotonic() + timeout.total_seconds()
        while group.is_first and count < group.world and time.monotonic() < deadline:
            time.sleep(0.02)
            count = store.add("nhin/left", 0)


def _find_exit_code(why: BaseException) -> int:
    """Return the exit code of a program that ends with an error."""
    if isinstance(why, KeyboardInterrupt):
        return _INTERRUPTED
    code = getattr(why, "exit_code", getattr(why, "code", 1))
    return code if isinstance(code, int) else 1
