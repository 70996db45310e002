"""Laws of a ladder of seconds: its runs are ordinary ones, and stopping it anywhere changes nothing."""

import io
import json
import os
import random
import re
import shutil
import signal
from dataclasses import replace

import pytest
from safetensors.torch import load_file

from nhin.config import from_dict
from nhin.data.text.prepare import SplitConfig, open_tokens, prepare
from nhin.errors import CheckpointError, DataError, UsageError
from nhin.lm.evaluate import evaluate
from nhin.lm.loading import open_any_run
from nhin.lm.recipe import LMRecipe
from nhin.studies.ladder.jobs import LadderTask
from nhin.studies.ladder.plan import load_plan
from nhin.studies.ladder.run import run_ladder
from nhin.studies.ladder.settings import LadderSettings
from nhin.training.run_dir import lock_run_dir

RUNGS = (
    "lm-bigram",
    "lm-one-head",
    "lm-one-block",
    "lm-blocks-1",
    "lm-blocks-2",
    "lm-modern-1",
    "lm-modern-2",
)


def prepare_text(folder, cut, seed=0):
    rng = random.Random(seed)
    lines = [f"{rng.choice('abc') * 3} sees {rng.choice('xyz') * 2}.\n" for _ in range(80)]
    folder.mkdir()
    (folder / "text.txt").write_text("".join(lines), encoding="utf-8")
    prepare(str(folder / "text.txt"), "char", folder / "tokens", cut)
    return folder / "tokens"


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    return prepare_text(
        tmp_path_factory.mktemp("text") / "a", SplitConfig(block=100, validation=0.2, test=0.2)
    )


@pytest.fixture(scope="module")
def settings(text):
    return LadderSettings(
        data=str(text),
        budget=1.0,
        seeds=2,
        depths=(1, 2),
        rates=(1e-3, 1e-2),
        orders=(1, 5),
        dim=8,
        heads=2,
        context=8,
        batch=4,
        steps=9,
    )


@pytest.fixture(scope="module")
def finished(settings, tmp_path_factory):
    """A ladder that was never stopped: its folder, its results and the lines it wrote."""
    out, screen = tmp_path_factory.mktemp("straight") / "climb", io.StringIO()
    results = run_ladder(settings, out, screen=screen)
    return out, results, screen.getvalue().splitlines()


def read_results(out):
    """Read the result of every run, without its times."""
    results = {}
    for path in out.rglob("result.json"):
        tree = json.loads(path.read_text())
        results[str(path.parent.relative_to(out))] = {
            name: value for name, value in tree.items() if name not in ("cpu_seconds", "spent")
        }
    return results


def weights(out):
    """Return the weights of every run; the marks of their files depend on the time that training took."""
    paths = out.rglob("checkpoint/model.safetensors")
    return {f"{path.relative_to(out)} {k}": x.tolist() for path in paths for k, x in load_file(path).items()}


def test_every_rung_is_in_the_table_with_all_its_seeds(finished):
    out, results, _ = finished
    assert [row.rung for row in results.rows] == ["lm-ngram-1", "lm-ngram-5", *RUNGS]
    for row in results.rows:
        assert len(row.nats) == (1 if "ngram" in row.rung else 2)
        assert None not in row.nats
        assert row.parameters > 0
    assert {name: (out / name).stat().st_size > 100 for name in ("ladder.md", "ladder.json", "ladder.png")}
    tree = json.loads((out / "ladder.json").read_text())
    assert "/" not in tree["about"]["text"], "the path of a text is private to one machine"
    assert [row["rung"] for row in tree["rows"]] == [row.rung for row in results.rows]
    assert tree["about"]["split"] == "test"
    assert tree["about"]["tokens"] == 9 * 4 * 8
    assert set(tree["searches"]) == set(RUNGS)


