"""The trainer: steps, a log, checkpoints now and then, and an end that can be resumed.

One trainer serves every workflow; what it trains, on what and how it is validated, is a ``Task``.
"""

import json
import math
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, Protocol, TextIO

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor
from torch.nn.parallel import DistributedDataParallel

from nhin.config import from_dict, to_dict
from nhin.errors import CheckpointError, Diverged, UsageError
from nhin.files import write_atomic
from nhin.training import checkpoint as checkpoints
from nhin.training.config import Recipe
from nhin.training.distributed import ProcessGroup, join_process_group
from nhin.training.fsdp import full_tensor, is_sharded
from nhin.training.logger import Log
from nhin.training.precision import autocast, configure_cpu, resolve_dtype
from nhin.training.run_dir import lock_run_dir
from nhin.training.signals import StopSignal, catch_stop_signals
from nhin.training.train_state import StepStats, TrainState


class Task(Protocol):
    """What is trained: everything that a trainer does not know by itself.

    A batch has ``after``, the position of the next one, and ``samples``, how many all processes take in
    this step. ``files`` are JSON that a checkpoint holds by name, and a resumed one must hold alike.
    """

    recipe: Any  # the workflow's ``Recipe``
    files: Mapping[str, Any]
    unit: str  # what samples are called

    def init_state(self, group: ProcessGroup) -> TrainState:
        """Build a fresh model and all that trains it; every process builds the same."""
        ...

    def open_batches(self, state: TrainState, group: ProcessGroup) -> AbstractContextManager[Iterator[Any]]:
        """Yield this process's batches from the state's position on."""
        ...

    def loss(self, model: nn.Module, batch: Any) -> Mapping[str, Tensor]:
        """Return the mean loss of a batch or a part of it as ``loss``, and its terms under other names."""
        ...

    def split_batch(self, batch: Any) -> list[Any]:
        """Split a batch into parts of one size whose gradients are accumulated."""
        return [batch]

    def validate(self, state: TrainState, log: Log | None, last: bool) -> bool:
        """Measure the model, log it if there is a log, and return whether training should go on."""
        ...


class LossModule(nn.Module):
    """A task's loss as a forward call, where DDP watches the use of weights."""

    def __init__(self, task: Task, model: nn.Module) -> None:
        super().__init__()
        self.model, self._task = model, task

    def forward(self, batch: Any) -> dict[str, Tensor]:
        """Return the losses of a batch."""
        return dict(self._task.loss(self.model, batch))


