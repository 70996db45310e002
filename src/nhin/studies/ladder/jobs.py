"""The runs of a ladder in order: n-grams, then for every model a search for the rate and a run per seed."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from nhin.errors import Diverged
from nhin.studies.ladder.plan import TRIED_RATES, LadderPlan
from nhin.studies.ladder.settings import LadderModel

FACTOR = 3.0
MAX_EXTRA = 4


@dataclass(frozen=True, slots=True)
class RunResult:
    """The result of a run."""

    finished: bool  # trained to the end and evaluated; False if it was stopped
    steps: int = 0
    parameters: int = 0  # weights, or n-grams counted
    nats: float | None = None  # per token; None where training diverged
    bits_per_byte: float | None = None
    tokens: int = 0  # tokens it was evaluated on
    cpu_seconds: float = 0.0  # of training alone
    spent: float = 0.0  # CPU-seconds of everything, as the budget counts them


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
