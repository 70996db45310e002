"""The training loop of every workflow: steps, log, validation, checkpoints, resume.

What is trained, on which data and how it is validated is a ``Task``.
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
from torch.nn.parallel import DistributedDataParallel

from nhin.config import to_dict
from nhin.errors import CheckpointError, Diverged, UsageError
from nhin.files import write_atomic
from nhin.training import checkpoint as checkpoints
from nhin.training.agreement import check_same_checkpoint, check_same_settings
from nhin.training.checkpoint import Checkpoint
from nhin.training.config import Recipe
from nhin.training.distributed import (
    ProcessGroup,
    all_reduce_mean,
    broadcast_tensors,
    join_process_group,
    seed_step,
)
from nhin.training.ema import update_ema
from nhin.training.fsdp import full_tensor, is_dtensor, is_sharded
from nhin.training.logger import Log
from nhin.training.lr_schedule import compute_lr
from nhin.training.precision import (
    autocast,
    configure_cpu,
    configure_gpu,
    resolve_device,
    resolve_dtype,
)
from nhin.training.resume import (
    DATA,
    TRAINER_RULES,
    ResumeRules,
    compare_data,
    compare_files,
    compare_recipes,
    describe_changes,
)
from nhin.training.run_dir import lock_run_dir
from nhin.training.signals import StopSignal, catch_stop_signals
from nhin.training.train_state import TrainState


class Task(Protocol):
    """A model, its data and its loss, for a ``Trainer``.

    A batch has ``after``, the position of the next batch, and ``samples``, how many samples all processes
    take in this step. ``files`` are JSON values that a checkpoint stores by name; a resume compares them.
    ``rules`` say which settings of the recipe a resume may change.
    """

    recipe: Any  # the workflow's ``Recipe``
    files: Mapping[str, Any]
    unit: str  # the name of samples in the log
    rules: ResumeRules = TRAINER_RULES

    def hash_data(self) -> Mapping[str, str]:
        """Return a hash of each part of the training data, by its name.

        Raises:
            DataError: They cannot be read.
        """
        return {}

    def init_state(self, group: ProcessGroup) -> TrainState:
        """Build the model, its optimizer and its EMA, the same in every process."""
        ...

    def open_batches(self, state: TrainState, group: ProcessGroup) -> AbstractContextManager[Iterator[Any]]:
        """Yield an iterator over this process's batches, from the state's position on."""
        ...

    def loss(self, model: nn.Module, batch: Any) -> Mapping[str, Tensor]:
        """Return the mean loss of a batch, or of a part of it, as ``loss``, and its terms by name."""
        ...

    def split_batch(self, batch: Any) -> list[Any]:
        """Split a batch into parts of equal size, whose gradients are accumulated."""
        return [batch]

    def validate(self, state: TrainState, log: Log | None, last: bool) -> bool:
        """Evaluate the model, log the result if there is a log, and return whether to go on."""
        ...


class LossModule(nn.Module):
    """A task's loss as a forward call, which DDP needs."""

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
            (reader-small) and 1.03 (lm-fast) times the CPU time of one flat all-reduce (benchmarks/ddp.json).
            It also changes the order of summation after the first step, so that with three processes or
            more a resume would not be bit for bit.
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
        self._device = resolve_device(self.config.device).type
        self._dtype = resolve_dtype(self.config.precision, self._device)
        self._stops = self._save_due = False
        self._remarks: list[str] = []
        self.data_hashes: Mapping[str, str] = {}
        if self._device == "cuda":
            configure_gpu()
        self._saved_at, self._saved_step = time.monotonic(), -1

    def fit(self, resume: bool = False, other_data: bool = False) -> Path:
        """Train until the budget of steps is spent, validation ends the run, or a signal stops it.

        Ctrl-C ends the run after the current step and saves it. A resumed run, with the same number of
        threads, ends bit for bit like one that was never stopped.

        Args:
            resume: Continue the run in the folder; it starts from step 0 where none was saved yet.
            other_data: Continue it on other data than before, from their first batch on.

        Returns:
            The folder of the last checkpoint.

        Raises:
            UsageError: The folder holds a run and resume is off, or another process trains in it.
            CheckpointError: There is nothing to resume, a setting or the data differ that must not, or there
                is no room to save; the last checkpoint is intact.
            Diverged: The loss is not finite; the last checkpoint is intact.
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
                self.data_hashes = self.task.hash_data()
                self.start(group, resume, other_data)
                with self.task.open_batches(self.state, group) as batches:
                    if self._is_first:
                        self._open_log()
                    done = self._take_steps(batches)
                self._finish(done)
        return self.folder

    def start(
        self, group: ProcessGroup | None = None, resume: bool = False, other_data: bool = False
    ) -> TrainState:
        """Build the state of a new run, or restore the saved one; ``step`` needs it."""
        self.group = group or ProcessGroup()
        self._is_first = self.group.is_first
        files = {**self.task.files, DATA: dict(self.data_hashes)}
        check_same_settings(self.group, self.recipe, files, self._dtype)
        torch.manual_seed(self.recipe.seed)
        saved = checkpoints.load(self.folder) if resume and checkpoints.exists(self.folder) else None
        if resume:
            check_same_checkpoint(self.group, saved)
        self.state = self.task.init_state(self.group) if saved is None else self._restore(saved, other_data)
        model = self.state.model
        if not is_sharded(model):
            broadcast_tensors(model.state_dict().values(), self.group.world)
        self._ddp = None
        wants_ddp = self._device == "cuda" if self.ddp is None else self.ddp
        if wants_ddp and self.group.world > 1 and not is_sharded(model):
            self._ddp = DistributedDataParallel(LossModule(self.task, model), gradient_as_bucket_view=True)
        return self.state

    def _restore(self, saved: Checkpoint, other_data: bool) -> TrainState:
        """Build the state that a checkpoint holds, if settings and data are such as may continue it."""
        where, recipe, task = str(self.folder), self.recipe, self.task
        former, changes = compare_recipes(saved.values.get("recipe"), recipe, task.rules, where)
        compare_files(saved, task.files, where)
        self.data_hashes = self.data_hashes or task.hash_data()
        difference, is_other = compare_data(saved, self.data_hashes, where)
        if is_other and not other_data:
            raise CheckpointError(f"{difference}; give the same data, or --other-data to go on with these")
        state = task.init_state(self.group)
        state.restore(saved, where, restart_data=is_other)
        self._remarks = describe_changes(changes, former.schedule, recipe.schedule, state.step)
        if difference:
            self._remarks.append(difference + "; reading begins at their first batch" * is_other)
        return state

    def step(self, batch: Any) -> dict[str, float]:
        """Take one optimizer step.

        Returns:
            The loss, its terms by name, ``grad_norm`` before clipping, and the learning ``rate``.

        Raises:
            Diverged: The loss or its gradient is not finite; the model is left as it was.
        """
        state, number = self.state, self.state.step + 1
        rate = compute_lr(self.recipe.schedule, number)
        for group in state.optimizer.param_groups:
            group["lr"] = rate * group.get("scale", 1.0)
        state.model.train()
        state.optimizer.zero_grad(set_to_none=True)
        losses = self._average(self._backward(batch, number))
        total = full_tensor(nn.utils.clip_grad_norm_(state.model.parameters(), self.config.grad_clip))
        # Read together: a GPU is waited for once in a step.
        *values, norm = torch.stack([*losses.values(), total.double()]).tolist()
        metrics = dict(zip(losses, values, strict=True))
        if not math.isfinite(metrics["loss"]):
            raise Diverged(f"the loss is {metrics['loss']} at step {number}; a lower rate or clip may help")
        if not math.isfinite(norm):
            raise Diverged(f"the gradient's norm is {norm} at step {number}; a lower rate may help")
        state.optimizer.step()
        if state.ema is not None and self._is_first:
            update_ema(state.ema, state.model, self.config.ema_decay, number)
        state.step, state.position = number, batch.after
        return {"loss": metrics.pop("loss"), **metrics, "grad_norm": norm, "rate": rate}

    def save(self) -> None:
        """Save a checkpoint: the first process, or all of them where weights are sharded."""
        state, group = self.state, self.group
        sharded = is_sharded(state.model)
        if self._is_first or sharded:
            files = {**self.task.files, DATA: dict(self.data_hashes)}
            checkpoint = state.to_checkpoint(self.recipe, files, group.rank)
            checkpoints.save(self.folder, checkpoint, group if sharded else None)
        self._saved_at, self._saved_step = time.monotonic(), state.step

    def validate(self) -> bool:
        """Evaluate the model; return False, and request a stop, where training should end."""
        # Where weights are sharded, the first process needs the rows of all others.
        if not self._is_first and not is_sharded(self.state.model):
            return True
        go_on = self.task.validate(self.state, self.log, self.state.step == self.recipe.schedule.steps)
        self.stop.requested |= not go_on
        return go_on

    def _take_steps(self, batches: Iterator[Any]) -> bool:
        """Train until the budget is spent or any process asks to stop; return whether training is done."""
        state, budget, every = self.state, self.recipe.schedule.steps, self.config.validate_steps
        self._saved_at, go_on = time.monotonic(), True
        while state.step < budget and not self._stops:
            batch = next(batches)
            metrics = self.step(batch)
            if self.log is not None:
                self.log.step(state.step, metrics, batch.samples)
            if state.step == budget or (every and state.step % every == 0):
                go_on = self.validate()
            if self._save_due:
                self.save()
        return state.step >= budget or not go_on

    def _finish(self, done: bool) -> None:
        """Save the last step and say how the run ended."""
        step = self.state.step
        if step != self._saved_step:
            self.save()
        if self.log is not None:
            end = "finished" if done else "stopped; continue with --resume"
            self.log.say(f"step {step}: {end}; saved in {self.folder}")

    def _backward(self, batch: Any, number: int) -> dict[str, Tensor]:
        """Compute the gradients of a batch, part by part; return the mean losses."""
        totals: dict[str, Tensor] = {}
        parts = self.task.split_batch(batch)
        for i, part in enumerate(parts):
            with self._ddp.no_sync() if self._ddp and i + 1 < len(parts) else nullcontext():
                seed_step(self.recipe.seed, number, self.group.rank, self.group.world, i)
                with autocast(self._dtype, self._device):
                    losses = self._ddp(part) if self._ddp else self.task.loss(self.state.model, part)
                for name, value in losses.items():
                    value = value.detach().double() / len(parts)
                    totals[name] = totals[name] + value if name in totals else value
                (losses["loss"] / len(parts) if len(parts) > 1 else losses["loss"]).backward()
        return totals

    def _average(self, losses: dict[str, Tensor]) -> dict[str, Tensor]:
        """Average gradients and losses over all processes, which also agree here to stop and to save."""
        due = self._is_first and time.monotonic() - self._saved_at >= self.config.save_seconds
        grads = [] if self._ddp else [p.grad for p in self.state.model.parameters() if p.grad is not None]
        grads = [grad for grad in grads if not is_dtensor(grad)]  # sharded: averaged in backward
        # Not stored in self.stop: a request that arrives during the all-reduce waits for the next step.
        requests = [self.stop.requested, due]
        (self._stops, self._save_due), losses = all_reduce_mean(self.group.world, grads, requests, losses)
        return losses

    def _open_log(self) -> None:
        """Open the log, write recipe.json, and log the settings that a resume changes."""
        path, state, recipe = self.out / "recipe.json", self.state, self.recipe
        steps, every = recipe.schedule.steps, self.config.log_seconds
        log_path = self.out / "log.jsonl"
        self.log = Log(log_path, steps, state.step, every, unit=self.task.unit, screen=self.screen)
        for remark in self._remarks:
            self.log.say(remark)
        write_atomic(path, json.dumps(to_dict(recipe), ensure_ascii=False, indent=1))
        size = sum(p.numel() for p in state.model.parameters()) / 1e6
        dtype, threads = str(self._dtype).removeprefix("torch."), torch.get_num_threads()
        self.log.say(f"{size:.2f} M weights, {dtype}, {threads} threads, from step {state.step}")