def test_every_run_is_an_ordinary_one_and_its_figures_are_those_of_evaluating_it(finished, text):
    out, results, _ = finished
    corpus = open_tokens(text)
    for row in results.rows:
        names = ["."] if "ngram" in row.rung else ["seed-0", "seed-1"]
        for name, nats in zip(names, row.nats, strict=True):
            run = open_any_run(out / row.rung / name)
            cost = evaluate(run, corpus.split("test")).cost
            assert cost.nats == pytest.approx(nats, rel=1e-6)
            assert (out / row.rung / name / "log.jsonl").is_file()
        assert row.perplexity == pytest.approx(2.718281828 ** (sum(row.nats) / len(row.nats)))
    last = evaluate(open_any_run(out / "lm-modern-2" / "seed-0"), corpus.split("test")).cost
    one = json.loads((out / "lm-modern-2" / "seed-0" / "result.json").read_text())
    assert one["bits_per_byte"] == pytest.approx(last.bits_per_byte, rel=1e-6)


def test_runs_differ_in_rate_and_seed_and_a_rung_in_its_depth_alone(finished):
    out, results, _ = finished
    rows = {row.rung: row for row in results.rows}
    for rung in RUNGS:
        for seed in (0, 1):
            tree = json.loads((out / rung / f"seed-{seed}" / "recipe.json").read_text())
            recipe = from_dict(LMRecipe, tree, rung)
            assert (recipe.seed, recipe.schedule.rate) == (seed, rows[rung].rate)
            assert recipe.schedule.steps == 9
            assert (recipe.model.depth, recipe.model.dim) == (rows[rung].depth, 8)
            assert (recipe.data.batch, recipe.model.context) == (4, 8)
        tried = [path for path in (out / rung).iterdir() if path.name.startswith("search")]
        assert {open_any_run(path).step for path in tried} == {3}
    one, two = rows["lm-blocks-1"], rows["lm-blocks-2"]
    assert two.parameters - one.parameters == 12 * 8 * 8 + 2 * 8 * 2  # a block: matrices, and two norms
    assert two.memory > one.memory > rows["lm-bigram"].memory


def test_the_rate_of_a_rung_is_the_best_that_was_tried(finished):
    _, results, _ = finished
    for row in results.rows:
        if "ngram" not in row.rung:
            tried = results.searches[row.rung]
            assert f"{row.rate:g}" == min(tried, key=tried.get)


def test_every_run_writes_a_line_with_the_budget_left(finished):
    out, _, lines = finished
    runs = len(list(out.rglob("result.json")))
    assert len(lines) == runs
    assert lines[-1].startswith(f"[{runs}/{runs}] lm-modern-2 ")
    assert all(re.search(r"(left|over the budget)$", line) for line in lines)


@pytest.mark.parametrize("moments", [(1,), (4, 40, 120)])
def test_stopped_anywhere_and_resumed_it_ends_as_if_it_had_not_been(
    finished, settings, tmp_path, monkeypatch, moments
):
    """Ctrl-C comes in the middle of steps, in several runs."""
    counted, loss = iter(range(1, 10**6)), LadderTask.loss

    def interrupted(self, model, batch):
        if next(counted) in moments:
            os.kill(os.getpid(), signal.SIGINT)
        return loss(self, model, batch)

    monkeypatch.setattr(LadderTask, "loss", interrupted)
    out, screen = tmp_path / "climb", io.StringIO()
    assert run_ladder(settings, out, screen=screen) is None
    assert screen.getvalue().endswith("stopped; go on with --resume\n")
    assert not (out / "ladder.md").exists()
    for _ in moments[1:]:
        assert run_ladder(settings, out, resume=True, screen=io.StringIO()) is None
    results = run_ladder(settings, out, resume=True, screen=io.StringIO())
    assert read_results(out) == read_results(finished[0])
    assert weights(out) == weights(finished[0])
    for row, same in zip(results.rows, finished[1].rows, strict=True):
        assert replace(row, ms=None, cpu_seconds=0.0) == replace(same, ms=None, cpu_seconds=0.0)


