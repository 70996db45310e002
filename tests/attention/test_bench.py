"""The bench's arithmetic: growth, and cells made from rows. Nothing here is timed."""

import importlib.util
import sys
from pathlib import Path

import pytest

from nhin.attention.registry import MECHANISMS
from nhin.bench.cells import BenchCell

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


def test_a_row_becomes_a_cell_without_the_memory_of_its_results(bench):
    size = 1024 * 8 * 64 * 4
    for phase, results in (("forward", 1), ("train", 3)):
        cell = BenchCell("window", phase, 1024)
        row = bench.BenchRow(cell, 0.5, 0.4, 0.6, 2.0, 1.5, 2.5, peak_bytes=results * size + 2**20)
        assert bench.to_cell(row) == {"ms": 500.0, "ratio": 2.0, "min": 1.5, "max": 2.5, "peak_mb": 1.0}
        assert bench.to_cell(bench.BenchRow(cell, skipped="too long")) == {"skipped": "too long"}


def test_a_spread_is_median_least_and_greatest(bench):
    assert bench.summarize_ratios([3.0, 1.0, 2.0]) == {"ratio": 2.0, "min": 1.0, "max": 3.0}


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
