"""The runs of a ladder: n-grams, then for every model a search for the rate and a run per seed.

Each is an ordinary run folder with a ``result.json``.
"""

import io
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

from nhin.errors import CheckpointError, Diverged
from nhin.lm.evaluate import evaluate
from nhin.lm.loading import LMRun, NGramRun, open_any_run
from nhin.lm.recipe import LMRecipe
from nhin.lm.task import LanguageModelTask, LMBatch
from nhin.lm.train_ngram import max_countable_tokens, train_ngram
from nhin.ranges import Range
from nhin.studies.files import load_dataclass, save_dataclass
from nhin.studies.ladder.plan import TRIED_RATES, LadderPlan
from nhin.studies.ladder.settings import LadderData, LadderModel, Prefix
from nhin.training.distributed import ProcessGroup
from nhin.training.logger import Log
from nhin.training.train_state import TrainState
from nhin.training.trainer import Trainer

_NAME = "result.json"
FACTOR = 3.0
MAX_EXTRA = 4


Count = Annotated[int, Range(0, 2**62)]


@dataclass(frozen=True, slots=True)
class RunResult:
    """The result of a run."""

    finished: bool  # trained to the end and evaluated; False if it was stopped
    steps: Count = 0
    parameters: Count = 0  # weights, or n-grams counted
    nats: Annotated[float | None, Range(0)] = None  # per token; None where training diverged
    bits_per_byte: Annotated[float | None, Range(0)] = None
    tokens: Count = 0  # tokens it was evaluated on
    cpu_seconds: Annotated[float, Range(0)] = 0.0  # of training alone
    spent: Annotated[float, Range(0)] = 0.0  # CPU-seconds of everything, as the budget counts them


Scores = Mapping[str, RunResult]  # by the name of the job


@dataclass(frozen=True, slots=True)
class LadderJob:
    """One run; its name is its folder."""

    name: str
    model: LadderModel | None = None  # what is trained; None for n-grams
    steps: int = 0
    rate: float = 0.0  # highest learning rate
    seed: int = 0
    order: int = 0  # of n-grams; 0 for a network
    search: bool = False  # it tries a rate, and is evaluated on the beginning of the validation split
    extra: bool = False  # its rate is beyond the planned grid


def ngram_job_name(order: int) -> str:
    """Return the name of a run of n-grams."""
    return f"lm-ngram-{order}"


def seed_job_name(model: LadderModel, seed: int) -> str:
    """Return the name of a run whose result is reported."""
    return f"{model.name}/seed-{seed}"


def iter_jobs(plan: LadderPlan, models: Sequence[LadderModel], done: Scores) -> Iterator[LadderJob]:
    """Yield every run of a ladder; the score of each must be in ``done`` before the next is asked for."""
    for order in plan.settings.orders:
        yield LadderJob(ngram_job_name(order), order=order)
    for model in models:
        yield from iter_search(plan, model, done)
        rate, _ = best_rate(plan, model, done)
        for seed in range(plan.settings.seeds):
            yield LadderJob(seed_job_name(model, seed), model, plan.steps, rate, seed)


def iter_search(plan: LadderPlan, model: LadderModel, done: Scores) -> Iterator[LadderJob]:
    """Yield the runs that try a model's rates: the planned ones, and more while the best is at an edge.

    With all scores in ``done`` it yields the same runs again.
    """
    rates = _planned_rates(plan, model, done)
    if len(rates) == 1:
        return
    jobs = {rate: _search_job(plan, model, rate) for rate in rates}
    yield from jobs.values()
    for _ in range(MAX_EXTRA):
        rates, best = sorted(jobs), _least_nats(jobs, done)
        if best == rates[0]:
            rate = _round_rate(rates[0] * rates[0] / rates[1])
        elif best == rates[-1]:
            rate = _round_rate(rates[-1] * rates[-1] / rates[-2])
        else:
            return
        jobs[rate] = replace(_search_job(plan, model, rate), extra=True)
        yield jobs[rate]


def best_rate(plan: LadderPlan, model: LadderModel, done: Scores) -> tuple[float, bool]:
    """Return the best rate that was tried, and whether it is at the edge of those."""
    jobs = {job.rate: job for job in iter_search(plan, model, done)}
    if not jobs:
        return _planned_rates(plan, model, done)[0], False
    best, rates = _least_nats(jobs, done), sorted(jobs)
    if done[jobs[best].name].nats is None:
        raise Diverged(
            f"{model.name} diverged at every rate from {rates[0]:g} to {rates[-1]:g}; give lower ones"
        )
    return best, best in (rates[0], rates[-1])