def test_killed_before_a_result_was_written_a_run_is_measured_and_not_trained_again(
    finished, settings, tmp_path, monkeypatch
):
    out = tmp_path / "climb"
    shutil.copytree(finished[0], out)
    for name in ("lm-ngram-5", "lm-blocks-1/seed-1"):
        (out / name / "result.json").unlink()
    monkeypatch.setattr(LadderTask, "loss", None)
    results = run_ladder(settings, out, resume=True, screen=io.StringIO())
    assert read_results(out) == read_results(finished[0])
    (row, same) = (next(one for one in x.rows if one.rung == "lm-blocks-1") for x in (results, finished[1]))
    assert row.cpu_seconds >= same.cpu_seconds > 0


def test_what_is_finished_is_not_done_again(finished, settings, monkeypatch):
    out, results, lines = finished
    monkeypatch.setattr("nhin.studies.ladder.jobs.Trainer", None)
    monkeypatch.setattr("nhin.studies.ladder.jobs.train_ngram", None)
    screen = io.StringIO()
    assert run_ladder(settings, out, resume=True, screen=screen) == results
    assert screen.getvalue().splitlines() == lines


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"seeds": 3}, "was begun with seeds 2, not 3"),
        ({"depths": (1,)}, "was begun with depths 1,2, not 1"),
        ({"rates": ()}, "was begun with rates 0.001,0.01, not none"),
        ({"budget": 2.0}, "was begun with budget 1.0, not 2.0"),
        ({"dim": 16}, "was begun with dim 8, not 16"),
    ],
)
def test_another_ladder_in_the_same_folder_is_refused(finished, settings, changes, words):
    with pytest.raises(UsageError, match=words):
        run_ladder(replace(settings, **changes), finished[0], resume=True)


def test_another_text_a_second_ladder_and_what_is_no_ladder_are_refused(finished, settings, text, tmp_path):
    out = finished[0]
    with pytest.raises(UsageError, match="already holds a ladder; go on with --resume"):
        run_ladder(settings, out)
    with lock_run_dir(out), pytest.raises(UsageError, match="another training is running"):
        run_ladder(settings, out, resume=True)
    with pytest.raises(CheckpointError, match="there is no ladder in"):
        run_ladder(settings, tmp_path / "nothing", resume=True)
    with pytest.raises(UsageError, match="holds a run of one model"):
        run_ladder(settings, out / "lm-bigram" / "seed-0")
    moved = shutil.copytree(text, tmp_path / "tokens")
    shutil.copytree(out, tmp_path / "climb")
    other = prepare_text(tmp_path / "other", SplitConfig(block=100, validation=0.2, test=0.2), seed=1)
    shutil.rmtree(moved)
    shutil.copytree(other, moved)
    plan = json.loads((tmp_path / "climb" / "plan.json").read_text())
    plan["settings"]["data"] = str(moved)
    (tmp_path / "climb" / "plan.json").write_text(json.dumps(plan))
    with pytest.raises(UsageError, match="was begun on another text"):
        run_ladder(replace(settings, data=str(moved)), tmp_path / "climb", resume=True)


@pytest.mark.parametrize("words", ["", "{", "[]", '{"steps": 1e999}', '{"finished": "yes"}', "NaN"])
@pytest.mark.parametrize("name", ["plan.json", "lm-ngram-1/result.json"])
def test_a_torn_file_is_reported(finished, settings, tmp_path, name, words):
    out = tmp_path / "climb"
    shutil.copytree(finished[0], out)
    (out / name).write_text(words, encoding="utf-8")
    with pytest.raises(CheckpointError, match=re.escape(f"{name} is torn")):
        run_ladder(settings, out, resume=True, screen=io.StringIO())


def test_a_result_of_other_steps_is_refused(finished, settings, tmp_path):
    out = tmp_path / "climb"
    shutil.copytree(finished[0], out)
    path = out / "lm-blocks-2" / "seed-1" / "result.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"steps": 8}), encoding="utf-8")
    with pytest.raises(CheckpointError, match="is of another ladder"):
        run_ladder(settings, out, resume=True, screen=io.StringIO())


