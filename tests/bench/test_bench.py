"""Laws of the benchmark, over fake clocks and probes and tiny sizes; nothing here judges a time."""

import json
import os
from dataclasses import replace
from itertools import repeat

import pytest
import torch

from nhin.attention.registry import MECHANISMS
from nhin.bench import probe as probing
from nhin.bench.backends import BACKENDS, BackendAttention, check_kernel
from nhin.bench.cells import BASELINE, PHASES, RECOMPUTE, BenchCell, BenchGrid, BenchRow
from nhin.bench.formulas import evaluate_formula, predict_bytes
from nhin.bench.growth import exponents, fit_growth
from nhin.bench.probe import Probe, ProbeLimits, probe_here
from nhin.bench.recorder import OpRecorder
from nhin.bench.report import format_bench_report, plot_bench
from nhin.bench.results import (
    BenchResults,
    BenchSettings,
    describe_machine,
    load_results,
    save_results,
)
from nhin.bench.run import BUDGET, INTERRUPTED, TOO_LONG, Bench, estimate_seconds, run_bench
from nhin.bench.work import build_bench_mechanism, build_work, make_inputs
from nhin.errors import DataError, UnknownName, UsageError
from nhin.metrics.statistics import Interval

GRID = BenchGrid(("softmax", "window"), ("forward", "decode"), (8, 16))


def cell(**changes):
    return BenchCell(
        **(
            {
                "mechanism": "softmax",
                "phase": "forward",
                "length": 16,
                "heads": 2,
                "kv_heads": 2,
                "head_dim": 4,
            }
            | changes
        )
    )


def row(length=16, seconds=1.0, **changes):
    return BenchRow(cell(length=length, **changes), seconds=seconds, low=seconds, high=seconds, ratio=1.0)


def fake_bench(settings=None, probe=lambda cell: Probe(1024, 2.0), stop=lambda: None, seen=None):
    """A benchmark on which every call takes a second."""
    seen = [] if seen is None else seen
    return Bench(settings or BenchSettings(repeats=3), probe, lambda run, count: 1.0, stop, seen.append)


@pytest.mark.parametrize("power", [1.0, 1.5, 2.0])
def test_an_exponent_is_that_of_the_longest_lengths(power):
    rows = [row(n, 3.0 * n**power) for n in (4096, 1024, 2048)] + [row(16, 1e9)]
    assert list(exponents(rows).values()) == [pytest.approx(power)]


def test_an_exponent_has_the_interval_that_the_rounds_give():
    def at(length, *rounds):
        return replace(row(length, float(length)), rounds=rounds, repeats=len(rounds))

    exact = [at(n, *[float(n)] * 3) for n in (64, 128, 256)]
    assert fit_growth(exact) == Interval(1.0, 0.0)
    noisy = [at(64, 60.0, 64.0, 68.0), *exact[1:]]
    assert 0 < fit_growth(noisy).half_width < fit_growth([at(64, 50.0, 64.0, 80.0), *exact[1:]]).half_width
    assert fit_growth([row(64), *exact[1:]]).half_width == float("inf")  # of version 1


def test_a_generation_that_is_sampled_costs_what_all_its_steps_would_where_they_cost_a_line():
    sampled = build_work(cell(phase="generate", length=64), make_inputs(cell(phase="generate")), whole=0)
    nodes = [4 + 8 * i for i in range(8)]
    assert sampled.sampled
    assert sampled.scale * sum(5 + 3 * n for n in nodes) == pytest.approx(
        sum(5 + 3 * (i + 0.5) for i in range(64))
    )


@pytest.mark.parametrize("phase", PHASES)
@pytest.mark.parametrize("name", ["sdpa", "softmax", "window", "linear", "lsh", "sdpa-math", RECOMPUTE])
def test_every_phase_runs_again_and_again_and_leaves_inputs_alone(phase, name):
    if name == RECOMPUTE and phase != "generate":
        return
    one = cell(mechanism=name, phase=phase)
    inputs = make_inputs(one)
    before = [x.detach().clone() for x in (inputs.q, inputs.k, inputs.v)]
    for whole in (0, 2048):
        work = build_work(one, inputs, whole)
        for _ in range(3):
            work.run()
            work.reset()
    assert all(torch.equal(x, y) for x, y in zip(before, (inputs.q, inputs.k, inputs.v), strict=True))


