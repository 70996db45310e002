"""Train a reader: recipe -> stream -> network -> loop -> checkpoints, until the budget of steps is spent."""

import json
import time
from collections.abc import Generator, Iterator, Mapping
from contextlib import closing
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from nhin.config import as_tree, build
from nhin.data.batches import Batch, Position, batches, prefetch
from nhin.data.stream import Chunks
from nhin.errors import CheckpointError, UsageError
from nhin.image.fit import HEIGHT, tensor
from nhin.models.reader import Reader
from nhin.ocr.recipe import Recipe, brief, build_model, build_order, build_source, load_model
from nhin.ocr.validation import Held, held_out, validate
from nhin.text.charset import VIETNAMESE, Charset
from nhin.training import checkpoint as checkpoints
from nhin.training.checkpoint import Checkpoint
from nhin.training.ema import Average
from nhin.training.log import Log
from nhin.training.loop import Pace, Step
from nhin.training.loop import train as steps
from nhin.training.optimizers import adamw
from nhin.training.precision import chosen, computing
from nhin.training.run import Stop, hold, stoppable
from nhin.training.together import Together, together

_PREFETCH = 4


@dataclass(frozen=True, slots=True)
class Ready:
    """A batch as the network takes it."""

    pictures: Tensor
    ids: list[list[int]]
    after: Position


@dataclass(slots=True)
class State:
    """All that changes while training; saved whole, so that a resumed run cannot tell it was stopped."""

    model: Reader
    average: Average[Reader]
    optimizer: Optimizer
    charset: Charset
    step: int = 0
    position: Position = Position()  # noqa: RUF009 - frozen


@dataclass(frozen=True, slots=True)
class Job:
    """What stays the same while training: the recipe, the checkpoint's place, who trains, who may stop it."""

    recipe: Recipe
    place: Path
    team: Together
    stop: Stop


def train(recipe: Recipe, out: Path | str, resume: bool = False, data: Path | str | None = None) -> Path:
    """Train a reader into a run folder: recipe.json, log.jsonl and checkpoint/, the latest.

    Ctrl-C ends it after the step at hand, saved. Resuming continues bit for bit where the checkpoint
    stands; with the same number of threads, the end is the same as that of a run never stopped.

    Args:
        recipe: What to do.
        out: The run's folder; made when missing.
        resume: Continue the run in it; it begins anew where none was saved yet.
        data: Labelled crops to validate on, in any layout of ``open_crops``.

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
    with together() as team, stoppable() as stop, computing(recipe.training.threads):
        job = Job(recipe, out / "checkpoint", team, stop)
        if not team.first:
            _run(job, _begin(recipe, job.place if resume and checkpoints.exists(job.place) else None))
            return job.place
        with hold(out):
            _lead(job, resume, data)
        return job.place


def _lead(job: Job, resume: bool, data: Path | str | None) -> None:
    """Train as the process that logs, measures and saves."""
    recipe, out = job.recipe, job.place.parent
    if checkpoints.exists(job.place) and not resume:
        raise UsageError(f"{out} already holds a run; continue it with --resume, or name another folder")
    state = _begin(recipe, job.place if resume and checkpoints.exists(job.place) else None)
    log = Log(out / "log.jsonl", recipe.schedule.steps, state.step, recipe.training.log_seconds)
    _note(recipe, out, state, log)
    held = held_out(data, recipe.training.validate_crops, state.model.height) if data else None
    saved, saved_step = time.monotonic(), -1
    every, budget = recipe.training.validate_steps, recipe.schedule.steps
    for step, samples in _steps(job, state):
        log.step(step, samples)
        if held and (step.number == budget or (every and step.number % every == 0)):
            _validate(state, held, log)
        if time.monotonic() - saved >= recipe.training.save_seconds:
            checkpoints.save(job.place, _pack(recipe, state))
            saved, saved_step = time.monotonic(), step.number
    if state.step != saved_step:
        checkpoints.save(job.place, _pack(recipe, state))
    ended = "finished" if state.step >= budget else "stopped; continue with --resume"
    log.say(f"step {state.step}: {ended}; saved in {job.place}")


def _run(job: Job, state: State) -> None:
    """Train as one of the processes that only compute."""
    for _ in _steps(job, state):
        pass


def _steps(job: Job, state: State) -> Iterator[tuple[Step, int]]:
    """Take steps until the budget is spent or anybody asks to stop; yield each with its samples."""
    recipe, team = job.recipe, job.team
    training = recipe.training
    pace = Pace(recipe.schedule, training.clip, chosen(training.precision), state.step)

    def loss_of(model: nn.Module, batch: Ready) -> Mapping[str, Tensor]:
        assert isinstance(model, Reader)
        team.seed(recipe.seed, state.step + 1)
        return model.loss(batch.pictures, batch.ids)

    agreed = False

    def share(model: nn.Module) -> None:
        # Not kept in job.stop: a wish that comes while gradients are averaged is granted by all, later.
        nonlocal agreed
        agreed = team.mean_gradients(model, bool(job.stop))

    average = state.average if team.first else None
    with _chunks(recipe, state.model.height) as chunks, closing(_ready(job, state, chunks)) as stream:
        running = steps(state.model, stream, loss_of, state.optimizer, pace, average, share)
        while state.step < recipe.schedule.steps and not agreed:
            step, batch = next(running)
            state.step, state.position = step.number, batch.after
            yield step, len(batch.ids) * team.world


def _chunks(recipe: Recipe, height: int = HEIGHT) -> Chunks:
    data = recipe.data
    return Chunks(
        build_source(data),
        size=data.chunk,
        height=height,
        cache=data.cache,
        workers=data.workers,
        ahead=data.ahead,
    )


def prerender_for(recipe: Recipe, chunks: int, workers: int = 1) -> int:
    """Fill a recipe's cache with its first chunks before it is trained; see ``data.stream.prerender``."""
    from nhin.data.stream import prerender

    data = recipe.data
    if data.cache is None:
        raise UsageError("the recipe has no data.cache to fill")
    height = int(recipe.model.get("height", HEIGHT))
    return prerender(build_source(data), data.cache, chunks, workers, size=data.chunk, height=height)


