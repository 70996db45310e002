"""The study of training: kernels, noise, lengths and seeds, run after run; stopped anywhere, it goes on.

A folder holds ``settings.json``, what is to be done, and ``runs.jsonl``, a line for each run that is over.
"""

import json
import math
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from nhin.config import from_dict
from nhin.errors import CheckpointError, NhinError, UnknownName, UsageError
from nhin.files import write_atomic
from nhin.replication.attention.setting import Setting
from nhin.replication.beyond.mixers import MIXERS
from nhin.replication.beyond.task import KINDS, Task
from nhin.replication.beyond.training import Course, check_size, run
from nhin.replication.bounds import finite, whole
from nhin.training.run_dir import lock_run_dir

Key = tuple[str, str, int, float, int]

SETTINGS, RUNS = "settings.json", "runs.jsonl"
_OURS = {".lock", f".{SETTINGS}.new"}  # what a kill before the first run may leave
_MOST_LISTED, _LARGEST = 100, 1 << 26


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be done.

    Args:
        setting: The sizes and numbers of the data; its n is that of the runs over the noise.
        course: How every network is trained and tried.
        kernels: Keys of ``MIXERS``.
        kinds: Keys of ``KINDS``.
        sigmas: The noise, in units of sqrt(ln n).
        lengths: Values of n, multiples of d - 2.
        sigma: The noise of the runs over n.
        seeds: Runs of each, from ``seed`` on.
        seed: The first.

    Raises:
        UsageError: A number is out of range, or something is asked for twice.
        UnknownName: There is no such kernel or kind.
    """

    setting: Setting = field(default_factory=lambda: Setting(n=96, d=14))
    course: Course = field(default_factory=Course)
    kernels: tuple[str, ...] = tuple(MIXERS)
    kinds: tuple[str, ...] = tuple(KINDS)
    sigmas: tuple[float, ...] = (0.1, 0.2, 0.3)
    lengths: tuple[int, ...] = (48, 96, 192)
    sigma: float = 0.2
    seeds: int = 3
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse what is no plan, before anything is done."""
        whole("seeds", self.seeds, 1, 1000)
        whole("seed", self.seed, 0, 2**62)
        for name, table in (("kernels", MIXERS), ("kinds", KINDS)):
            for given in getattr(self, name):
                if given not in table:
                    raise UnknownName(name[:-1], given, table)
        for name in ("kernels", "kinds", "sigmas", "lengths"):
            values = getattr(self, name)
            if len(set(values)) < len(values) or len(values) > _MOST_LISTED:
                raise UsageError(f"{name} are {values}; give each once, {_MOST_LISTED} at most")
        for name in ("kernels", "kinds"):
            if not getattr(self, name):
                raise UsageError(f"there are no {name}; give one at least")
        if not self.sigmas and not self.lengths:
            raise UsageError("there are neither sigmas nor lengths; give one at least")
        for task in self.tasks():
            check_size(task, self.course)

    def tasks(self) -> list[Task]:
        """Return the tasks, those over the noise first, each once."""
        pairs = [(self.setting.n, sigma) for sigma in self.sigmas] + [(n, self.sigma) for n in self.lengths]
        return [
            Task(replace(self.setting, n=n, kind=kind), sigma)  # type: ignore[arg-type]
            for n, sigma in dict.fromkeys(pairs)
            for kind in self.kinds
        ]

    def jobs(self) -> list[tuple[str, Task, int]]:
        """Return kernel, task and seed of every run, in the order they are done."""
        return [
            (kernel, task, self.seed + number)
            for task in self.tasks()
            for kernel in self.kernels
            for number in range(self.seeds)
        ]


@dataclass(frozen=True, slots=True)
class Run:
    """A run that is over.

    Args:
        kernel: Its kernel.
        kind: Self-attention, or the kind of cross-attention.
        n: Rows.
        sigma: Noise.
        seed: Of its weights and data.
        accuracy: How often the trained network is right.
        loss: Its mean logistic loss on the same matrices.
        seconds: It took.
    """

    kernel: str
    kind: str
    n: int
    sigma: float
    seed: int
    accuracy: float
    loss: float
    seconds: float

    def __post_init__(self) -> None:
        """Refuse what no run gives."""
        finite("accuracy", self.accuracy, 0.0, 1.0)
        finite("loss", self.loss, 0.0, math.inf)

    @property
    def key(self) -> Key:
        """What tells it from other runs of a plan."""
        return self.kernel, self.kind, self.n, self.sigma, self.seed


