"""What nhin replicate does beyond the paper: other kernels, and training."""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from cyclopts import Parameter

from nhin.errors import MissingExtra, UsageError

Number = TypeVar("Number", int, float)


@Parameter(name="*")
@dataclass(frozen=True)
class Training:
    """What is trained.

    Args:
        sigmas: Of train: the noise, in units of sqrt(ln n); .1,.2,.3 when not given.
        lengths: Of train: values of n at sigma = .2, multiples of 12; 48,96,192 when not given.
        seeds: Of train: runs of each, 3 or more to tell anything; 3 when not given.
        steps: Of train: steps of each run; 1200 when not given.
        resume: Of train: go on with the study in that folder.
    """

    sigmas: str | None = None
    lengths: str | None = None
    seeds: int | None = None
    steps: int | None = None
    resume: bool = False


def kernels(names: tuple[str, ...], seed: int, out: Path) -> int:
    """Put kernels to the paper's test, and write down how well they separate.

    Args:
        names: Which; all when empty.
        seed: Of all that is drawn.
        out: Folder of the results.
    """
    _need_torch()
    from nhin.replication.beyond.trial import Trial, measure
    from nhin.replication.beyond.trial_page import save
    from nhin.replication.folder import refuse

    trial = Trial(names=names, seed=seed)
    refuse(out)
    points = measure(trial, _told)
    save(trial, points, out)
    sys.stdout.write((out / "kernels.md").read_text("utf-8") + f"\nall in {out}\n")
    return 0


def train(names: tuple[str, ...], seed: int, out: Path, training: Training) -> int:
    """Train the paper's network on the task with noise, kernel by kernel; about a quarter of an hour.

    Args:
        names: Kernels; all when empty.
        seed: Of the first run of each.
        out: Folder of the study; what is over in it is not done again.
        training: The rest.
    """
    _need_torch()
    from nhin.replication.beyond.study import Plan, study
    from nhin.replication.beyond.study_page import save
    from nhin.replication.beyond.training import Course

    usual = Plan()
    plan = Plan(
        course=Course(usual.course.steps if training.steps is None else training.steps),
        kernels=names or usual.kernels,
        sigmas=_several("sigmas", training.sigmas, float, usual.sigmas),
        lengths=_several("lengths", training.lengths, int, usual.lengths),
        seeds=usual.seeds if training.seeds is None else training.seeds,
        seed=seed,
    )
    runs = study(plan, out, resume=training.resume, told=_told)
    save(plan, runs, out)
    sys.stdout.write((out / "training.md").read_text("utf-8") + f"\nall in {out}\n")
    return 0


def _several(
    name: str, words: str | None, kind: Callable[[str], Number], usual: tuple[Number, ...]
) -> tuple[Number, ...]:
    """Read numbers such as 48,96."""
    if words is None:
        return usual
    try:
        return tuple(kind(word) for word in words.split(",") if word.strip())
    except ValueError:
        look = ",".join(map(str, usual))
        raise UsageError(f"--{name} looks like {look}, not {words[:40]!r}") from None


def _told(line: str) -> None:
    sys.stderr.write(f"{line}\n")


def _need_torch() -> None:
    try:
        import torch  # noqa: F401 - asked for before anything that needs it, to say how to get it
    except ImportError as why:
        raise MissingExtra("kernels and training need PyTorch: pip install 'nhin[torch]'") from why
