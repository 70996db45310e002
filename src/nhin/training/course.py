"""The course of a run: steps, a log, checkpoints now and then, and an end that can be resumed.

One course serves every workflow; what it trains, on what and how it is judged, is a ``Task``.
"""

import json
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TextIO

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from nhin.config import from_dict, to_dict
from nhin.errors import CheckpointError, UsageError
from nhin.training import checkpoint as checkpoints
from nhin.training.ema import Average
from nhin.training.keeping import pack, sharded, unpack
from nhin.training.log import Log
from nhin.training.loop import How, Pace, Step
from nhin.training.loop import train as steps
from nhin.training.precision import Precision, chosen, computing
from nhin.training.run import Stop, hold, stoppable
from nhin.training.schedule import Schedule
from nhin.training.together import Together, together


@dataclass(slots=True)
class Progress:
    """All that changes while training; saved whole, so that a resumed run cannot tell it was stopped.

    ``position`` is a frozen dataclass of numbers: where the stream of batches stands. ``notes`` are what the
    task remembers, fit for JSON.
    """

    model: Any
    average: Average[Any] | None
    optimizer: Optimizer
    position: Any
    step: int = 0
    notes: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Pacing:
    """How a run goes, whatever is trained; times are in seconds."""

    schedule: Schedule
    seed: int = 0
    clip: float = 1.0
    precision: Precision = "auto"
    threads: int = 2
    save_seconds: float = 180.0
    log_seconds: float = 10.0
    validate_steps: int = 1000
    unit: str = "crops"


class Ready(Protocol):
    """A batch as a network takes it."""

    @property
    def after(self) -> Any:
        """Where the stream stands after it."""
        ...

    @property
    def samples(self) -> int:
        """How many samples all processes together take in this step."""
        ...


class Task(Protocol):
    """What is trained: everything that a course does not know by itself."""

    recipe: Any
    pacing: Pacing
    files: Mapping[str, Any]  # JSON that a checkpoint holds beside, by name; the same when resumed

    def begin(self, team: Together) -> Progress:
        """Build a fresh model and all that trains it; every process builds the same."""
        ...

    def batches(self, progress: Progress, team: Together) -> AbstractContextManager[Iterator[Any]]:
        """Yield this process's batches from the progress' position on."""
        ...

    def loss(self, model: nn.Module, batch: Any) -> Mapping[str, Tensor]:
        """Return the mean loss of a batch, or of a piece of it."""
        ...

    def pieces(self, batch: Any) -> list[Any]:
        """Cut a batch into pieces whose gradients are computed one after the other."""
        ...

    def validate(self, progress: Progress, log: Log | None, last: bool) -> bool:
        """Measure the model, tell the log if there is one, and return whether training should go on."""
        ...


@dataclass(frozen=True, slots=True)
class Job:
    """What stays the same while training: the task, the checkpoint's place, who trains, stops and is told."""

    task: Task
    place: Path
    team: Together
    stop: Stop
    screen: TextIO | None = None


def follow(task: Task, out: Path | str, resume: bool = False, screen: TextIO | None = None) -> Path:
    """Train into a run folder: recipe.json, log.jsonl and checkpoint/, the latest.

    Ctrl-C ends it after the step at hand, saved. Resuming continues bit for bit where the checkpoint
    stands; with the same number of threads, the end is the same as that of a run never stopped.

    Args:
        task: What to train.
        out: The run's folder; made when missing.
        resume: Continue the run in it; it begins anew where none was saved yet.
        screen: Where the readable lines go; standard error when None.

    Returns:
        The folder of the last checkpoint.

    Raises:
        UsageError: The folder holds a run and resume is off, or another process trains in it.
        CheckpointError: There is nothing to resume, or no room to save; what was saved is intact.
        Diverged: The loss stopped being a number; the last checkpoint is untouched.
    """
    out = Path(out)
    if resume and not out.is_dir():
        raise CheckpointError(f"there is no run in {out} to resume")
    with together() as team, stoppable() as stop, computing(team.threads(task.pacing.threads)):
        job = Job(task, out / "checkpoint", team, stop, screen)
        if not team.first:
            _follow(job, _begin(job, resume))
            return job.place
        with hold(out):
            _lead(job, resume)
        return job.place


