"""The parts of nhin replicate beyond the paper: other kernels, and training."""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from nhin.cli.output import require_torch
from nhin.ranges import Number, Range, parse_list


@Parameter(name="*")
@dataclass(frozen=True)
class StudyOptions:
    """Options of train.

    Args:
        sigmas: Of train: the noise, in units of sqrt(ln n); .1,.2,.3 when not given.
        lengths: Of train: values of n at sigma = .2, multiples of 12; 48,96,192 when not given.
        seeds: Of train: runs of each, 3 or more to compare them; 3 when not given.
        steps: Of train: steps of each run; 1200 when not given.
        resume: Of train and of ocr: continue the study in that folder.
    """

    sigmas: str | None = None
    lengths: str | None = None
    seeds: Annotated[int | None, Range(1, 1000)] = None
    steps: Annotated[int | None, Range(1, 10**6)] = None
    resume: bool = False


def test_kernels(names: tuple[str, ...], seed: int, out: Path) -> int:
    """Run the paper's test with other kernels, and report how well they separate.

    Args:
        names: Which; all when empty.
        seed: Of all samples.
        out: Folder of the results.
    """
    require_torch("kernels and training need")
    from nhin.studies.files import check_new_folder
    from nhin.studies.separation.kernels_study.kernel_report import save_report
    from nhin.studies.separation.kernels_study.kernel_test import KernelTest, measure_kernels

    test = KernelTest(names=names, seed=seed)
    check_new_folder(out)
    scores = measure_kernels(test, _print_progress)
    save_report(test, scores, out)
    sys.stdout.write((out / "kernels.md").read_text("utf-8") + f"\nall in {out}\n")
    return 0


def train_kernels(names: tuple[str, ...], seed: int, out: Path, options: StudyOptions) -> int:
    """Train the paper's network on the task with noise, kernel by kernel; about a quarter of an hour.

    Args:
        names: Kernels; all when empty.
        seed: Of the first run of each.
        out: Folder of the study; finished runs in it are not repeated.
        options: The rest.
    """
    require_torch("kernels and training need")
    from nhin.studies.separation.kernels_study.training import StudyTrainConfig
    from nhin.studies.separation.kernels_study.training_report import save_report
    from nhin.studies.separation.kernels_study.training_study import StudyPlan, run_study

    default = StudyPlan()
    plan = StudyPlan(
        course=StudyTrainConfig(default.course.steps if options.steps is None else options.steps),
        kernels=names or default.kernels,
        sigmas=_parse_option("sigmas", options.sigmas, float, default.sigmas),
        lengths=_parse_option("lengths", options.lengths, int, default.lengths),
        seeds=default.seeds if options.seeds is None else options.seeds,
        seed=seed,
    )
    runs = run_study(plan, out, resume=options.resume, on_progress=_print_progress)
    save_report(plan, runs, out)
    sys.stdout.write((out / "training.md").read_text("utf-8") + f"\nall in {out}\n")
    return 0


def _parse_option(
    name: str, text: str | None, kind: Callable[[str], Number], default: tuple[Number, ...]
) -> tuple[Number, ...]:
    if text is None:
        return default
    text = ",".join(word for word in text.split(",") if word.strip())
    return parse_list(text, kind, f"--{name} looks like {','.join(map(str, default))}") if text else ()


def _print_progress(line: str) -> None:
    sys.stderr.write(f"{line}\n")