class Trainer:
    """Trains a task into a run folder: recipe.json, log.jsonl and checkpoint/, the latest.

    Args:
        task: What to train.
        out: The run's folder; made when missing.
        screen: Where the readable lines go; standard error when None.
        ddp: Whether several processes average gradients through DDP; None: on a GPU. On a CPU DDP takes 1.01
            (reader-small) and 1.03 (lm-fast) times the CPU-time of one flat all-reduce (benchmarks/ddp.json).
            DDP also sums in another order from the second step on, so that with three processes or more a
            resume would not be bit for bit; the flat sum has one order.
    """

    def __init__(
        self, task: Task, out: Path | str = "", screen: TextIO | None = None, *, ddp: bool | None = None
    ) -> None:
        self.task = task
        self.recipe: Recipe = task.recipe
        self.config = self.recipe.training
        self.out, self.screen, self.ddp = Path(out), screen, ddp
        self.folder = self.out / "checkpoint"
        self.stop = StopSignal()
        self.log: Log | None = None
        self._dtype = resolve_dtype(self.config.precision)
        self._stops = self._save_due = False
        self._saved_at, self._saved_step = time.monotonic(), -1

    def fit(self, resume: bool = False) -> Path:
        """Train until the budget of steps is spent, validation ends it, or a signal stops it.

        Ctrl-C ends it after the step at hand, saved. Resuming continues bit for bit from the checkpoint;
        with the same number of threads, the end is the same as that of a run never stopped.

        Args:
            resume: Continue the run in the folder; it begins anew where none was saved yet.

        Returns:
            The folder of the last checkpoint.

        Raises:
            UsageError: The folder holds a run and resume is off, or another process trains in it.
            CheckpointError: There is nothing to resume, or no room to save; what was saved is intact.
            Diverged: The loss is not finite; the last checkpoint is untouched.
        """
        if resume and not self.out.is_dir():
            raise CheckpointError(f"there is no run in {self.out} to resume")
        with join_process_group() as group, catch_stop_signals() as self.stop:
            lock = lock_run_dir(self.out) if group.is_first else nullcontext()
            with configure_cpu(group.share_threads(self.config.threads)), lock:
                if group.is_first and not resume and checkpoints.exists(self.folder):
                    raise UsageError(
                        f"{self.out} already holds a run; continue it with --resume, or name another folder"
                    )
                self.start(group, resume)
                if group.is_first:
                    self._open_log()
                self._take_steps()
        return self.folder

    def start(self, group: ProcessGroup | None = None, resume: bool = False) -> TrainState:
        """Build the state of a fresh run, or restore the one saved; ``step`` needs one."""
        self.group = group or ProcessGroup()
        torch.manual_seed(self.recipe.seed)
        self.state = self.task.init_state(self.group)
        if resume and checkpoints.exists(self.folder):
            self.state.restore(checkpoints.load(self.folder), self.task.files, str(self.folder))
        model = self.state.model
        self._device = next((p.device.type for p in model.parameters()), "cpu")
        self._ddp = None
        wants_ddp = self._device == "cuda" if self.ddp is None else self.ddp
        if wants_ddp and self.group.world > 1 and not is_sharded(model):
            self._ddp = DistributedDataParallel(LossModule(self.task, model), gradient_as_bucket_view=True)
        return self.state

    def step(self, batch: Any) -> StepStats:
        """Take one optimizer step.

        Raises:
            Diverged: The loss or its gradient is not finite; the model is left as it was.
        """
        state, number = self.state, self.state.step + 1
        rate = self.recipe.schedule.at(number)
        for group in state.optimizer.param_groups:
            group["lr"] = rate * group.get("scale", 1.0)
        state.model.train()
        state.optimizer.zero_grad(set_to_none=True)
        losses = self._average(self._backward(batch, number))
        norm = nn.utils.clip_grad_norm_(state.model.parameters(), self.config.clip)
        norm = float(full_tensor(norm))
        if not math.isfinite(norm):
            raise Diverged(f"the gradient's norm is {norm} at step {number}; a lower rate may help")
        state.optimizer.step()
        if state.ema is not None and self.group.is_first:
            state.ema.update(state.model, number)
        state.step, state.position = number, batch.after
        return StepStats(number, losses.pop("loss"), losses, norm, rate)

    def save(self) -> None:
        """Save a checkpoint: the first process does, or all of them where weights are sharded."""
        state, group = self.state, self.group
        sharded = is_sharded(state.model)
        if group.is_first or sharded:
            writer = checkpoints.ShardWriter(group.rank, group.world, group.barrier) if sharded else None
            checkpoint = state.to_checkpoint(self.recipe, self.task.files, group.rank)
            checkpoints.save(self.folder, checkpoint, writer)
        self._saved_at, self._saved_step = time.monotonic(), state.step

    def validate(self) -> bool:
        """Measure the model; request a stop, and return False, where training should not go on."""
        # Of sharded weights every process holds rows that the first one needs.
        if not self.group.is_first and not is_sharded(self.state.model):
            return True
        go_on = self.task.validate(self.state, self.log, self.state.step == self.recipe.schedule.steps)
        self.stop.requested |= not go_on
        return go_on

    def _take_steps(self) -> None:
        """Train until the budget is spent or any process asks to stop."""
        state, budget, every = self.state, self.recipe.schedule.steps, self.config.validate_steps
        self._saved_at, go_on = time.monotonic(), True
        with self.task.open_batches(state, self.group) as batches:
            while state.step < budget and not self._stops:
                batch = next(batches)
                stats = self.step(batch)
                if self.log is not None:
                    self.log.step(stats, batch.samples)
                if state.step == budget or (every and state.step % every == 0):
                    go_on = self.validate()
                if self._save_due:
                    self.save()
        if state.step != self._saved_step:
            self.save()
        if self.log is not None:
            done = state.step >= budget or not go_on
            self.log.say(
                f"step {state.step}: {'finished' if done else 'stopped; continue with --resume'}; "
                f"saved in {self.folder}"
            )

    def _backward(self, batch: Any, number: int) -> dict[str, float]:
        """Leave the mean gradient of a batch's parts in the model; return their mean losses."""
        totals: dict[str, float] = {}
        parts = self.task.split_batch(batch)
        for part in parts:
            with self._ddp.no_sync() if self._ddp and part is not parts[-1] else nullcontext():
                self.group.seed_step(self.recipe.seed, number)
                with autocast(self._dtype, self._device):
                    losses = self._ddp(part) if self._ddp else self.task.loss(self.state.model, part)
                for name, value in losses.items():
                    totals[name] = totals.get(name, 0.0) + value.item() / len(parts)
                if not math.isfinite(loss := totals["loss"]):
                    raise Diverged(f"the loss is {loss} at step {number}; a lower rate or clip may help")
                (losses["loss"] / len(parts) if len(parts) > 1 else losses["loss"]).backward()
        return totals

    def _average(self, losses: dict[str, float]) -> dict[str, float]:
        """Average gradients and losses over all processes, which agree here to stop and to save."""
        due = self.group.is_first and time.monotonic() - self._saved_at >= self.config.save_seconds
        grads = [] if self._ddp else [p.grad for p in self.state.model.parameters() if p.grad is not None]
        grads = [grad for grad in grads if not isinstance(grad, DTensor)]  # sharded: averaged in backward
        # Not kept in self.stop: a request that comes while gradients are averaged is granted by all, later.
        (self._stops, self._save_due), losses = self.group.average(grads, [self.stop.requested, due], losses)
        return losses

    def _open_log(self) -> None:
        """Open the log, write the recipe, and say what is about to happen and what changed since."""
        path, state, recipe = self.out / "recipe.json", self.state, self.recipe
        self.log = Log(
            self.out / "log.jsonl",
            recipe.schedule.steps,
            state.step,
            self.config.log_seconds,
            unit=self.task.unit,
            screen=self.screen,
        )
        now = json.loads(json.dumps(to_dict(recipe)))
        if state.step and path.exists():
            before = to_dict(from_dict(type(recipe), json.loads(path.read_text(encoding="utf-8")), str(path)))
            settings = flatten_settings(now)
            for name, was in flatten_settings(json.loads(json.dumps(before))).items():
                if settings.get(name) != was:
                    self.log.say(f"{name} was {was!r}, is now {settings.get(name)!r}")
        write_atomic(path, json.dumps(now, ensure_ascii=False, indent=1))
        weights = sum(p.numel() for p in state.model.parameters())
        dtype = str(self._dtype).removeprefix("torch.")
        self.log.say(
            f"{weights / 1e6:.2f} M weights, {dtype}, {torch.get_num_threads()} threads, "
            f"from step {state.step}"
        )


def flatten_settings(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested settings under dotted names."""
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        name = f"{prefix}{key}"
        flat |= flatten_settings(value, f"{name}.") if isinstance(value, Mapping) else {name: value}
    return flat