def _planned_rates(plan: LadderPlan, model: LadderModel, done: Scores) -> list[float]:
    if plan.settings.rates:
        return list(plan.settings.rates)
    middle = model.rate if model.shallower is None else best_rate(plan, model.shallower, done)[0]
    powers = range(-(TRIED_RATES // 2), TRIED_RATES - TRIED_RATES // 2)
    return [_round_rate(middle * FACTOR**power) for power in powers]


def _least_nats(jobs: Mapping[float, LadderJob], done: Scores) -> float:
    """Return the rate of least nats, the lower of equals; the lowest where all diverged."""

    def order(rate: float) -> tuple[bool, float, float]:
        nats = done[jobs[rate].name].nats
        return nats is None, nats or 0.0, rate

    return min(jobs, key=order)


def _search_job(plan: LadderPlan, model: LadderModel, rate: float) -> LadderJob:
    return LadderJob(f"{model.name}/search-{rate:g}", model, plan.search_steps, rate, search=True)


def _round_rate(rate: float) -> float:
    return float(f"{rate:.3g}")


class LadderTask(LanguageModelTask):
    """Language model training that counts CPU-seconds, also across stops, and never validates."""

    @contextmanager
    def open_batches(self, state: TrainState, group: ProcessGroup) -> Iterator[Iterator[LMBatch]]:
        """Give the batches; the CPU-seconds so far are noted before each, and so are saved with it."""
        before, begin = state.notes.get("cpu_seconds", 0.0), time.process_time()

        def note_cost(batches: Iterator[LMBatch]) -> Iterator[LMBatch]:
            for batch in batches:
                state.notes["cpu_seconds"] = before + time.process_time() - begin
                yield batch

        with super().open_batches(state, group) as batches:
            yield note_cost(batches)
            state.notes["cpu_seconds"] = before + time.process_time() - begin

    def validate(self, state: TrainState, log: Log | None, last: bool) -> bool:
        """Go on without validating."""
        return True


def run_job(job: LadderJob, data: LadderData) -> RunResult:
    """Do a run, or the rest of it; one that is finished is not repeated."""
    folder = data.out / job.name
    path = folder / _NAME
    before = load_dataclass(RunResult, path)
    if before is not None and before.finished:
        if before.nats is not None and before.steps != job.steps:
            raise CheckpointError(f"{path} is of another ladder; delete {folder}")
        return before
    begin = time.process_time() - (before.spent if before is not None else 0.0)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as why:
        raise CheckpointError(f"cannot write in {folder}: {why.strerror or why}") from why
    result = _run_ngram(job, data, folder) if job.order else _train(job, data, folder, begin)
    result = replace(result, spent=time.process_time() - begin)
    save_dataclass(path, result)
    return result


def _run_ngram(job: LadderJob, data: LadderData, folder: Path) -> RunResult:
    begin, recipe = time.process_time(), LMRecipe(ngram=job.order)
    train = Prefix(data.corpus.split("train"), max_countable_tokens(job.order))
    train_ngram(recipe, train, data.corpus.tokenizer, folder, resume=True, screen=io.StringIO())
    seconds = time.process_time() - begin
    run = open_any_run(folder)
    assert isinstance(run, NGramRun)
    cost = evaluate(run, data.eval_split).cost
    grams = sum(len(table.keys) for table in run.model.tables)
    return RunResult(True, 0, grams, cost.nats, cost.bits_per_byte, cost.tokens, seconds)


def _train(job: LadderJob, data: LadderData, folder: Path, begin: float) -> RunResult:
    """Train a network to the end, or until it is stopped, and evaluate it."""
    assert job.model is not None
    recipe = job.model.recipe_for(job.rate, job.seed, job.steps)
    trainer = Trainer(LadderTask(recipe, data.corpus), folder, io.StringIO())
    try:
        trainer.fit(resume=True)
    except Diverged:
        return _result_so_far(trainer.state, finished=True)
    state = trainer.state
    result = _result_so_far(state, finished=False)
    if state.step < job.steps:
        return result
    # Evaluation may be stopped too; its CPU time must not be counted as training then.
    save_dataclass(folder / _NAME, replace(result, spent=time.process_time() - begin))
    model = (state.model if state.ema is None else state.ema).eval()
    run = LMRun(model, data.corpus.tokenizer, recipe, job.steps)
    try:
        cost = evaluate(run, data.search_split if job.search else data.eval_split).cost
    except Diverged:
        return replace(result, finished=True)
    measured = {"nats": cost.nats, "bits_per_byte": cost.bits_per_byte, "tokens": cost.tokens}
    return replace(result, finished=True, **measured)


def _result_so_far(state: TrainState, finished: bool) -> RunResult:
    """Return the result before evaluation."""
    parameters = sum(weight.numel() for weight in state.model.parameters())
    seconds = float(state.notes.get("cpu_seconds", 0.0))
    return RunResult(finished, state.step, parameters, cpu_seconds=seconds)
