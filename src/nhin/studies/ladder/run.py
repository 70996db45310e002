"""Run a ladder: the plan, run after run, and the report; it can be stopped anywhere and resumed."""

import os
import sys
from pathlib import Path
from typing import TextIO

from nhin.errors import CheckpointError, UsageError
from nhin.files import write_atomic
from nhin.format import format_duration
from nhin.lm.run_dir import is_run
from nhin.studies.files import write_json
from nhin.studies.ladder.collect import collect_results
from nhin.studies.ladder.dataset import LadderData, open_data
from nhin.studies.ladder.job_runner import RunResult, run_job
from nhin.studies.ladder.jobs import LadderJob, iter_jobs
from nhin.studies.ladder.models import LadderModel, make_models
from nhin.studies.ladder.plan import LadderPlan, count_tries, load_plan, make_plan
from nhin.studies.ladder.plot import plot_ladder
from nhin.studies.ladder.report import format_report
from nhin.studies.ladder.results import LadderResults
from nhin.studies.ladder.settings import LadderSettings
from nhin.training.precision import configure_cpu
from nhin.training.run_dir import lock_run_dir
from nhin.training.signals import StopSignal, catch_stop_signals


def run_ladder(
    settings: LadderSettings, out: Path | str, resume: bool = False, screen: TextIO | None = None
) -> LadderResults | None:
    """Train and compare all models on one text; writes ``ladder.md``, ``ladder.json`` and ``ladder.png``.

    Ctrl-C ends it after the current step. A resumed ladder has the results of one that was never stopped.

    Args:
        settings: Settings of the ladder.
        out: Its folder; each run is a folder in it.
        resume: Continue the ladder in it; begin one where there is none.
        screen: Where a line for every run is written; standard error when None.

    Returns:
        The results; None if it was stopped.

    Raises:
        UsageError: The budget is too small, or the folder holds something else or is in use.
        CheckpointError: There is nothing to resume, a file is torn, or the disk is full.
        DataError: The text is missing or too short.
        Diverged: Every learning rate of a model diverged.
    """
    out, log = Path(out), sys.stderr if screen is None else screen
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise UsageError("a ladder runs in one process; start it without torchrun")
    _check_folder(out, resume)
    with lock_run_dir(out), configure_cpu(settings.threads):
        data = open_data(settings, out)
        models = make_models(settings)
        plan = make_plan(settings, data, models)
        done: dict[str, RunResult] = {}
        with catch_stop_signals() as stop:
            finished = _run_jobs(plan, models, data, done, (stop, log))
        if not finished:
            log.write("stopped; go on with --resume\n")
            return None
        results = collect_results(plan, models, data, done)
        write_json(out / "ladder.json", results.to_dict())
        write_atomic(out / "ladder.md", format_report(results).encode())
        write_atomic(out / "ladder.png", plot_ladder(results))
    return results


def _check_folder(out: Path, resume: bool) -> None:
    """Refuse a folder that does not belong to this ladder."""
    if is_run(out):
        raise UsageError(f"{out} holds a run of one model; name another folder")
    if resume and not out.is_dir():
        raise CheckpointError(f"there is no ladder in {out} to resume")
    if not resume and load_plan(out) is not None:
        raise UsageError(f"{out} already holds a ladder; go on with --resume, or name another folder")


def _run_jobs(
    plan: LadderPlan,
    models: list[LadderModel],
    data: LadderData,
    done: dict[str, RunResult],
    control: tuple[StopSignal, TextIO],
) -> bool:
    """Do all runs and write a line for each; return False if it was stopped."""
    stop, screen = control
    # Without the runs that searches may add.
    total = len(plan.settings.orders) + len(models) * (count_tries(plan.settings) + plan.settings.seeds)
    for number, job in enumerate(iter_jobs(plan, models, done), start=1):
        if stop.requested:
            return False
        done[job.name] = result = run_job(job, data)
        total += job.extra
        if not result.finished:
            return False
        left = plan.settings.budget - plan.spent - sum(one.spent for one in done.values())
        budget = f"{format_duration(abs(left))} {'left' if left >= 0 else 'over the budget'}"
        screen.write(f"[{number}/{total}] {_log_line(job, result)}  {budget}\n")
        screen.flush()
    return True


def _log_line(job: LadderJob, result: RunResult) -> str:
    nats = "diverged" if result.nats is None else f"{result.nats:.4f} nats"
    if job.model is None:
        return f"{job.name:<12}  {nats}"
    run = f"rate {job.rate:g} tried" if job.search else f"rate {job.rate:g}, seed {job.seed}"
    return f"{job.model.name:<12}  {run}: {nats}  {result.cpu_seconds:.1f} CPU-s"