def _lead(job: Job, resume: bool) -> None:
    """Train as the process that logs, measures and saves."""
    task, out, pacing = job.task, job.place.parent, job.task.pacing
    if checkpoints.exists(job.place) and not resume:
        raise UsageError(f"{out} already holds a run; continue it with --resume, or name another folder")
    progress = _begin(job, resume)
    budget = pacing.schedule.steps
    path, every = out / "log.jsonl", pacing.log_seconds
    log = Log(path, budget, progress.step, every, unit=pacing.unit, screen=job.screen)
    _note(job, progress, log)
    go_on = True
    for step, samples in _steps(job, progress):
        log.step(step, samples)
        if _measured(pacing, step.number):
            go_on = task.validate(progress, log, step.number == budget)
            if not go_on:
                job.stop.asked = True
    done = progress.step >= budget or not go_on
    log.say(
        f"step {progress.step}: {'finished' if done else 'stopped; continue with --resume'}; "
        f"saved in {job.place}"
    )


def _follow(job: Job, progress: Progress) -> None:
    """Train as a process that only computes."""
    task, pacing = job.task, job.task.pacing
    for step, _ in _steps(job, progress):
        # Of sharded weights this process holds a part that the first one needs.
        if sharded(progress) and _measured(pacing, step.number):
            job.stop.asked |= not task.validate(progress, None, step.number == pacing.schedule.steps)


def _measured(pacing: Pacing, step: int) -> bool:
    """Say whether the model is measured after a step."""
    every = pacing.validate_steps
    return step == pacing.schedule.steps or bool(every and step % every == 0)


def _steps(job: Job, progress: Progress) -> Iterator[tuple[Step, int]]:
    """Take steps until the budget is spent or anybody asks to stop; yield each with its samples."""
    task, team, pacing = job.task, job.team, job.task.pacing
    pace = Pace(pacing.schedule, pacing.clip, chosen(pacing.precision), progress.step)
    stop = save = False
    saved_at, saved_step = time.monotonic(), -1

    def loss_of(model: nn.Module, batch: Any) -> Mapping[str, Tensor]:
        team.seed(pacing.seed, progress.step + 1)
        return task.loss(model, batch)

    def share(model: nn.Module, losses: Mapping[str, float]) -> Mapping[str, float]:
        # Not kept in job.stop: a wish that comes while gradients are averaged is granted by all, later.
        nonlocal stop, save
        due = team.first and time.monotonic() - saved_at >= pacing.save_seconds
        (stop, save), shared = team.mean(model, [bool(job.stop), due], losses)
        return shared

    how = How(progress.average if team.first else None, share, task.pieces)
    with task.batches(progress, team) as stream:
        running = steps(progress.model, stream, loss_of, progress.optimizer, pace, how)
        while progress.step < pacing.schedule.steps and not stop:
            step, batch = next(running)
            progress.step, progress.position = step.number, batch.after
            yield step, batch.samples
            if save:
                keep(job, progress)
                saved_at, saved_step = time.monotonic(), progress.step
    if progress.step != saved_step:
        keep(job, progress)


def keep(job: Job, progress: Progress) -> None:
    """Save a checkpoint: the first process does, or all of them where weights are sharded."""
    task, team = job.task, job.team
    apart = sharded(progress)
    if team.first or apart:
        writer = checkpoints.Writer(team.rank, team.world, team.meet) if apart else None
        checkpoints.save(job.place, pack(task.recipe, progress, task.files, team.rank), writer)


def _begin(job: Job, resume: bool) -> Progress:
    """Return a fresh progress, or the one saved."""
    torch.manual_seed(job.task.pacing.seed)
    progress = job.task.begin(job.team)
    if resume and checkpoints.exists(job.place):
        unpack(progress, checkpoints.load(job.place), job.task.files, str(job.place))
    return progress


def _note(job: Job, progress: Progress, log: Log) -> None:
    """Write the recipe down, say what is about to happen, and what changed since the last time."""
    recipe, path, pacing = job.task.recipe, job.place.parent / "recipe.json", job.task.pacing
    now = json.loads(json.dumps(to_dict(recipe)))
    if progress.step and path.exists():
        before = to_dict(from_dict(type(recipe), json.loads(path.read_text(encoding="utf-8")), str(path)))
        for name, was in flat(json.loads(json.dumps(before))).items():
            if flat(now).get(name) != was:
                log.say(f"{name} was {was!r}, is now {flat(now).get(name)!r}")
    try:
        path.write_text(json.dumps(now, ensure_ascii=False, indent=1), encoding="utf-8")
    except OSError as why:
        raise CheckpointError(f"cannot write {path}: {why.strerror or why}") from why
    weights = sum(p.numel() for p in progress.model.parameters())
    dtype = str(chosen(pacing.precision)).removeprefix("torch.")
    log.say(
        f"{weights / 1e6:.2f} M weights, {dtype}, {torch.get_num_threads()} threads, "
        f"from step {progress.step}"
    )


def flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested settings under dotted names."""
    out: dict[str, Any] = {}
    for key, value in tree.items():
        out |= flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return out
