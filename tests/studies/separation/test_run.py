"""A run: the same seed gives the same bytes, its folder is complete or absent, its report is true."""

import csv
import hashlib
import io
import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.random import SeedSequence

from nhin.errors import UnknownName, UsageError
from nhin.format import format_csv
from nhin.studies.files import atomic_folder
from nhin.studies.separation import monte_carlo, run
from nhin.studies.separation.config import AttentionConfig, RegressionConfig
from nhin.studies.separation.explain import firing_sum
from nhin.studies.separation.measure import (
    Measurement,
    measure_agreement,
    measure_points,
    standard_errors,
    wilson_interval,
)
from nhin.studies.separation.options import AMBIGUITIES, Variant
from nhin.studies.separation.outcomes import CODES, SUCCESS
from nhin.studies.separation.report import find_crossings, worst_condition
from nhin.studies.separation.row_products import row_terms
from nhin.studies.separation.sweeps import sweep_points

FILES = {
    "results.csv",
    "report.md",
    "manifest.json",
    *(f"self{about}.{kind}" for about in ("", "-conditions") for kind in ("png", "svg")),
}


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    out = tmp_path_factory.mktemp("replicated") / "run"
    run.run_sweeps(run.SweepRequest(("self",), sweep="d", repeats=30, seed=3), out)
    return out


def rows_of(out):
    return list(csv.DictReader(io.StringIO((out / "results.csv").read_text("utf-8"))))


def test_a_run_writes_everything_and_the_manifest_knows_every_file(done):
    assert {path.name for path in done.iterdir()} == FILES
    kept = json.loads((done / "manifest.json").read_text("utf-8"))
    assert kept["files"].keys() == FILES - {"manifest.json"}
    for name, digest in kept["files"].items():
        assert hashlib.sha256((done / name).read_bytes()).hexdigest() == digest
    assert len(kept["ambiguities"]) == len(AMBIGUITIES)
    assert kept["settings"]["seed"] == 3
    assert "reconstruction" in kept["cross-attention"]


def test_rows_say_what_was_drawn_and_what_is_exact(done):
    rows = rows_of(done)
    assert len(rows) == 12
    assert {row["definition"] for row in rows} == {"paper"}
    for row in rows:
        low, high = float(row["lo"]), float(row["hi"])
        assert 0 <= low <= int(row["k"]) / int(row["R"]) <= high <= 1
        assert int(row["R"]) == 30
        assert all(0 <= float(row[f"{net}_exact"]) <= 1 for net in ("exp1", "lin1", "exp0", "lin0"))
        assert float(row["exact"]) <= float(row["exp1_exact"]) + 1e-12


def test_the_dense_method_gives_the_same_bytes_but_its_name(done, tmp_path):
    run.run_sweeps(
        run.SweepRequest(("self",), sweep="d", repeats=30, seed=3, method="dense"), tmp_path / "dense"
    )
    want = (done / "results.csv").read_text("utf-8").replace(",mc,", ",dense,")
    assert (tmp_path / "dense" / "results.csv").read_text("utf-8") == want


def test_another_seed_draws_something_else(done, tmp_path):
    run.run_sweeps(run.SweepRequest(("self",), sweep="d", repeats=30, seed=4), tmp_path / "other")
    one, two = rows_of(done), rows_of(tmp_path / "other")
    assert [row["exact"] for row in one] == [row["exact"] for row in two]
    assert [row["k"] for row in one] != [row["k"] for row in two]


@given(block=st.integers(1, 4000))
@settings(max_examples=10, deadline=None)
def test_the_size_of_blocks_changes_no_count(block):
    for setting in (AttentionConfig(n=20, d=12), RegressionConfig(40, 9)):
        want = monte_carlo.count_outcomes(setting, 25, SeedSequence(1))
        assert np.array_equal(monte_carlo.count_outcomes(setting, 25, SeedSequence(1), block), want)


