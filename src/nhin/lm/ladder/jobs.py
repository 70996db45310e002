"""What is to be run, in order: n-grams, then rung by rung a search for the rate and a run for every seed."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from nhin.errors import Diverged
from nhin.lm.ladder.plan import TRIED, Plan
from nhin.lm.ladder.rungs import Rung

FACTOR = 3.0
MOST_WIDER = 4


class Judged(Protocol):
    """What came of a run."""

    @property
    def nats(self) -> float | None:
        """Per token; None where training diverged."""
        ...


@dataclass(frozen=True, slots=True)
class Job:
    """One run.

    Args:
        name: Its folder.
        rung: Whose it is; None for n-grams.
        steps: How many it takes.
        rate: Its highest rate.
        seed: What chance begins from.
        order: Of n-grams; 0 for a network.
        search: It tries a rate, and is measured on the beginning of the validation split.
        wider: It tries one more than were meant to be tried.
    """

    name: str
    rung: Rung | None = None
    steps: int = 0
    rate: float = 0.0
    seed: int = 0
    order: int = 0
    search: bool = False
    wider: bool = False


def counted(order: int) -> str:
    """Return the name of a run that counts n-grams."""
    return f"lm-ngram-{order}"


def trained(rung: Rung, seed: int) -> str:
    """Return the name of a run whose result stands in the table."""
    return f"{rung.name}/seed-{seed}"


def jobs(plan: Plan, rungs: Sequence[Rung], done: Mapping[str, Judged]) -> Iterator[Job]:
    """Yield every run of a climb; what each gave must stand in ``done`` before the next is asked for.

    Raises:
        Diverged: No rate of a rung gave numbers.
    """
    for order in plan.settings.orders:
        yield Job(counted(order), order=order)
    for rung in rungs:
        yield from searches(plan, rung, done)
        rate = chosen(plan, rung, done)[0]
        for seed in range(plan.settings.seeds):
            yield Job(trained(rung, seed), rung, plan.steps, rate, seed)


def searches(plan: Plan, rung: Rung, done: Mapping[str, Judged]) -> Iterator[Job]:
    """Yield the runs that try a rung's rates: those given, and more while the best stands at an edge.

    Whoever asks again later, with all in ``done``, is given the same.
    """
    rates = _first(plan, rung, done)
    if len(rates) == 1:
        return
    jobs = {rate: _tried(plan, rung, rate) for rate in rates}
    yield from jobs.values()
    for _ in range(MOST_WIDER):
        rates, best = sorted(jobs), _best(jobs, done)
        if best == rates[0]:
            further = _rounded(rates[0] * rates[0] / rates[1])
        elif best == rates[-1]:
            further = _rounded(rates[-1] * rates[-1] / rates[-2])
        else:
            return
        jobs[further] = replace(_tried(plan, rung, further), wider=True)
        yield jobs[further]


def chosen(plan: Plan, rung: Rung, done: Mapping[str, Judged]) -> tuple[float, bool]:
    """Return the best of the rates that were tried, and whether all others lie on one side of it.

    Raises:
        Diverged: None of them gave numbers.
    """
    tried = {job.rate: job for job in searches(plan, rung, done)}
    if not tried:
        return _first(plan, rung, done)[0], False
    best, rates = _best(tried, done), sorted(tried)
    if done[tried[best].name].nats is None:
        raise Diverged(
            f"{rung.name} diverged at every rate from {rates[0]:g} to {rates[-1]:g}; give lower ones"
        )
    return best, best in (rates[0], rates[-1])


def _first(plan: Plan, rung: Rung, done: Mapping[str, Judged]) -> list[float]:
    """Return the rates to begin with."""
    if plan.settings.rates:
        return list(plan.settings.rates)
    centre = rung.rate if rung.below is None else chosen(plan, rung.below, done)[0]
    return [_rounded(centre * FACTOR**power) for power in range(-(TRIED // 2), TRIED - TRIED // 2)]


def _best(jobs: Mapping[float, Job], done: Mapping[str, Judged]) -> float:
    """Return the rate of least nats, the lower of equals; where none gave any, the lowest."""

    def order(rate: float) -> tuple[bool, float, float]:
        nats = done[jobs[rate].name].nats
        return nats is None, nats or 0.0, rate

    return min(jobs, key=order)


def _tried(plan: Plan, rung: Rung, rate: float) -> Job:
    return Job(f"{rung.name}/search-{rate:g}", rung, plan.search, rate, search=True)


def _rounded(rate: float) -> float:
    return float(f"{rate:.3g}")