def test_a_rung_that_diverges_has_no_number_and_the_others_have(settings, tmp_path, monkeypatch):
    begin = LadderTask.init_state

    def broken(self, team):
        progress = begin(self, team)
        if self.recipe.model.depth == 2 and self.recipe.seed == 1:
            next(progress.model.parameters()).data.fill_(float("nan"))
        return progress

    monkeypatch.setattr(LadderTask, "init_state", broken)
    screen = io.StringIO()
    results = run_ladder(replace(settings, rates=(1e-2,)), tmp_path / "climb", screen=screen)
    assert [row.rung for row in results.rows if row.mean is None] == ["lm-blocks-2", "lm-modern-2"]
    assert [row.nats[1] for row in results.rows if row.mean is None] == [None, None]
    assert "seed 1: diverged" in screen.getvalue()
    answers = {verdict.claim: verdict.answer for verdict in results.verdicts}
    assert answers["lm-blocks: perplexity falls with depth, 1 > 2"] == "cannot be told"


def test_without_a_test_split_all_is_measured_on_validation_and_without_that_nothing_is(settings, tmp_path):
    some = prepare_text(tmp_path / "some", SplitConfig(block=100, validation=0.2, test=0.0))
    few = replace(settings, data=str(some), rates=(1e-2,), depths=(1,), seeds=1, orders=(1,), steps=2)
    results = run_ladder(few, tmp_path / "climb", screen=io.StringIO())
    corpus = open_tokens(some)
    assert results.about["split"] == "validation"
    assert results.about["measured_tokens"] == len(corpus.split("validation")) - 1
    none = prepare_text(tmp_path / "none", SplitConfig(block=100, validation=0.0, test=0.2))
    with pytest.raises(DataError, match="prepare it with --validation"):
        run_ladder(replace(few, data=str(none)), tmp_path / "other")


def test_the_steps_follow_from_the_budget_and_stay(settings, tmp_path, monkeypatch):
    few = replace(settings, rates=(1e-2,), depths=(1,), seeds=1, orders=(1,), steps=None)
    with pytest.raises(UsageError, match="a budget of 1s is too small for 5 runs"):
        run_ladder(replace(few, budget=0.6), tmp_path / "climb")
    assert load_plan(tmp_path / "climb") is None
    recorded_costs = []

    def fitting(settings, costs, fixed_seconds):
        recorded_costs.extend(costs)
        return 5

    monkeypatch.setattr("nhin.studies.ladder.plan.affordable_steps", fitting)
    results = run_ladder(few, tmp_path / "climb", screen=io.StringIO())
    assert results.about["steps"] == 5
    assert len(recorded_costs) == 5
    assert all(0 < one.search_evaluation <= one.evaluation * 2 for one in recorded_costs)
    assert load_plan(tmp_path / "climb").steps == 5
    monkeypatch.setattr("nhin.studies.ladder.plan.affordable_steps", lambda *given: 50)
    assert run_ladder(few, tmp_path / "climb", resume=True, screen=io.StringIO()).about["steps"] == 5


def test_all_rungs_take_a_step_in_every_round(finished):
    plan = load_plan(finished[0])
    assert [one.rung for one in plan.times] == list(RUNGS)
    rounds = {len(one.seconds) for one in plan.times}
    assert len(rounds) == 1
    assert rounds.pop() >= 5
    assert all(
        one.step == sorted(one.seconds)[len(one.seconds) // 2] or len(one.seconds) % 2 == 0
        for one in plan.times
    )
    for row in finished[1].rows:
        if "ngram" not in row.rung:
            assert row.ms == 1000 * next(one.step for one in plan.times if one.rung == row.rung)


def test_a_full_disk_is_reported_and_older_results_are_intact(finished, settings, tmp_path, monkeypatch):
    out = tmp_path / "climb"
    shutil.copytree(finished[0], out)
    before = (out / "ladder.json").read_bytes()

    def full(self, target):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pathlib.Path.replace", full)
    with pytest.raises(CheckpointError, match=r"cannot write .*ladder\.json: No space left"):
        run_ladder(settings, out, resume=True, screen=io.StringIO())
    assert (out / "ladder.json").read_bytes() == before


def test_torchrun_is_refused(settings, tmp_path, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(UsageError, match="in one process"):
        run_ladder(settings, tmp_path / "climb")
    assert not (tmp_path / "climb").exists()
