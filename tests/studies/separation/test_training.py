"""Laws of training on the task with noise: what is detected, what is learned; stopping changes nothing."""

import json
import math
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.random import SeedSequence
from numpy.testing import assert_allclose

from nhin.errors import CheckpointError, UnknownName, UsageError
from nhin.studies.separation import reference
from nhin.studies.separation.config import AttentionConfig
from nhin.studies.separation.kernels_study import training_report, training_study
from nhin.studies.separation.kernels_study.attention_kernels import GUARD, TRAINED_KERNELS, select_kernels
from nhin.studies.separation.kernels_study.detectors import (
    DETECTORS,
    NoisyTask,
    accuracy,
    bayes,
    choose_threshold,
    first_columns,
    measure_detectors,
)
from nhin.studies.separation.kernels_study.training import (
    OneLayerNet,
    StudyTrainConfig,
    make_batch,
    train_and_test,
    train_net,
)
from nhin.studies.separation.kernels_study.training_study import RUNS, StudyPlan, run_study

SMALL = AttentionConfig(n=8, d=6, m=3)
BRIEF = StudyTrainConfig(steps=3, batch=4, tried=20)
PLAN = StudyPlan(SMALL, BRIEF, ("softmax", "lin"), ("self", "c2"), (0.1, 0.2), (8, 12), seeds=2)
ATTENTIVE = [name for name in TRAINED_KERNELS if name != "none"]