def test_a_step_is_always_timed_after_the_same_positions():
    one = cell(mechanism="window", phase="decode", length=10)
    work = build_work(one, make_inputs(one))
    caches = work.run.__wrapped__.__closure__[0].cell_contents
    for _ in range(3):
        work.run()
        work.run()
        work.reset()
        assert [cache.lengths for cache in caches] == [(10,)]


def test_the_kernels_of_pytorch_equal_the_softmax_of_the_registry():
    q, k, v = torch.randn(3, 1, 6, 4, 8)
    k, v = k[:, :, :2], v[:, :, :2]
    for causal in (False, True):
        expected = MECHANISMS["naive"]()(q, k, v, causal=causal)
        for name in ("sdpa", "sdpa-flash", "sdpa-math"):
            assert torch.allclose(BackendAttention(name)(q, k, v, causal=causal), expected, atol=1e-5)


def test_a_named_kernel_is_the_one_that_ran_and_another_is_refused():
    for name in ("sdpa-flash", "sdpa-math"):
        for phase in ("forward", "train", "decode", "prefill"):
            probe = probe_here(cell(mechanism=name, phase=phase))
            assert probe.error is None and BACKENDS[name][1] in probe.kernel
    with pytest.raises(UsageError, match="sdpa-cudnn ran another kernel: flash_attention"):
        check_kernel("sdpa-cudnn", "flash_attention")


def test_operations_are_those_of_the_products_wherever_they_run():
    length, heads, width = 16, 2, 4
    table = 2 * heads * length * length * width  # of a product of all queries and keys
    counts = {name: probe_here(cell(mechanism=name)).flops for name in ("naive", "sdpa-math", "sdpa-flash")}
    assert counts == {"naive": 2 * table, "sdpa-math": 2 * table, "sdpa-flash": table}  # half are hidden
    assert probe_here(cell(mechanism="sdpa-flash", phase="train")).flops == 3.5 * table
    for name in ("linear", "flash"):  # operators of our own
        assert probe_here(cell(mechanism=name)).flops > 0
    a = torch.ones(3, 4, 4)
    with OpRecorder() as ops:
        a.clone().baddbmm_(a, a)
    assert ops.flops == 3 * 2 * 4**3


def test_formulas_are_evaluated_as_they_are_written():
    sizes = {"T": 3, "S": 5, "D": 2, "b": 7}
    assert evaluate_formula("O((T + S)·(D + b + n))", sizes) == 8 * (2 + 7 + 1)
    assert evaluate_formula("O(T·S/b·D)", sizes) == pytest.approx(3 * 5 / 7 * 2)
    assert evaluate_formula("O(D²)", sizes) == 4


@pytest.mark.parametrize("name", MECHANISMS)
def test_bytes_are_predicted_for_every_mechanism_and_grow_with_the_length(name):
    phases = PHASES if "decode" in MECHANISMS[name].facts.abilities else ("forward", "train")
    for phase in phases:
        sizes = []
        for length in (64, 4096):
            one = cell(mechanism=name, phase=phase, length=length)
            sizes.append(predict_bytes(build_bench_mechanism(one), one))
        assert 0 < sizes[0] <= sizes[1]


def test_every_cell_has_a_row_with_a_time_or_a_reason():
    grid = replace(GRID, mechanisms=("softmax", "linformer", "sdpa-cudnn"))

    def probe(cell):
        return Probe(error="no such kernel") if "cudnn" in cell.mechanism else Probe(1024, 2.0)

    rows = run_bench(grid, fake_bench(probe=probe))
    assert [r.cell for r in rows] == [cell for group in grid.groups() for cell in group]
    for r in rows:
        assert (r.seconds is None) != (r.skipped is None)
        if r.cell.mechanism == "linformer":
            assert "lacks the ability" in r.skipped
    assert {r.skipped for r in rows if r.cell.mechanism == "sdpa-cudnn"} == {"no such kernel"}


