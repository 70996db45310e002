"""The bench's arithmetic: growth, what is left out, memory. Nothing here is timed."""

import importlib.util
import sys
from pathlib import Path

import pytest
import torch

from nhin.attention.registry import MECHANISMS

HERE = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def bench(monkeypatch):
    """Load the bench as its command does: the folder of the script comes first."""
    monkeypatch.syspath_prepend(str(HERE))
    spec = importlib.util.spec_from_file_location("bench_of_attention", HERE / "attention.py")
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)
    spec.loader.exec_module(module)
    yield module
    sys.modules.pop("measuring", None)


@pytest.mark.parametrize("power", [0, 1, 1.5, 2])
def test_growth_is_read_off_the_two_longest(bench, power):
    cells = {str(n): {"ms": 3.0 * n**power} for n in (2048, 512, 8192)}
    cells["512"]["ms"] = 1e9
    assert bench.growth_exponent(cells, "ms") == power
    assert bench.growth_exponent(cells | {"16384": {"skipped": "long"}}, "ms") == power
    assert bench.growth_exponent({"512": {"ms": 1.0}}, "ms") is None


def test_what_would_take_too_long_or_too_much_is_left_out_with_the_reason(bench):
    quick = {"ms": 100.0, "peak_mb": 1.0}
    assert bench.skip_reason({}, 512) is None
    assert bench.skip_reason({"512": quick}, 4096) is None
    assert bench.skip_reason({"512": quick}, 8192) == "about 26 s"
    assert bench.skip_reason({"512": {"ms": 1.0, "peak_mb": 100.0}}, 8192) == "about 27 GB"
    linear = {"512": quick, "1024": {"ms": 200.0, "peak_mb": 2.0}}
    assert bench.skip_reason(linear, 65536) is None
    assert "shorter" in bench.skip_reason({"512": quick, "2048": {"skipped": "about 27 GB"}}, 4096)


def test_a_spread_is_median_least_and_greatest(bench):
    assert bench.summarize_ratios([3.0, 1.0, 2.0]) == {"ratio": 2.0, "min": 1.0, "max": 3.0}


def test_memory_is_the_most_that_was_held_beyond_what_is_given_and_returned(bench):
    given = torch.zeros(2**18)  # a megabyte

    def run():
        first = given + 1
        second = first.view(-1, 2) * 2  # two at once; a view is nothing of its own
        del first
        third = second.flatten() + given
        del second
        return third - 1

    assert bench.peak_memory(run, [given]) == 1.0
    assert bench.peak_memory(lambda: given.view(-1, 2).T, [given]) == 0


def test_every_promise_is_about_a_mechanism_of_the_table_or_one_to_come(bench):
    assert {t.part for t in bench.TARGETS} <= {"forward", "backward"}
    for target in bench.TARGETS:
        if target.name in MECHANISMS:
            assert "causal" in bench.build_mechanism(target.name).facts.abilities


def test_a_state_is_filled_before_its_step_is_measured(bench):
    for name in ("softmax", "window"):
        if name in MECHANISMS:
            mechanism = bench.build_mechanism(name)
            state = bench.fill_cache(mechanism, 700, bench.HEADS)
            assert state.lengths == (700,)
            step = bench.build_step(mechanism, state, bench.HEADS)
            assert step.take().shape == (1, 1, bench.HEADS, bench.WIDTH)
            step.undo()