def outcome(runs):
    return [replace(run, seconds=0.0) for run in runs]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A study that was never stopped."""
    out, lines = tmp_path_factory.mktemp("straight") / "study", []
    return out, run_study(PLAN, out, on_progress=lines.append), lines


@given(sigma=st.sampled_from([0.05, 0.2, 0.3, 0.6]), n=st.sampled_from([12, 24, 60]), seed=st.integers(0, 9))
@settings(max_examples=12)
def test_no_detector_beats_bayes(sigma, n, seed):
    right = measure_detectors(NoisyTask(AttentionConfig(n=n, d=14), sigma), 2000, seed)
    error = 0.5 / math.sqrt(4000)
    assert all(right["bayes"] >= other - 3 * error for other in right.values())


@pytest.mark.parametrize("sigma", [0.0, 1e-4])
def test_without_noise_every_detector_is_right(sigma):
    assert set(measure_detectors(NoisyTask(sigma=sigma), 300).values()) == {1.0}


def test_bayes_is_the_ratio_of_likelihoods_and_little_noise_approaches_none():
    task = NoisyTask(SMALL, 0.3)
    x = first_columns(task, 50, SeedSequence(1))
    plain = [np.log(np.exp((a * x - a * a / 2) / 0.09).mean(-1)) for a in task.setting.spikes]
    assert_allclose(bayes(x, task), 0.09 * (plain[0] - plain[1]), atol=1e-12)
    assert_allclose(bayes(x, NoisyTask(SMALL, 1e-5)), bayes(x, NoisyTask(SMALL, 0.0)), atol=1e-8)


scores = st.lists(st.integers(-4, 4), min_size=1, max_size=8).map(lambda x: np.array(x, float))


@given(ones=scores, zeros=scores)
def test_no_threshold_is_right_more_often_than_the_chosen_one(ones, zeros):
    levels = [-math.inf, *np.unique(np.concatenate([ones, zeros])), math.inf]
    best = max(accuracy(ones, zeros, level) for level in levels)
    assert accuracy(ones, zeros, choose_threshold(ones, zeros)) == pytest.approx(best)


def test_detectors_need_no_torch():
    code = "import sys, nhin.studies.separation.kernels_study.detectors; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(
    ("trained", "plain"), [("softmax", "dot"), ("lin", "lin"), ("elu", "linear"), ("poly4", "poly4")]
)
def test_trained_kernels_are_those_of_one_matrix(trained, plain):
    q, k, v = (np.random.default_rng(i).random((2, n, 5)) + 0.5 for i, n in enumerate((4, 7, 7)))
    (kernel,) = select_kernels([plain])
    mix = kernel.make(5, 0)
    want = np.stack([mix(*each) for each in zip(q, k, v, strict=True)])
    got = TRAINED_KERNELS[trained].attend(*map(torch.from_numpy, (q, k, v))).numpy()
    # The guard against small sums is felt by its square, relative to that of the mean score.
    mass = np.einsum("btd,bsd->bts", q, k).mean(-1, keepdims=True)
    guarded = mass**2 / (mass**2 + GUARD**2) if trained == "lin" else 1
    assert_allclose(got, want * guarded, rtol=1e-9)


@pytest.mark.parametrize("kernel", ATTENTIVE)
def test_scores_that_cancel_leave_values_and_gradients_finite(kernel):
    q = torch.tensor([[[1.0, -1.0], [0.0, 0.0]]], requires_grad=True)
    k = torch.tensor([[[1.0, 1.0], [-1.0, -1.0]]], requires_grad=True)
    out = TRAINED_KERNELS[kernel].attend(q, k, torch.ones(1, 2, 2))
    out.sum().backward()
    assert all(bool(torch.isfinite(x).all()) for x in (out, q.grad, k.grad))


@pytest.mark.parametrize("kind", ["self", "c2"])
def test_a_batch_is_half_spikes_and_only_keys_have_them(kind):
    task = NoisyTask(replace(SMALL, kind=kind), 0.0)
    base = torch.zeros(8, 6)
    queries, keys, labels = make_batch(task, base, 10, torch.Generator().manual_seed(0))
    largest = keys.amax((1, 2))
    assert_allclose(largest, np.where(labels > 0, task.setting.a1, task.setting.a0).astype(np.float32))
    assert labels.sum() == 5
    assert bool((queries == keys).all()) == (kind == "self")


@pytest.mark.parametrize("kernel", ATTENTIVE)
@pytest.mark.parametrize("kind", ["self", "c2"])
def test_training_lowers_the_loss(kernel, kind):
    task = NoisyTask(AttentionConfig(n=12, d=5, m=8, kind=kind), 0.1)
    network = OneLayerNet(kernel, task, SeedSequence(0))
    losses = list(train_net(network, task, StudyTrainConfig(steps=120, batch=16), SeedSequence(1)))
    assert np.mean(losses[-20:]) < np.mean(losses[:20]) * 0.8


@pytest.mark.parametrize("kernel", ATTENTIVE)
@given(seed=st.integers(0, 99))
@settings(max_examples=5)
def test_no_network_begins_without_gradient(kernel, seed):
    """A network whose thresholds nothing exceeds has no gradient and never learns."""
    task = NoisyTask(AttentionConfig(n=96, d=14, kind="c2"), 0.2)
    network, generator = OneLayerNet(kernel, task, SeedSequence(seed)), torch.Generator().manual_seed(seed)
    base = torch.from_numpy(reference.build_matrix(task.setting, 0.0, 0).astype(np.float32)) / network.scale
    queries, keys, _ = make_batch(task, base, 4, generator)
    network(queries, keys).sum().backward()
    assert (network.head.grad > 0.001).sum() >= 3


def test_without_attention_only_queries_with_a_spike_help():
    course = StudyTrainConfig(steps=200, batch=16, tried=1000)
    with_spike, without = (
        train_and_test("none", NoisyTask(AttentionConfig(n=12, d=5, m=8, kind=kind), 0.1), course, 0)[0]
        for kind in ("self", "c2")
    )
    assert with_spike > 0.8
    assert abs(without - 0.5) < 4.5 * 0.5 / 1000**0.5


def test_a_seed_decides_a_run_and_threads_do_not():
    task, before = NoisyTask(SMALL, 0.2), torch.get_num_threads()
    one = train_and_test("softmax", task, BRIEF, 3)
    torch.set_num_threads(2)
    try:
        assert train_and_test("softmax", task, BRIEF, 3) == one
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
    assert train_and_test("softmax", task, BRIEF, 4) != one


def test_a_study_does_every_run_once_and_reports_it(finished):
    out, runs, lines = finished
    # Two kinds, two kernels and two seeds at three points: one of the lengths is among the noises.
    assert len(runs) == len(lines) == len({run.key for run in runs}) == 2 * 2 * 2 * 3
    assert lines[0].startswith("1/24 softmax self n=8")
    assert len((out / RUNS).read_text().splitlines()) == 24


@pytest.mark.parametrize("after", [0, 1, 7])
def test_a_study_that_was_stopped_comes_out_as_one_that_was_not(finished, tmp_path, monkeypatch, after):
    began = []

    def stopped(*job):
        began.append(job)
        if len(began) > after:
            raise KeyboardInterrupt
        return train_and_test(*job)

    monkeypatch.setattr(training_study, "train_and_test", stopped)
    with pytest.raises(KeyboardInterrupt):
        run_study(PLAN, tmp_path / "study")
    monkeypatch.undo()
    lines = []
    assert outcome(run_study(PLAN, tmp_path / "study", resume=True, on_progress=lines.append)) == outcome(
        finished[1]
    )
    assert len(lines) == 24 - after


@given(cut=st.integers(1, 60))
@settings(max_examples=8)
def test_a_torn_last_line_is_done_again(finished, tmp_path_factory, cut):
    source, runs, _ = finished
    out = tmp_path_factory.mktemp("torn")
    (out / "settings.json").write_bytes((source / "settings.json").read_bytes())
    (out / RUNS).write_bytes((source / RUNS).read_bytes()[:-cut])
    assert outcome(run_study(PLAN, out, resume=True)) == outcome(runs)
    assert [json.loads(line)["seed"] for line in (out / RUNS).read_text().splitlines()] == [0, 1] * 12


def test_what_no_run_wrote_is_refused(finished, tmp_path):
    source = finished[0]
    line = json.loads((source / RUNS).read_text().splitlines()[0])
    foreign = [json.dumps(line | wrong) for wrong in ({"accuracy": 2.0}, {"n": 999}, {"more": 1})]
    for number, wrong in enumerate(["{}", "[1]", "x", *foreign]):
        out = tmp_path / str(number)
        out.mkdir()
        (out / "settings.json").write_bytes((source / "settings.json").read_bytes())
        (out / RUNS).write_text(wrong + "\n")
        with pytest.raises(UsageError, match=RUNS):
            run_study(PLAN, out, resume=True)


def test_a_folder_of_something_else_is_left_alone(finished, tmp_path):
    with pytest.raises(UsageError, match="--resume"):
        run_study(PLAN, finished[0])
    with pytest.raises(UsageError, match="seeds"):
        run_study(replace(PLAN, seeds=3), finished[0], resume=True)
    (tmp_path / "letter.txt").write_text("mine")
    for resume in (False, True):
        with pytest.raises(UsageError, match="another run"):
            run_study(PLAN, tmp_path, resume=resume)
        with pytest.raises(UsageError, match="no folder"):
            run_study(PLAN, tmp_path / "letter.txt", resume=resume)
    assert [path.name for path in tmp_path.iterdir()] == ["letter.txt"]


def test_a_full_disk_is_reported_and_loses_nothing(finished, tmp_path, monkeypatch):
    def full(path, run):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(training_study, "_append_run", full)
    with pytest.raises(CheckpointError, match="No space left"):
        run_study(PLAN, tmp_path / "study")
    monkeypatch.undo()
    assert outcome(run_study(PLAN, tmp_path / "study", resume=True)) == outcome(finished[1])


def test_results_hold_every_run_and_every_detector(finished, tmp_path):
    training_report.save_report(PLAN, finished[1], tmp_path)
    files = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert files["training.csv"].decode().count("\n") == 1 + 24 + 3 * len(DETECTORS)
    for name in PLAN.kernels:
        assert f"| {TRAINED_KERNELS[name].title}, c2 |" in files["training.md"].decode()
    assert files["training.png"].startswith(b"\x89PNG")
    assert files["training.svg"].startswith(b"<?xml")


def test_a_study_of_noise_alone_has_one_table(finished):
    plan = replace(PLAN, lengths=())
    text = training_report.format_page(plan, finished[1], training_report.score_detectors(plan))
    assert text.count("\n| --- |") == 1


@pytest.mark.parametrize(
    ("wrong", "error", "words"),
    [
        ({"sigmas": (-0.1,)}, UsageError, r"sigmas\[0\] is -0.1"),
        ({"sigmas": (math.nan,)}, UsageError, r"sigmas\[0\] is nan"),
        ({"sigmas": (0.1, 0.1)}, UsageError, "each once"),
        ({"lengths": (50,)}, UsageError, "multiple of d - 2"),
        ({"lengths": (12 * 1000,)}, UsageError, "4096"),
        ({"kernels": ("softmx",)}, UnknownName, "did you mean softmax"),
        ({"kernels": ()}, UsageError, "no kernels"),
        ({"kinds": ("c1",)}, UnknownName, "kind"),
        ({"seeds": 0}, UsageError, "seeds is 0"),
        ({"sigmas": (), "lengths": ()}, UsageError, "neither"),
        ({"course": StudyTrainConfig(batch=10000)}, UsageError, "lower one"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else None,
)
def test_what_is_no_plan_is_refused_before_anything_is_done(wrong, error, words):
    with pytest.raises(error, match=words):
        StudyPlan(**wrong)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [({"steps": 0}, "steps"), ({"batch": 3}, "even"), ({"rate": math.nan}, "rate"), ({"tried": 0}, "tried")],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else None,
)
def test_courses_that_cannot_be_taken_are_refused(wrong, words):
    with pytest.raises(UsageError, match=words):
        StudyTrainConfig(**wrong)


@pytest.mark.parametrize("wrong", [{"kind": "c1"}, {"inner": "ones"}, {"n": 6000, "d": 14}])
def test_only_tasks_with_noise_have_it(wrong):
    with pytest.raises(UsageError):
        NoisyTask(AttentionConfig(**({"n": 96, "d": 14} | wrong)))