def test_a_point_is_drawn_alike_whatever_else_is_run():
    alone = sweep_points("self", Variant(), ("ones",), "d")[-1:]
    among = sweep_points("self", Variant(), sweep="d")
    (one,) = measure_points(alone, "mc", 20, 5)
    two = list(measure_points(among, "mc", 20, 5))[-1]
    assert np.array_equal(one.counts, two.counts)


def test_one_draw_serves_the_sweep_over_columns_or_each_point_has_its_own():
    some_points = sweep_points("regression", Variant(), sweep="m")[:12]
    nested = [result.counts for result in measure_points(some_points, "mc", 50, 1)]
    dense = [result.counts for result in measure_points(some_points, "dense", 50, 1)]
    apart = [result.counts for result in measure_points(some_points, "mc", 50, 1, independent=True)]
    assert np.array_equal(nested, dense)
    assert not np.array_equal(nested, apart)
    # More columns of one draw let a network fire that fired with fewer.
    assert all(np.diff([counts[SUCCESS] for counts in nested]) >= 0)


@pytest.mark.parametrize("there", ["file", "folder", "link"])
def test_what_is_there_stays(tmp_path, there):
    out = tmp_path / "out"
    if there == "file":
        out.write_text("mine")
    elif there == "folder":
        out.mkdir()
        (out / "results.csv").write_text("mine")
    else:
        out.symlink_to(tmp_path / "nowhere")
    with pytest.raises(UsageError, match="choose another --out"):
        run.run_sweeps(run.SweepRequest(("self",), sweep="d", method="exact"), out)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_run_that_fails_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(run, "plot_success", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        run.run_sweeps(run.SweepRequest(("self",), sweep="d", method="exact"), tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_an_empty_folder_may_be_filled(tmp_path):
    with atomic_folder(tmp_path) as inside:
        (inside / "a").write_text("b")
    assert (tmp_path / "a").read_text() == "b"


def test_requests_that_make_no_sense_are_refused_before_anything_is_written(tmp_path):
    for wrong in ({"repeats": 0}, {"repeats": -1}, {"seed": -1}):
        with pytest.raises(UsageError):
            run.SweepRequest(("self",), **wrong)
    with pytest.raises(UnknownName):
        run.run_sweeps(run.SweepRequest(("regression",), sweep="d"), tmp_path / "out")
    with pytest.raises(UsageError):
        Variant(tau=2.0)
    assert list(tmp_path.iterdir()) == []


@given(trials=st.integers(1, 10_000), share=st.floats(0, 1))
def test_wilsons_interval_holds_what_was_counted(trials, share):
    successes = round(share * trials)
    low, high = wilson_interval(successes, trials)
    assert 0 <= low <= successes / trials <= high <= 1
    mirrored = wilson_interval(trials - successes, trials)
    assert mirrored == pytest.approx((1 - high, 1 - low), abs=1e-12)


@pytest.mark.parametrize("chance", [0.02, 0.3, 0.5, 0.95])
def test_wilsons_interval_covers_as_often_as_it_says(chance):
    drawn = np.random.default_rng(0).binomial(100, chance, 4000)
    covered = np.mean([low <= chance <= high for low, high in (wilson_interval(int(k), 100) for k in drawn)])
    assert 0.92 < covered < 0.98


def test_agreement_is_near_one_for_draws_and_far_for_others():
    some_points = sweep_points("self", Variant(), ("eye",), "m")
    results = list(measure_points(some_points, "mc", 100, 0))
    agreement = measure_agreement(results)
    assert 0.6 < agreement.square < 1.5
    assert agreement.covered >= 0.85 * agreement.points
    wrong = [Measurement(r.point, np.roll(r.exact, 1), r.counts) for r in results]
    assert measure_agreement(wrong).square > 4
    assert measure_agreement([Measurement(r.point, r.exact, None) for r in results]) is None


@pytest.mark.parametrize(
    ("sweep", "inner", "turns", "where"),
    [
        ("a1", "eye", ["rises", "falls"], [0.72, 1.83]),
        ("a0", "eye", ["falls"], [0.72]),
        ("a0", "ones", ["falls"], [0.44]),
    ],
)
def test_crossings_are_where_half_is_passed(sweep, inner, turns, where):
    agreement = find_crossings(
        list(measure_points(sweep_points("self", Variant(), (inner,), sweep), "exact", 1, 0))
    )
    assert [word.split()[0] for word in agreement] == turns
    assert [float(word.split()[1]) for word in agreement] == pytest.approx(where, abs=0.02)


def test_cells_are_numbers_of_twelve_digits():
    result = Measurement(sweep_points("self", Variant(), ("eye",), "d")[0], np.full(CODES, 1 / CODES), None)
    row = run.make_row(result, "exact", 0)
    line = format_csv([row]).splitlines()[1].split(",")
    assert row["lo"] is None
    assert line[list(row).index("lo")] == ""
    assert line[list(row).index("exp1_exact")] == "0.5"
    assert standard_errors(5, 10, 0.5) == 0


def test_every_point_has_draws_of_its_own():
    """Of this sweep all points have one chance, and the same signs would give them one count."""
    some_points = sweep_points("self", Variant(), ("ones",), "n")
    results = list(measure_points(some_points, "mc", 100, 0))
    assert len({round(result.chance, 9) for result in results}) == 1
    assert len({result.successes for result in results}) > 10


def test_what_the_paper_leaves_open_reaches_every_point():
    choices = Variant(
        tau=0.3, margin=0.2, rounding="floor", tied=True, weights="independent", cross="c3", independent=True
    )
    for point in sweep_points("cross", choices):
        assert point.config.b == pytest.approx(1 - point.config.c)
        assert (point.config.margin, point.config.kind, point.config.weights) == (0.2, "c3", "independent")
    some_points = sweep_points("regression", choices)
    assert {point.config.tau for point in some_points} == {0.3}
    assert [point.config.m for point in some_points if point.sweep == "n"][0::190] == [4, 7]


def test_what_comes_to_be_meanwhile_stays(tmp_path):
    out = tmp_path / "out"
    with pytest.raises(UsageError, match="another run"), atomic_folder(out) as inside:
        (inside / "a").write_text("mine")
        out.mkdir()
        (out / "theirs").write_text("theirs")
    assert [path.name for path in tmp_path.rglob("*")] == ["out", "theirs"]


def test_the_report_names_the_condition_that_fails_most():
    for changed, message in (({"a1": 2.8}, "linear fires on D1"), ({"a1": 0.3}, "softmax is silent on D1")):
        setting = AttentionConfig(**changed)
        point = replace(sweep_points("self", Variant(), ("eye",), "d")[0], config=setting)
        (result,) = measure_points([point], "exact", 1, 0)
        assert worst_condition(result).startswith(message)


def test_rounding_puts_no_chance_outside_an_interval():
    point = sweep_points("self", Variant(), ("eye",), "d")[0]
    exact, counts = np.zeros(CODES), np.zeros(CODES, np.int64)
    exact[0], exact[SUCCESS], counts[0] = 1.0 + 1e-13, -1e-13, 100
    assert measure_agreement([Measurement(point, exact, counts)]).covered == 1


def test_the_explanation_names_the_sum_from_which_noise_fires():
    """The noise of K = 20 classes passes the margin of .1 at b T / K = .1."""
    setting = AttentionConfig()
    for kernel in ("exp", "lin"):
        assert firing_sum(setting, row_terms(setting, kernel, setting.a0, 0.0, False)) == 10
    assert firing_sum(replace(setting, margin=0.1025), row_terms(setting, "exp", 0.01, 0.0, False)) == 12
    assert firing_sum(replace(setting, margin=5.0), row_terms(setting, "exp", 0.01, 0.0, False)) is None
