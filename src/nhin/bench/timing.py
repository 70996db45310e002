"""Time calls in turn with a baseline, and put an interval around the median."""

import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from nhin.bench.work import STEPS, Run, Work

MIN_ROUNDS = 3
_SAMPLE_SECONDS = 5e-3  # calls shorter than that are timed several at once
_SHORT_SECONDS = 5e-2  # calls shorter than that warm up twice
_BASELINE_AGE = 3.0  # the baseline runs again after so many times its own duration
_RESAMPLES = 1000

Clock = Callable[[Run, int], float]  # seconds of one call, from so many calls


@dataclass(frozen=True, slots=True)
class Median:
    """The median of some values and its bootstrap interval of 95%."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class TimedCalls:
    """Seconds of the calls of every round, and of the baseline's call nearest before each."""

    seconds: Sequence[float]
    baseline: Sequence[float]


@dataclass(frozen=True, slots=True)
class Rounds:
    """How often a call is timed: ``most`` times, fewer where that takes over ``seconds``; but 3 times."""

    most: int
    seconds: float

    def count(self, seconds: float) -> int:
        """Return the rounds of a call that takes so many seconds."""
        return max(MIN_ROUNDS, min(self.most, int(self.seconds / max(seconds, 1e-9))))


def make_clock(device: str, threads: int) -> Clock:
    """Return a clock: the processor's time for one thread, which other programs disturb least."""
    if device == "cuda":
        import torch

        return lambda run, count: _time(run, count, time.perf_counter, torch.cuda.synchronize)
    read = time.thread_time if threads == 1 else time.perf_counter
    return lambda run, count: _time(run, count, read, lambda: None)


def _time(run: Run, count: int, read: Callable[[], float], wait: Run) -> float:
    wait()
    begin = read()
    for _ in range(count):
        run()
    wait()
    return (read() - begin) / count


def _warm_up(work: Work, clock: Clock) -> tuple[int, float]:
    """Return how many calls are timed at once, and the seconds that they take."""
    seconds = clock(work.run, 1)
    work.reset()
    if seconds < _SHORT_SECONDS:  # without what only a first call sets up
        seconds = clock(work.run, 1)
        work.reset()
    count = int(min(STEPS - 1, max(1, _SAMPLE_SECONDS / max(seconds, 1e-9))))
    return count, seconds * count


def time_in_turn(
    works: Mapping[str, Work], baseline: str | None, clock: Clock, rounds: Rounds, stop: Callable[[], bool]
) -> dict[str, TimedCalls]:
    """Time calls round by round, in another order in each, the baseline between them.

    In one order, what follows a call that empties the caches would always be the slower for it: by a sixth
    where it is a decoding step. A call that is timed several times at once runs once before.

    Args:
        works: Calls by name.
        baseline: The name of one of them, with which the others are compared; None for no comparison.
        clock: Measures them.
        rounds: How often each is timed.
        stop: Asked before every call.

    Returns:
        The times by name; without those that had fewer than 3 rounds when ``stop`` said yes.
    """
    counts: dict[str, int] = {}
    fastest: dict[str, float] = {}  # seconds of a round
    for name, work in works.items():
        if stop():
            return {}
        counts[name], fastest[name] = _warm_up(work, clock)
    times: dict[str, tuple[list[float], list[float]]] = {name: ([], []) for name in works}
    reference = age = 0.0
    order, shuffle = list(works), random.Random(0).shuffle

    def run(name: str) -> float:
        if counts[name] > 1:
            works[name].run()
            works[name].reset()
        seconds = clock(works[name].run, counts[name])
        works[name].reset()
        return seconds

    def has_rounds_left(name: str) -> bool:
        return len(times[name][0]) < rounds.count(fastest[name])

    while any(map(has_rounds_left, works)) and not stop():
        is_round_new = True
        shuffle(order)
        for name in order:
            if not has_rounds_left(name):
                continue
            if stop():
                break
            if baseline is not None and (is_round_new or age > _BASELINE_AGE * counts[baseline] * reference):
                reference, age, is_round_new = run(baseline), 0.0, False
            seconds = reference if name == baseline else run(name)
            age += seconds * counts[name]
            fastest[name] = min(fastest[name], seconds * counts[name])
            times[name][0].append(seconds * works[name].scale)
            times[name][1].append(reference * (works[baseline].scale if baseline else 1))
    return {name: TimedCalls(*both) for name, both in times.items() if len(both[0]) >= MIN_ROUNDS}


def bootstrap_median(values: Sequence[float], seed: int = 0) -> Median:
    """Return the median and the interval that 95% of the medians of resamples fall into."""
    x = np.asarray(values, dtype=float)
    draws = np.random.default_rng(seed).integers(0, len(x), (_RESAMPLES, len(x)))
    low, high = np.quantile(np.median(x[draws], axis=1), (0.025, 0.975))
    return Median(float(np.median(x)), float(low), float(high))