def test_a_cell_that_needs_too_much_is_left_out_before_it_is_run():
    def probe(cell):
        assert cell.mechanism != "naive" and cell.length < 2**20
        return Probe(1024, 2.0)

    grid = BenchGrid(("naive", "softmax"), ("forward",), (2**13, 2**20))
    rows = run_bench(grid, fake_bench(BenchSettings(repeats=3, max_bytes=2**26), probe))
    reasons = {(r.cell.mechanism, r.cell.length): r.skipped for r in rows}
    assert "needs about" in reasons["naive", 2**13] and "needs about" in reasons["softmax", 2**20]


def test_what_would_take_too_long_is_told_from_shorter_lengths():
    curve = [row(512, 1.0), row(1024, 2.0)]
    assert estimate_seconds([], 4096) == 0
    assert estimate_seconds(curve[:1], 2048) == 16.0  # quadratic where one is known
    assert estimate_seconds(curve, 4096) == pytest.approx(8.0)
    rows = run_bench(replace(GRID, phases=("forward",), lengths=(8, 1024)), fake_bench())
    assert {r.skipped for r in rows if r.cell.length == 1024} == {"takes about 16384 s, over 4 s"}


def test_a_budget_is_shared_out_among_all_cells_and_what_needs_several_shares_waits_for_a_larger_one():
    grid = replace(GRID, phases=("forward",), lengths=(4, 8, 16, 32), dtypes=("float32",))
    settings, seen = BenchSettings(repeats=9, max_seconds=100.0), []
    tight = replace(
        fake_bench(settings, seen=seen),
        clock=lambda run, count: 0.1,
        time_left=lambda: 24.0 - 7.8 * len(seen),
    )
    rows = run_bench(grid, tight)
    assert len(rows) == sum(map(len, grid.groups())) == 12
    assert {r.repeats for r in rows if r.cell.length == 4} == {8}
    assert {r.skipped for r in rows if r.cell.length == 32} == {TOO_LONG}
    again = run_bench(grid, fake_bench(settings), rows)
    assert all(r.skipped is None for r in again)


def test_where_the_time_has_no_room_for_all_the_slowest_are_left_out_and_the_others_have_their_rounds():
    seconds = {"sdpa": 2.0, "softmax": 9.0, "window": 0.1, "linear": 0.1}
    grid = replace(GRID, mechanisms=("softmax", "window", "linear"), phases=("forward",), lengths=(8,))
    bench = replace(
        fake_bench(probe=lambda cell: Probe(1024, 2.0, seconds=seconds[cell.mechanism])),
        time_left=lambda: 12.0,
    )
    rows = {r.cell.mechanism: r.skipped for r in run_bench(replace(grid, dtypes=("float32",)), bench)}
    assert rows == {"sdpa": None, "softmax": TOO_LONG, "window": None, "linear": None}


def test_a_budget_or_ctrl_c_keeps_what_is_done_and_a_resumed_run_measures_only_the_rest():
    for reason in (BUDGET, INTERRUPTED):
        seen, probed = [], []

        def stop(seen=seen, reason=reason):
            return reason if len(seen) >= 2 else None

        rows = run_bench(GRID, fake_bench(stop=stop, seen=seen))
        assert {r.skipped for r in rows} == {None, reason} and len(seen) == 4
        done = [r for r in rows if r.skipped is None]

        def probe(cell, probed=probed):
            probed.append(cell)
            return Probe(1024, 2.0)

        again = run_bench(GRID, fake_bench(probe=probe), rows)
        assert all(r.skipped is None for r in again) and {r.cell for r in again} == {r.cell for r in rows}
        assert not {r.cell for r in done} & set(probed) and set(done) <= set(again)


@pytest.mark.parametrize(
    "changes",
    [
        {"lengths": (0,)},
        {"lengths": (-1,)},
        {"lengths": (10**12,)},
        {"heads": (0,)},
        {"head_dims": (-3,)},
        {"heads": (8,), "kv_heads": (3,)},
    ],
)
def test_impossible_sizes_are_refused_in_one_line(changes):
    with pytest.raises(UsageError) as why:
        replace(GRID, **changes)
    assert "\n" not in str(why.value) and "give" in str(why.value)


