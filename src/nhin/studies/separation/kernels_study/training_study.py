"""The study of training: kernels, noise, lengths and seeds, run after run; it can be stopped and resumed.

A folder holds ``settings.json``, the plan, and ``runs.jsonl``, a line for each finished run.
"""

import json
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Annotated

from nhin.config import check_fields, from_dict
from nhin.errors import CheckpointError, NhinError, UnknownName, UsageError
from nhin.files import explain_os_error
from nhin.ranges import SEED, Range
from nhin.studies.files import MAX_BYTES, check_folder, write_json
from nhin.studies.separation.config import AttentionConfig
from nhin.studies.separation.kernels_study.attention_kernels import TRAINED_KERNELS
from nhin.studies.separation.kernels_study.detectors import MAX_N, NOISY_KINDS, SIGMA, NoisyTask
from nhin.studies.separation.kernels_study.training import StudyTrainConfig, check_batch_size, train_and_test
from nhin.training.run_dir import lock_run_dir

Key = tuple[str, str, int, float, int]  # kernel, kind, n, sigma and seed: what distinguishes runs

SETTINGS, RUNS = "settings.json", "runs.jsonl"
_LEFTOVERS = {".lock", f".{SETTINGS}.new"}  # what a kill before the first run may leave
_MAX_LISTED = 100


@dataclass(frozen=True, slots=True)
class StudyPlan:
    """The settings of the study.

    Args:
        setting: The sizes and numbers of the data; its n is that of the runs over the noise.
        kernels: Keys of ``TRAINED_KERNELS``.
        kinds: Keys of ``NOISY_KINDS``.
        sigmas: The noise, in units of sqrt(ln n).
        lengths: Values of n, multiples of d - 2, run with the noise ``sigma``.
        seeds: Runs of each, from ``seed`` on.
    """

    setting: AttentionConfig = field(default_factory=lambda: AttentionConfig(n=96, d=14))
    course: StudyTrainConfig = field(default_factory=StudyTrainConfig)
    kernels: tuple[str, ...] = tuple(TRAINED_KERNELS)
    kinds: tuple[str, ...] = tuple(NOISY_KINDS)
    sigmas: tuple[Annotated[float, SIGMA], ...] = (0.1, 0.2, 0.3)
    lengths: tuple[Annotated[int, Range(2, MAX_N)], ...] = (48, 96, 192)
    sigma: Annotated[float, SIGMA] = 0.2
    seeds: Annotated[int, Range(1, 1000)] = 3
    seed: Annotated[int, Range(0, 2**62)] = 0

    def __post_init__(self) -> None:
        check_fields(self)
        for name, table in (("kernels", TRAINED_KERNELS), ("kinds", NOISY_KINDS)):
            if not getattr(self, name):
                raise UsageError(f"there are no {name}; give one at least")
            for key in getattr(self, name):
                if key not in table:
                    raise UnknownName(name[:-1], key, table)
        for name in ("kernels", "kinds", "sigmas", "lengths"):
            values = getattr(self, name)
            if len(set(values)) < len(values) or len(values) > _MAX_LISTED:
                raise UsageError(f"{name} are {values}; give each once, {_MAX_LISTED} at most")
        if not self.sigmas and not self.lengths:
            raise UsageError("there are neither sigmas nor lengths; give one at least")
        for task in self.tasks():
            check_batch_size(task, self.course)

    def tasks(self) -> list[NoisyTask]:
        """Return the tasks, those over the noise first, each once."""
        pairs = [(self.setting.n, sigma) for sigma in self.sigmas] + [(n, self.sigma) for n in self.lengths]
        return [
            NoisyTask(replace(self.setting, n=n, kind=kind), sigma)  # type: ignore[arg-type]
            for n, sigma in dict.fromkeys(pairs)
            for kind in self.kinds
        ]

    def jobs(self) -> dict[Key, NoisyTask]:
        """Return the task of every run, in order."""
        return {
            (kernel, task.setting.kind, task.setting.n, task.sigma, self.seed + number): task
            for task in self.tasks()
            for kernel in self.kernels
            for number in range(self.seeds)
        }


@dataclass(frozen=True, slots=True)
class StudyRun:
    """A finished run: accuracy and mean logistic loss in nats of the trained network on new matrices."""

    kernel: str
    kind: str
    n: Annotated[int, Range(2, MAX_N)]
    sigma: Annotated[float, SIGMA]
    seed: Annotated[int, SEED]
    accuracy: Annotated[float, Range(0, 1)]
    loss: Annotated[float, Range(0)]
    seconds: Annotated[float, Range(0)]

    def __post_init__(self) -> None:
        check_fields(self)

    @property
    def key(self) -> Key:
        """What distinguishes it from other runs of a plan."""
        return self.kernel, self.kind, self.n, self.sigma, self.seed


