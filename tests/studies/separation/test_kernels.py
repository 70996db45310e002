"""Laws of the paper's test for other kernels: one definition for all, and estimates with correct errors."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.random import SeedSequence
from numpy.testing import assert_allclose

from nhin.attention import registry
from nhin.attention.base import Facts
from nhin.attention.linear.linear import Linear
from nhin.errors import ShapeError, UnknownName, UsageError
from nhin.studies.separation import attention_exact, reference
from nhin.studies.separation.config import AttentionConfig
from nhin.studies.separation.kernels_study import kernel_report
from nhin.studies.separation.kernels_study.attention_kernels import select_kernels
from nhin.studies.separation.kernels_study.kernel_test import (
    KernelTest,
    _kernel_seed,
    auc,
    jackknife,
    kernel_titles,
    measure_kernels,
)
from nhin.studies.separation.outcomes import NETS, firing_rates

NAMES = [kernel.name for kernel in select_kernels()]
SMALL = KernelTest(AttentionConfig(n=24, d=8, m=3), (0.8, 2.0), (1.0,), draws=3, ys=6)
each = pytest.mark.parametrize("name", NAMES)


def make_attend(name, d, seed=0):
    (kernel,) = select_kernels([name])
    return kernel.make(d, seed)


@pytest.mark.parametrize(("name", "plain"), [("dot", "exp"), ("lin", "lin")])
@given(classes=st.integers(1, 5), copies=st.integers(2, 5), a=st.floats(0, 3), row=st.integers(0, 3))
@settings(max_examples=20)
def test_the_papers_kernels_are_those_of_its_definition(name, plain, classes, copies, a, row):
    setting = AttentionConfig(n=classes * copies, d=classes + 2)
    data = reference.build_matrix(setting, a, row % setting.n)
    want = reference.attend(plain, reference.score_matrix("eye", data, data)) @ data
    assert_allclose(make_attend(name, setting.d)(data, data, data), want, rtol=1e-10, atol=1e-12)


@each
def test_equal_values_come_back(name):
    rng = np.random.default_rng(0)
    q, k = rng.random((9, 6)), rng.random((7 if name != "dot-rotary" else 9, 6))
    out = make_attend(name, 6)(q, k, np.full(k.shape, 3.0))
    assert_allclose(out, np.full(q.shape, 3.0), rtol=1e-10)


@each
def test_a_seed_decides_everything(name):
    data = reference.build_matrix(SMALL.setting, 1.2, 3)
    one, same, other = (make_attend(name, 8, seed)(data, data, data) for seed in (1, 1, 2))
    assert np.array_equal(one, same)
    assert np.array_equal(one, other) != name.startswith("performer")


def test_only_positions_make_the_order_of_rows_matter():
    data, order = reference.build_matrix(SMALL.setting, 1.2, 3), np.random.default_rng(0).permutation(24)
    for name in NAMES:
        mix = make_attend(name, 8)
        moved, still = mix(data[order], data[order], data[order]), mix(data, data, data)[order]
        assert np.allclose(moved, still, rtol=1e-9) != (name == "dot-rotary"), name


def test_random_features_approach_the_papers_softmax_and_not_the_scaled_one():
    data = reference.build_matrix(AttentionConfig(n=24, d=8), 0.5, 3) / 2
    want, scaled = (make_attend(name, 8)(data, data, data) for name in ("dot", "softmax"))
    seeds = range(20)
    few, many = (
        np.mean([make_attend(f"performer-{m}", 8, s)(data, data, data) for s in seeds], 0) for m in (64, 1024)
    )
    assert np.abs(many - want).max() < np.abs(few - want).max()
    assert np.abs(many - want).max() < np.abs(many - scaled).max() / 3


def test_a_new_mechanism_of_the_linear_family_takes_part(monkeypatch):
    class Newer(Linear):
        facts = Facts("newer", "Newer", "", "", False, "", Linear.facts.abilities, family="linear")

    monkeypatch.setitem(registry.MECHANISMS, "newer", Newer)
    data = reference.build_matrix(SMALL.setting, 1.2, 3)
    assert_allclose(make_attend("newer", 8)(data, data, data), make_attend("linear", 8)(data, data, data))


def test_thresholds_are_met_as_often_as_the_exact_method_says():
    trial = KernelTest(
        AttentionConfig(n=60, d=12, m=5), (0.8, 2.2), (), draws=20, ys=150, names=("dot", "lin")
    )
    for point in measure_kernels(trial):
        chance = dict(
            zip(
                NETS,
                firing_rates(attention_exact.exact_outcomes(AttentionConfig(n=60, d=12, m=5, a1=point.a1))),
                strict=True,
            )
        )
        net = "exp" if point.kernel == "dot" else "lin"
        want = chance[f"{net}1"] * (1 - chance[f"{net}0"])
        assert abs(point.fires1.value - chance[f"{net}1"]) < 4.5 * max(point.fires1.error, 0.004)
        assert abs(point.fires0.value - chance[f"{net}0"]) < 4.5 * max(point.fires0.error, 0.004)
        assert abs(point.separates.value - want) < 4.5 * max(point.separates.error, 0.004)


samples = st.lists(st.integers(-5, 5), min_size=1, max_size=9).map(lambda x: np.array(x, float))


@given(ones=samples, zeros=samples)
def test_the_auc_is_the_share_of_pairs_in_order_and_monotone_maps_leave_it(ones, zeros):
    pairs = [(one > zero) + (one == zero) / 2 for one in ones for zero in zeros]
    assert auc(ones, zeros) == pytest.approx(np.mean(pairs))
    assert auc(np.exp(ones), np.exp(zeros)) == auc(ones, zeros)
    assert auc(ones, zeros) + auc(zeros, ones) == pytest.approx(1)


@given(sample=samples)
def test_the_auc_of_the_same_sample_is_a_half_and_of_separated_ones_one(sample):
    assert auc(sample, sample) == 0.5
    assert auc(sample + 11, sample) == 1


@given(draws=st.integers(2, 6), ys=st.integers(1, 5), seed=st.integers(0, 99))
@settings(max_examples=20)
def test_the_error_of_a_mean_is_that_of_the_means_of_draws(draws, ys, seed):
    ones = np.random.default_rng(seed).random((draws, ys))
    estimate = jackknife(lambda ones, zeros: float(ones.mean()), ones, ones)
    assert estimate.error == pytest.approx(np.std(ones.mean(1), ddof=1) / draws**0.5)
    assert jackknife(lambda ones, zeros: 1.0, ones[:1], ones[:1]).error is None


def test_a_kernel_gets_the_same_scores_whichever_others_are_tested():
    everyone = measure_kernels(SMALL)
    alone = measure_kernels(replace(SMALL, spikes=(2.0,), curve=(), names=("poly2", "performer-64")))
    assert alone == [p for p in everyone if p.a1 == 2 and p.kernel in ("poly2", "performer-64")]


def test_without_a_larger_spike_d1_cannot_be_told_from_d0():
    names = tuple(name for name in NAMES if name != "dot-rotary")
    trial = KernelTest(AttentionConfig(n=24, d=8, m=3, kind="c2"), (0.01,), (), draws=2, ys=40, names=names)
    for point in measure_kernels(trial):
        assert point.auc.value == pytest.approx(0.5, abs=0.01)


def test_results_have_a_row_for_each_point_and_a_line_for_each_kernel(tmp_path):
    trial = replace(SMALL, names=("lin", "performer-64"))
    points = measure_kernels(trial)
    files = kernel_report.make_files(trial, points)
    assert files["kernels.csv"].decode().count("\n") == 1 + 2 * 3
    assert all(title in files["kernels.md"].decode() for title in kernel_titles(points).values())
    assert files["kernels.png"].startswith(b"\x89PNG")
    kernel_report.save_report(trial, measure_kernels(trial), tmp_path / "kernels")
    assert {path.name: path.read_bytes() for path in (tmp_path / "kernels").iterdir()} == files
    with pytest.raises(UsageError, match="another run"):
        kernel_report.save_report(trial, points, tmp_path / "kernels")


@pytest.mark.parametrize(
    ("wrong", "error", "words"),
    [
        ({"names": ("dott",)}, UnknownName, "did you mean dot"),
        ({"draws": 0}, UsageError, "draws is 0"),
        ({"ys": 10**6}, UsageError, "ys is"),
        ({"ys": 10**5}, UsageError, "lower n, m or ys"),
        ({"seed": -1}, UsageError, "seed is -1"),
        ({"spikes": (float("nan"),)}, UsageError, r"spikes\[0\] is nan"),
        ({"spikes": (-1.0,)}, UsageError, r"spikes\[0\] is -1"),
        ({"spikes": (), "curve": ()}, UsageError, "sizes of the spike"),
        ({"setting": AttentionConfig(inner="ones")}, UsageError, "X = I"),
        ({"setting": AttentionConfig(n=10000, d=22)}, UsageError, "n is 10000"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else None,
)
def test_what_cannot_be_measured_is_refused(wrong, error, words):
    with pytest.raises(error, match=words):
        KernelTest(**wrong)


def test_rotary_positions_want_an_even_width():
    with pytest.raises(ShapeError, match="even"):
        make_attend("dot-rotary", 7)


def test_rotary_positions_turn_queries_and_keys_alike():
    """Only distances matter: rows three positions later attend as before."""
    rng = np.random.default_rng(0)
    q, k, v = rng.normal(size=(3, 6, 8))
    mix, early = make_attend("dot-rotary", 8), np.zeros((3, 8))
    later_q, later_k = (np.concatenate([early, x]) for x in (q, k))
    later = mix(later_q, later_k, np.concatenate([early, v]))[3:]
    # What the early rows took of every row's weight is given back to the others.
    taken = mix(later_q, later_k, np.concatenate([early + 1, 0 * v]))[3:]
    assert_allclose(later / (1 - taken), mix(q, k, v), atol=1e-5)


def test_every_draw_of_spikes_has_features_of_its_own():
    children = SeedSequence(0).spawn(20)
    assert len({_kernel_seed(child) for child in children}) == 20