def test_an_unknown_mechanism_is_refused_with_the_nearest_name():
    with pytest.raises(UnknownName, match="window"):
        replace(GRID, mechanisms=("windo",))


@pytest.fixture
def results():
    rows = run_bench(GRID, fake_bench())
    return BenchResults(describe_machine(), BenchSettings(repeats=3), rows)


def test_results_come_back_as_they_were_written(results, tmp_path):
    save_results(tmp_path / "a.json", results)
    assert load_results(tmp_path / "a.json") == results


def test_rows_that_took_turns_say_so_and_keep_every_round(results):
    begun = {row.cell.group: row.began for row in results.rows}
    assert all(row.began == begun[row.cell.group] > 0 for row in results.rows)
    assert all(len(row.rounds) == row.repeats == 3 for row in results.rows)


def test_a_file_of_version_1_is_read_without_the_seconds_of_its_rounds(results, tmp_path):
    rows = tuple(replace(row, rounds=(), began=0) for row in results.rows)
    save_results(tmp_path / "a.json", replace(results, rows=rows, version=1))
    assert '"version": 1' in (tmp_path / "a.json").read_text()
    assert load_results(tmp_path / "a.json") == replace(results, rows=rows)


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda text: text.replace('"version": 2', '"version": 99'), "version 99"),
        (lambda text: text.replace('"rounds": [1.0, 1.0', '"rounds": [1.0', 1), "2 rounds, and repeats is 3"),
        (lambda text: text.replace('"rounds": [1.0', '"rounds": [0.0', 1), "more than 0"),
        (lambda text: text.replace('"seconds": 1.0', '"seconds": NaN', 1), "NaN"),
        (lambda text: text.replace('"seconds": 1.0', '"seconds": 1e999', 1), "inf"),
        (lambda text: text.replace('"seconds": 1.0', '"seconds": -1.0', 1), "-1"),
        (lambda text: text.replace('"seconds": 1.0', '"seconds": 0.0', 1), "neither a time nor a reason"),
        (lambda text: text.replace("nhin bench attention", "other", 1), "no file of nhin bench"),
        (lambda text: text.replace('"length": 8', '"length": 0', 1), "length is 0"),
        (lambda text: text[: len(text) // 2], "not JSON"),
        (lambda text: "[]", "no file of nhin bench"),
    ],
)
def test_a_file_of_another_version_or_with_no_numbers_is_refused_in_one_line(results, tmp_path, damage, says):
    save_results(tmp_path / "a.json", results)
    text = (tmp_path / "a.json").read_text()
    assert damage(text) != text
    (tmp_path / "a.json").write_text(damage(text))
    with pytest.raises(DataError, match=says) as why:
        load_results(tmp_path / "a.json")
    assert "\n" not in str(why.value)


def test_a_report_has_every_mechanism_length_and_reason(results):
    left_out = BenchRow(cell(mechanism="lsh", length=77), skipped="too slow, by far")
    text = format_bench_report(replace(results, rows=(*results.rows, left_out)))
    for part in ("`softmax`", "`window`", "| 8 | 16 |", "too slow, by far", "77", results.machine.processor):
        assert part in text
    assert plot_bench(results, "png").startswith(b"\x89PNG")


def test_a_row_of_json_holds_its_cell_and_no_empty_fields(results, tmp_path):
    save_results(tmp_path / "a.json", results)
    tree = json.loads((tmp_path / "a.json").read_text())
    assert tree["rows"][0]["cell"]["mechanism"] == BASELINE and "skipped" not in tree["rows"][0]


def _end():
    os._exit(3)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes cannot fork here")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
@pytest.mark.parametrize(
    ("act", "says"),
    [
        (lambda: Probe(7), None),
        (lambda: bytearray(2**34), "needs more memory than allowed"),
        (lambda: any(False for _ in repeat(None)), "takes over 0.01 s"),
        (_end, "its process ended"),
    ],
)
def test_a_call_in_a_process_of_its_own_ends_where_it_needs_too_much(monkeypatch, act, says):
    monkeypatch.setattr(probing, "_probe", lambda cell: act())
    answer = Probe(**probing._fork(cell(), 1, ProbeLimits(0.01, 2**33)))
    assert answer == Probe(7) if says is None else answer.error.startswith(says)