def run_study(
    plan: StudyPlan,
    out: Path,
    *,
    resume: bool = False,
    on_progress: Callable[[str], None] = lambda line: None,
) -> list[StudyRun]:
    """Do every run of a plan that is not finished, each on the disk before the next begins; return all.

    ``resume`` continues in a folder that holds a part of the same plan; ``on_progress`` gets a line for each.

    Raises:
        UsageError: The folder holds something else, or is in use.
        CheckpointError: The folder cannot be made or written to.
        Diverged: A loss is not finite; the runs before it are kept.
    """
    _check_study_folder(out, resume)
    jobs = plan.jobs()
    with lock_run_dir(out):
        try:
            done = _load_or_begin(plan, out)
            for number, (key, task) in enumerate(jobs.items(), 1):
                if key in done:
                    continue
                begin = time.perf_counter()
                result = train_and_test(key[0], task, plan.course, key[-1])
                done[key] = run = StudyRun(*key, *result, round(time.perf_counter() - begin, 3))
                _append_run(out / RUNS, run)
                on_progress(
                    f"{number}/{len(jobs)} {run.kernel} {run.kind} n={run.n} sigma={run.sigma:g} "
                    f"seed {run.seed}: {run.accuracy:.4f} right, {run.seconds:.1f} s"
                )
        except OSError as why:
            raise CheckpointError(f"cannot write in {out}: {why.strerror or why}") from why
    return [done[key] for key in jobs]


def _check_study_folder(out: Path, resume: bool) -> None:
    """Refuse a folder that holds something other than a study to resume."""
    check_folder(out)
    names = {path.name for path in out.iterdir()} - _LEFTOVERS if out.is_dir() else set()
    if names and SETTINGS not in names:
        raise UsageError(f"{out} holds another run, which stays as it is; choose another --out")
    if names and not resume:
        raise UsageError(f"{out} holds a study already; --resume goes on with it, another --out begins anew")


def _load_or_begin(plan: StudyPlan, out: Path) -> dict[Key, StudyRun]:
    """Save the plan, or compare it with the saved one; return the finished runs."""
    wanted = json.loads(json.dumps(asdict(plan)))
    path = out / SETTINGS
    if not path.exists():
        write_json(path, wanted)
    saved = _parse_object(path, path.read_bytes())
    if saved != wanted:
        other = sorted(name for name in wanted if saved.get(name) != wanted[name]) or ["something unknown"]
        raise UsageError(
            f"{path} is of another study: {', '.join(other)} differ; give the same settings, or another --out"
        )
    done = {run.key: run for run in _read_runs(out / RUNS)}
    if foreign := set(done) - set(plan.jobs()):
        raise UsageError(f"{out / RUNS} holds a run that is not of this study: {sorted(foreign)[0]}")
    return done


def _read_runs(path: Path) -> Iterator[StudyRun]:
    """Yield the runs of a file; a last line that was torn by a kill is dropped, from the file too."""
    if not path.exists():
        return
    if path.stat().st_size > MAX_BYTES:
        raise UsageError(f"{path} is over {MAX_BYTES >> 20} MiB, which nhin never writes")
    data = path.read_bytes()
    complete = data[: data.rfind(b"\n") + 1]
    if len(complete) < len(data):
        with explain_os_error(f"write {path}"):
            os.truncate(path, len(complete))
    for number, line in enumerate(complete.splitlines(), 1):
        where = f"{path}:{number}"
        try:
            run = from_dict(StudyRun, _parse_object(where, line), where)
        except NhinError as why:
            raise UsageError(f"{where} is torn; delete the line to have its run done again") from why
        yield run


def _parse_object(where: object, data: bytes) -> dict:
    try:
        tree = json.loads(data)
    except (ValueError, RecursionError) as why:
        raise UsageError(f"{where} is torn: {why}") from why
    if not isinstance(tree, dict):
        raise UsageError(f"{where} is torn")
    return tree


def _append_run(path: Path, run: StudyRun) -> None:
    with explain_os_error(f"write {path}"), path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(asdict(run), allow_nan=False) + "\n")
        file.flush()
        os.fsync(file.fileno())
