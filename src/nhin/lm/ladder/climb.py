"""The climb: plan, run after run, and the tables at the top; stopped anywhere it goes on where it stood."""

import os
import sys
from pathlib import Path
from typing import TextIO

from nhin.errors import CheckpointError, UsageError
from nhin.files import write_atomic
from nhin.lm.ladder.files import write_json
from nhin.lm.ladder.ground import Ground, ground
from nhin.lm.ladder.jobs import Job, jobs
from nhin.lm.ladder.page import page
from nhin.lm.ladder.picture import draw
from nhin.lm.ladder.plan import TRIED, Plan, begun, planned
from nhin.lm.ladder.rungs import Rung, rungs
from nhin.lm.ladder.runs import Result, run
from nhin.lm.ladder.settings import Settings
from nhin.lm.ladder.table import Ladder, ladder
from nhin.lm.ladder.words import spoken
from nhin.lm.run_dir import is_run
from nhin.training.malloc import keep_freed_memory
from nhin.training.precision import configure_cpu
from nhin.training.run_dir import lock_run_dir
from nhin.training.signals import StopSignal, catch_stop_signals


def climb(
    settings: Settings, out: Path | str, resume: bool = False, screen: TextIO | None = None
) -> Ladder | None:
    """Climb all rungs on one text; leaves ``ladder.md``, ``ladder.json`` and ``ladder.png``.

    Ctrl-C ends it after the step at hand. A resumed climb has the results of one that was never stopped.

    Args:
        settings: What to do.
        out: The climb's folder; each run is a folder in it.
        resume: Go on with the climb in it; it begins anew where none was.
        screen: Where a line for every run goes; standard error when None.

    Returns:
        What came of it; None if it was stopped.

    Raises:
        UsageError: The budget is too small, or the folder holds something else, or is climbed in just now.
        CheckpointError: There is nothing to resume, or what is there is torn, or there is no room.
        DataError: The text is missing or too short.
        Diverged: A rung has no rate that gives numbers.
    """
    out, told = Path(out), sys.stderr if screen is None else screen
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise UsageError("one process climbs the ladder; start it without torchrun")
    _check(out, resume)
    keep_freed_memory()  # else a step costs what steps before it happened to leave
    with lock_run_dir(out), configure_cpu(settings.threads):
        stands = ground(settings, out)
        every = rungs(settings)
        plan = planned(settings, stands, every)
        done: dict[str, Result] = {}
        with catch_stop_signals() as stop:
            whole = _run(plan, every, stands, done, (stop, told))
        if not whole:
            told.write("stopped; go on with --resume\n")
            return None
        found = ladder(plan, every, stands, done)
        write_json(out / "ladder.json", found.as_tree())
        write_atomic(out / "ladder.md", page(found).encode())
        write_atomic(out / "ladder.png", draw(found))
    return found


def _check(out: Path, resume: bool) -> None:
    """Refuse a folder that is not this climb's."""
    if is_run(out):
        raise UsageError(f"{out} holds a run of one model; name another folder")
    if resume and not out.is_dir():
        raise CheckpointError(f"there is no climb in {out} to resume")
    if not resume and begun(out) is not None:
        raise UsageError(f"{out} already holds a climb; go on with --resume, or name another folder")


def _run(
    plan: Plan,
    rungs: list[Rung],
    stands: Ground,
    done: dict[str, Result],
    watching: tuple[StopSignal, TextIO],
) -> bool:
    """Do all runs, and tell of each; say whether it came to the end."""
    stop, screen = watching
    total = _expected(plan, rungs)
    for number, job in enumerate(jobs(plan, rungs, done), start=1):
        if stop.requested:
            return False
        done[job.name] = result = run(job, stands)
        total += job.wider
        if not result.finished:
            return False
        left = plan.settings.budget - plan.spent - sum(one.spent for one in done.values())
        screen.write(f"[{number}/{total}] {_told(job, result)}  {_left(left)}\n")
        screen.flush()
    return True


def _expected(plan: Plan, rungs: list[Rung]) -> int:
    """Count the runs, without those that searches may add."""
    tries = 0 if len(plan.settings.rates) == 1 else len(plan.settings.rates) or TRIED
    return len(plan.settings.orders) + len(rungs) * (tries + plan.settings.seeds)


def _told(job: Job, result: Result) -> str:
    nats = "diverged" if result.nats is None else f"{result.nats:.4f} nats"
    if job.order:
        return f"{job.name:<12}  {nats}"
    what = f"rate {job.rate:g} tried" if job.search else f"rate {job.rate:g}, seed {job.seed}"
    assert job.rung is not None
    return f"{job.rung.name:<12}  {what}: {nats}  {result.cpu_seconds:.1f} CPU-s"


def _left(seconds: float) -> str:
    return f"{spoken(seconds)} left" if seconds >= 0 else f"{spoken(-seconds)} over the budget"