def study(
    plan: Plan, out: Path, *, resume: bool = False, told: Callable[[str], None] = lambda line: None
) -> list[Run]:
    """Do every run of a plan, but for those that are over.

    Args:
        plan: What is to be done.
        out: The folder; a run that is over is on the disk before the next begins.
        resume: Go on in a folder that holds a part of the same plan.
        told: Is told a line for each run.

    Returns:
        The runs in the order of the plan, however often it was stopped.

    Raises:
        UsageError: The folder holds something else, or another process is at work in it.
        CheckpointError: The folder cannot be made or written to.
        Diverged: A loss is not finite; the runs before it are kept.
    """
    _refuse(out, resume)
    with lock_run_dir(out):
        try:
            return _go_on(plan, out, told)
        except OSError as why:
            raise CheckpointError(f"cannot write in {out}: {why.strerror or why}") from why


def _go_on(plan: Plan, out: Path, told: Callable[[str], None]) -> list[Run]:
    done, jobs, runs = _begin(plan, out), plan.jobs(), []
    for number, job in enumerate(jobs, 1):
        if (key := _key(*job)) not in done:
            begin = time.perf_counter()
            kernel, task, seed = job
            result = run(kernel, task, plan.course, seed)
            seconds = round(time.perf_counter() - begin, 3)
            done[key] = Run(*key, result.accuracy, result.loss, seconds)
            _append(out / RUNS, done[key])
            told(f"{number}/{len(jobs)} {_line(done[key])}")
        runs.append(done[key])
    return runs


def _refuse(out: Path, resume: bool) -> None:
    """Refuse a place that holds what is not to be gone on with."""
    if out.is_symlink() or (out.exists() and not out.is_dir()):
        raise UsageError(f"{out} is no folder; choose another --out")
    held = {path.name for path in out.iterdir()} - _OURS if out.is_dir() else set()
    if held and SETTINGS not in held:
        raise UsageError(f"{out} holds another run, which stays as it is; choose another --out")
    if held and not resume:
        raise UsageError(f"{out} holds a study already; --resume goes on with it, another --out begins anew")


def _begin(plan: Plan, out: Path) -> dict[Key, Run]:
    """Write the settings down, or compare them with those there are; return the runs that are over."""
    wanted = json.loads(json.dumps(asdict(plan)))
    path = out / SETTINGS
    if not path.exists():
        write_atomic(path, (json.dumps(wanted, indent=1) + "\n").encode())
    found = _tree(path, path.read_bytes())
    if found != wanted:
        other = sorted(name for name in wanted if found.get(name) != wanted[name]) or ["something unknown"]
        raise UsageError(
            f"{path} is of another study: {', '.join(other)} differ; give the same settings, or another --out"
        )
    known = {_key(*job) for job in plan.jobs()}
    done = {run.key: run for run in _finished(out / RUNS)}
    if foreign := set(done) - known:
        raise UsageError(f"{out / RUNS} holds a run that is not of this study: {sorted(foreign)[0]}")
    return done


def _finished(path: Path) -> Iterator[Run]:
    """Yield the runs of a file; a last line that was torn by a kill is dropped, from the file too."""
    if not path.exists():
        return
    if path.stat().st_size > _LARGEST:
        raise UsageError(f"{path} is over {_LARGEST >> 20} MiB, which nhin never writes")
    data = path.read_bytes()
    whole_lines = data[: data.rfind(b"\n") + 1]
    if len(whole_lines) < len(data):
        os.truncate(path, len(whole_lines))
    for number, line in enumerate(whole_lines.splitlines(), 1):
        where = f"{path}:{number}"
        try:
            run = from_dict(Run, _tree(where, line), where)
        except NhinError as why:
            raise UsageError(f"{where} is torn; delete the line to have its run done again") from why
        yield run


def _tree(where: object, data: bytes) -> dict:
    try:
        tree = json.loads(data)
    except (ValueError, RecursionError) as why:
        raise UsageError(f"{where} is torn: {why}") from why
    if not isinstance(tree, dict):
        raise UsageError(f"{where} is torn")
    return tree


def _append(path: Path, run: Run) -> None:
    """Write a run down and have it on the disk."""
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(asdict(run), allow_nan=False) + "\n")
        file.flush()
        os.fsync(file.fileno())


def _key(kernel: str, task: Task, seed: int) -> Key:
    return kernel, task.setting.kind, task.setting.n, task.sigma, seed


def _line(run: Run) -> str:
    return (
        f"{run.kernel} {run.kind} n={run.n} sigma={run.sigma:g} seed {run.seed}: "
        f"{run.accuracy:.4f} right, {run.seconds:.1f} s"
    )
