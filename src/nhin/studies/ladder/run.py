"""Run a ladder: the plan, run after run, and the report; it can be stopped anywhere and resumed."""

import math
import platform
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TextIO

import torch

from nhin.errors import CheckpointError, UsageError
from nhin.files import write_atomic
from nhin.format import format_duration
from nhin.lm.activation_memory import count_activation_bytes, fits_memory
from nhin.lm.run_dir import is_run
from nhin.models.build import build_lm
from nhin.studies.files import write_json
from nhin.studies.ladder.jobs import (
    LadderJob,
    RunResult,
    Scores,
    best_rate,
    iter_jobs,
    iter_search,
    ngram_job_name,
    run_job,
    seed_job_name,
)
from nhin.studies.ladder.plan import LadderPlan, count_tries, load_plan, make_plan
from nhin.studies.ladder.report import format_report, plot_ladder
from nhin.studies.ladder.results import LadderResults, LadderRow, check_claims, fit_lines
from nhin.studies.ladder.settings import (
    STACKS,
    LadderData,
    LadderModel,
    LadderSettings,
    make_models,
    open_data,
)
from nhin.training.distributed import count_processes
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
    if count_processes() > 1:
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
        results = _collect_results(plan, models, data, done)
        write_json(out / "ladder.json", results.to_dict())
        write_atomic(out / "ladder.md", format_report(results).encode())
        write_atomic(out / "ladder.png", plot_ladder(results))
    return results


def _check_folder(out: Path, resume: bool) -> None:
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


def _collect_results(
    plan: LadderPlan, models: Sequence[LadderModel], data: LadderData, done: Scores
) -> LadderResults:
    """Put the results of all runs together."""
    ngrams = [(order, ngram_job_name(order)) for order in plan.settings.orders]
    rows = [_make_row(name, "lm-ngram", order, [done[name]]) for order, name in ngrams]
    rows += [_model_row(model, plan, data, done) for model in models]
    stacks = {family: [row for row in rows if row.family == family] for family in STACKS}
    lines = {family: fit_lines(stack) for family, stack in stacks.items() if len(stack) > 1}
    searches = {
        model.name: {f"{job.rate:g}": done[job.name].nats for job in iter_search(plan, model, done)}
        for model in models
    }
    about = _describe(plan, data, done)
    return LadderResults(about, tuple(rows), lines, tuple(check_claims(rows, lines)), searches)


def _model_row(model: LadderModel, plan: LadderPlan, data: LadderData, done: Scores) -> LadderRow:
    results = [done[seed_job_name(model, seed)] for seed in range(plan.settings.seeds)]
    (step,) = (timed.step for timed in plan.times if timed.rung == model.name)
    rate, edge = best_rate(plan, model, done)
    measured = {"ms": 1000 * step, "memory": _measure_memory(model, data), "rate": rate, "edge": edge}
    return _make_row(model.name, model.family, model.depth, results, **measured)


def _make_row(name: str, family: str, depth: int, results: Sequence[RunResult], **measured: Any) -> LadderRow:
    bits = [result.bits_per_byte for result in results if result.bits_per_byte is not None]
    return LadderRow(
        rung=name,
        family=family,
        depth=depth,
        parameters=results[0].parameters,
        nats=tuple(result.nats for result in results),
        bits_per_byte=math.fsum(bits) / len(bits) if len(bits) == len(results) else None,
        cpu_seconds=math.fsum(result.cpu_seconds for result in results) / len(results),
        **measured,
    )


def _measure_memory(model: LadderModel, data: LadderData) -> int | None:
    """Measure the bytes of activations that one sequence keeps for the gradient."""
    vocab, config = data.corpus.tokenizer.vocab, model.recipe.model
    if not fits_memory(vocab, config, config.context):
        return None
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = build_lm(vocab, config).train()
        return count_activation_bytes(network, torch.randint(vocab, (1, config.context)))


def _describe(plan: LadderPlan, data: LadderData, done: Scores) -> dict[str, Any]:
    settings, corpus = plan.settings, data.corpus
    source = corpus.manifest.source.name
    sizes = ("dim", "heads", "context", "batch", "seeds", "threads")
    return {
        # Not the path, which is different on every machine.
        "text": source if source.startswith("hf:") else Path(source).name,
        "tokenizer": corpus.tokenizer.name,
        "vocab": corpus.tokenizer.vocab,
        "trained_on": len(corpus.split("train")),
        "split": data.split,
        **{name: getattr(settings, name) for name in sizes},
        "steps": plan.steps,
        "tokens": plan.steps * settings.batch * settings.context,
        "rounds": len(plan.times[0].seconds),
        "budget": settings.budget,
        "machine": f"{platform.machine()}, torch {torch.__version__}, float32",
        "measured_tokens": max((one.tokens for name, one in done.items() if "search" not in name), default=0),
        "spent": round(plan.spent + sum(result.spent for result in done.values()), 1),
    }
