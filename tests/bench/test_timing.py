"""Laws of timing in turn, over fake clocks; nothing here judges a time."""

from itertools import pairwise

import pytest

from nhin.bench.timing import Rounds, Work, bootstrap_median, time_in_turn


class FakeClock:
    """A clock on which the call of each mechanism takes as long as is said; it keeps the order of calls."""

    def __init__(self, seconds):
        self.seconds, self.order = seconds, []

    def __call__(self, run, count):
        name = run()
        self.order += [name]
        return self.seconds[name]


def fake_works(*names, **fields):
    return {name: Work(lambda name=name: name, **fields) for name in names}


def test_a_baseline_runs_between_the_others_and_the_slow_are_timed_less_often():
    clock = FakeClock({"sdpa": 0.1, "slow": 10.0, "fast": 0.01})
    times = time_in_turn(fake_works("sdpa", "slow", "fast"), "sdpa", clock, Rounds(7, 1.0), lambda: False)
    assert {name: len(timed.seconds) for name, timed in times.items()} == {"sdpa": 7, "slow": 3, "fast": 7}
    assert all(len(timed.seconds) == len(timed.baseline) for timed in times.values())
    timed = clock.order[3:]  # after one call of each, to warm up
    slow = [i for i, name in enumerate(timed) if name == "slow"]
    assert [timed[i + 1] for i in slow] == ["sdpa"] * 3  # too old a baseline is timed again


def test_a_ratio_compares_with_the_baseline_of_its_own_round():
    drift = iter(range(1, 100))

    def clock(run, count):
        return next(drift) * {"sdpa": 1.0, "twice": 2.0}[run()]

    timed = time_in_turn(fake_works("sdpa", "twice"), "sdpa", clock, Rounds(5, 1e9), lambda: False)["twice"]
    for mine, its in zip(timed.seconds, timed.baseline, strict=True):
        assert mine == 2 * (its + 1)  # the very next call


def test_what_a_call_left_behind_is_undone_before_the_next():
    held = []
    works = {"a": Work(lambda: held.append(1), reset=held.clear)}

    def clock(run, count):
        assert not held
        run()
        return 1.0

    time_in_turn(works, None, clock, Rounds(3, 1.5), lambda: False)


def test_what_follows_a_call_that_empties_the_caches_changes_from_round_to_round():
    clock = FakeClock(dict.fromkeys("abcd", 1.0))
    time_in_turn(fake_works(*"abcd"), None, clock, Rounds(11, 1e9), lambda: False)
    timed = clock.order[4:]
    rounds = [timed[i : i + 4] for i in range(0, len(timed), 4)]
    assert all(sorted(names) == [*"abcd"] for names in rounds)
    assert {second for names in rounds for first, second in pairwise(names) if first == "a"} == {*"bcd"}


def test_a_short_call_runs_once_before_it_is_timed_several_times():
    calls = []

    def clock(run, count):
        calls.append(count)
        return 1e-3

    work = Work(lambda: calls.append("run"), reset=lambda: calls.append("reset"))
    time_in_turn({"a": work}, None, clock, Rounds(3, 1e9), lambda: False)
    assert calls == [1, "reset", 1, "reset", *["run", "reset", 5, "reset"] * 3]


def test_a_slow_first_call_does_not_take_rounds_from_the_fast_ones_that_follow():
    seconds = iter([9.0])
    clock = lambda run, count: next(seconds, 0.1)  # noqa: E731
    assert len(time_in_turn(fake_works("a"), None, clock, Rounds(7, 1.0), lambda: False)["a"].seconds) == 7


@pytest.mark.parametrize("calls", range(20))
def test_a_stop_keeps_what_has_three_rounds(calls):
    asked = iter([False] * calls + [True] * 99)
    clock = FakeClock({"sdpa": 1.0, "b": 1.0})
    times = time_in_turn(fake_works("sdpa", "b"), "sdpa", clock, Rounds(9, 99.0), lambda: next(asked))
    assert all(3 <= len(timed.seconds) <= calls for timed in times.values())
    assert bool(times) == (calls >= 10)


def test_an_interval_holds_its_median_and_narrows_to_equal_values():
    for values in ([3.0, 1.0, 2.0], [5.0] * 4, [1.0, 100.0, 2.0, 3.0, 2.5]):
        median = bootstrap_median(values)
        assert min(values) <= median.low <= median.value <= median.high <= max(values)
    assert bootstrap_median([5.0] * 4).low == bootstrap_median([5.0] * 4).high == 5.0