def _ready(job: Job, state: State, chunks: Chunks) -> Generator[Ready, None, None]:
    """Yield this process's batches from the state's position on, made ready in a background thread."""

    def prepare(dealt: tuple[Batch, Batch]) -> Ready:
        mine, last = dealt
        ids = [state.charset.encode(text) for text in mine.texts]
        return Ready(torch.from_numpy(tensor(list(mine.pictures))), ids, last.after)

    stream = batches(chunks, build_order(job.recipe), state.position)
    return prefetch(map(prepare, job.team.deal(stream)), _PREFETCH)


def _validate(state: State, held: Held, log: Log) -> None:
    """Read the held-out crops with the mean weights and say how it went."""
    scores = validate(state.average.model, held, state.charset)
    log.event("validation", state.step, **asdict(scores))
    shown = "  ".join(f"{want}→{got}" for want, got in scores.examples)
    log.say(
        f"validation  ctc {scores.ctc:.2%}  decoder {scores.decoder:.2%}  of {scores.crops} words    {shown}"
    )


def _begin(recipe: Recipe, resumed: Path | None) -> State:
    """Return a fresh state, or the one saved."""
    torch.manual_seed(recipe.seed)
    charset = VIETNAMESE
    held = checkpoints.load(resumed) if resumed else None
    model = build_model(recipe, charset)
    if recipe.training.start and held is None:
        model.load_state_dict(load_model(Path(recipe.training.start))[0].state_dict())
    average = Average(model, recipe.training.average)
    state = State(model, average, adamw(model, recipe.schedule.rate, recipe.training.weight_decay), charset)
    if held is not None:
        _unpack(state, held, str(resumed))
    return state


def _pack(recipe: Recipe, state: State) -> Checkpoint:
    """Put everything a resume needs into a checkpoint."""
    moments, groups = checkpoints.pack_optimizer(state.optimizer)
    tensors = {
        "model": state.model.state_dict(),
        "ema": state.average.model.state_dict(),
        "optimizer": moments,
    }
    trainer = {
        "step": state.step,
        "position": asdict(state.position),
        "groups": groups,
        "random": checkpoints.pack_random(),
        "versions": {"nhin": _version("nhin"), "torch": torch.__version__},
    }
    values = {"recipe": as_tree(recipe), "charset": {"chars": state.charset.chars}, "trainer": trainer}
    return Checkpoint(tensors, values)


def _unpack(state: State, held: Checkpoint, where: str) -> None:
    """Put a saved state back."""
    try:
        trainer = held.values["trainer"]
        if held.values["charset"]["chars"] != state.charset.chars:
            raise CheckpointError(f"{where} was trained on another charset")
        state.model.load_state_dict(dict(held.tensors["model"]))
        state.average.model.load_state_dict(dict(held.tensors["ema"]))
        checkpoints.unpack_optimizer(state.optimizer, held.tensors["optimizer"], trainer["groups"])
        state.step, state.position = int(trainer["step"]), Position(**trainer["position"])
        checkpoints.unpack_random(trainer["random"])
    except (KeyError, RuntimeError, TypeError) as why:
        raise CheckpointError(f"{where} does not fit the recipe: {brief(why)}") from why


def _note(recipe: Recipe, out: Path, state: State, log: Log) -> None:
    """Write the recipe down, say what is about to happen, and what changed since the last time."""
    path = out / "recipe.json"
    now = json.loads(json.dumps(as_tree(recipe)))
    if state.step and path.exists():
        before = as_tree(build(Recipe, json.loads(path.read_text(encoding="utf-8")), str(path)))
        for name, was in _flat(json.loads(json.dumps(before))).items():
            if _flat(now).get(name) != was:
                log.say(f"{name} was {was!r}, is now {_flat(now).get(name)!r}")
    try:
        path.write_text(json.dumps(now, ensure_ascii=False, indent=1), encoding="utf-8")
    except OSError as why:
        raise CheckpointError(f"cannot write {path}: {why.strerror or why}") from why
    weights = sum(p.numel() for p in state.model.parameters())
    dtype = str(chosen(recipe.training.precision)).removeprefix("torch.")
    log.say(
        f"{weights / 1e6:.2f} M weights, {dtype}, {recipe.training.threads} threads, from step {state.step}"
    )


def _flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested settings under dotted names."""
    out: dict[str, Any] = {}
    for key, value in tree.items():
        out |= _flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return out


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "source"
