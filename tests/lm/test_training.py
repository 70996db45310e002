"""Laws of training a language model: stopping in any way, in pieces or in processes, changes nothing."""

import json
import random
import time
from dataclasses import replace

import pytest
import torch
from forks import read_messages, start_training, train_in_two, wait_for_lines
from runs import small_artifacts
from safetensors.torch import load_file

from nhin.config import from_dict, to_dict
from nhin.data.text.prepare import SplitConfig, open_tokens, prepare
from nhin.errors import CheckpointError, Diverged, UsageError
from nhin.lm.budget import TrainBudget, fit_to_budget
from nhin.lm.evaluate import mean_nats
from nhin.lm.loading import open_run
from nhin.lm.recipe import LMRecipe
from nhin.lm.task import LanguageModelTask, find_matrices, train_language_model
from nhin.models.gpt import GPT
from nhin.training import checkpoint as checkpoints
from nhin.training.distributed import ProcessGroup, average_tensor
from nhin.training.plots import plot_log
from nhin.training.run_dir import lock_run_dir

FILES = ("model", "optimizer")
# Rounding moves a loss by less than 1e-5 in a dozen steps; half a gradient, or a rate 2 % off, by 1e-2.
CLOSE = 1e-4


@pytest.fixture(scope="module", autouse=True)
def artifacts_are_small():
    with small_artifacts():
        yield


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """Sentences that follow rules, so that there is something to learn; few, so that epochs are short."""
    folder = tmp_path_factory.mktemp("text")
    rng = random.Random(0)
    said = [f"{rng.choice('abc') * 3} sees {rng.choice('xyz') * 2}.\n" for _ in range(60)]
    (folder / "text.txt").write_text("".join(said), encoding="utf-8")
    prepare(str(folder / "text.txt"), "char", folder / "tokens", SplitConfig(validation=0.2, test=0.0))
    return open_tokens(folder / "tokens")


def recipe(steps=20, **changes):
    tree = {
        "model": {"depth": 1, "dim": 16, "heads": 2, "context": 8, "dropout": 0.1},
        "data": {"batch": 4},
        "schedule": {"steps": steps, "warmup": 2, "rate": 1e-2, "shape": "constant"},
        "training": {"threads": 1, "precision": "float32", "optimizer": "muon", "log_seconds": 0.0},
    }
    for table, entries in changes.items():
        tree[table] = {**tree[table], **entries}
    return from_dict(LMRecipe, tree, "test")


def end_of(run):
    return {name: load_file(run / "checkpoint" / f"{name}.safetensors") for name in FILES}


def same(a, b):
    return all(a[f].keys() == b[f].keys() and all(torch.equal(a[f][k], b[f][k]) for k in a[f]) for f in FILES)


def losses(run):
    rows = map(json.loads, (run / "log.jsonl").read_text().splitlines())
    return [row["loss"] for row in rows if row["event"] == "step"]


@pytest.fixture(scope="module")
def straight(corpus, tmp_path_factory):
    run = tmp_path_factory.mktemp("straight") / "run"
    train_language_model(recipe(), corpus, run)
    return run


@pytest.mark.parametrize("cuts", [(1,), (7, 13)])
def test_any_number_of_stops_gives_the_weights_of_none_across_epochs(corpus, straight, tmp_path, cuts):
    for steps in (*cuts, 20):
        train_language_model(recipe(steps), corpus, tmp_path / "run", resume=steps > cuts[0])
    assert same(end_of(tmp_path / "run"), end_of(straight))
    held = checkpoints.load(straight / "checkpoint")
    assert held.values["trainer"]["position"]["epoch"] >= 1


def toml(path, wanted):
    """Write a recipe as people do."""
    tree = to_dict(wanted)
    words = 'workflow = "lm"\n'
    for table in ("model", "data", "schedule", "training"):
        entries = {k: v for k, v in tree[table].items() if v is not None and v != {}}
        words += f"[{table}]\n" + "".join(f"{k} = {json.dumps(v)}\n" for k, v in entries.items())
    path.write_text(words, encoding="utf-8")
    return path


def test_killed_at_any_moment_it_ends_as_if_it_had_not_been(corpus, straight, tmp_path):
    path, run = toml(tmp_path / "mine.toml", recipe(training={"save_seconds": 0.0})), tmp_path / "run"
    data = ("--data", str(corpus.folder))
    moment = random.Random(time.time_ns())  # a new moment on every run is the point
    for kill in range(2):
        process = start_training(path, run, *data, *(["--resume"] if kill else []))
        wait_for_lines(process, run, 3 + 6 * kill)
        time.sleep(moment.random() * 0.05)
        process.kill()
        process.join()
    process = start_training(path, run, *data, "--resume")
    process.join()
    assert process.exitcode == 0, read_messages(run)
    assert same(end_of(run), end_of(straight))


def test_a_batch_in_pieces_moves_the_weights_as_a_whole_one_does(corpus, tmp_path):
    plain = {"model": {"dropout": 0.0}, "training": {"optimizer": "adamw"}}
    for name, pieces in (("whole", 1), ("pieces", 4)):
        train_language_model(
            recipe(5, data={"batch": 8, "accumulate": pieces}, **plain), corpus, tmp_path / name
        )
    whole, pieces = (end_of(tmp_path / name)["model"] for name in ("whole", "pieces"))
    for name, weight in whole.items():
        torch.testing.assert_close(pieces[name], weight, rtol=1e-3, atol=1e-4)
    assert losses(tmp_path / "pieces") == pytest.approx(losses(tmp_path / "whole"), abs=CLOSE)


@pytest.mark.parametrize("parallel", ["ddp", "fsdp"])
def test_two_processes_have_the_losses_of_one_and_what_they_save_goes_on_alone(corpus, tmp_path, parallel):
    def wanted(steps, by="ddp"):
        return recipe(steps, model={"dropout": 0.0, "depth": 2}, training={"parallel": by})

    data = ("--data", str(corpus.folder))
    train_in_two(toml(tmp_path / "mine.toml", wanted(8, parallel)), tmp_path / "two", *data)
    train_language_model(wanted(8), corpus, tmp_path / "one")
    assert len(losses(tmp_path / "two")) == 8
    assert losses(tmp_path / "two") == pytest.approx(losses(tmp_path / "one"), abs=CLOSE)
    assert len(list((tmp_path / "two" / "checkpoint").glob("model*"))) == (2 if parallel == "fsdp" else 1)
    # What two saved, one takes up; what one saved, two take up.
    train_language_model(wanted(10), corpus, tmp_path / "two", resume=True)
    train_language_model(wanted(10), corpus, tmp_path / "one", resume=True)
    assert losses(tmp_path / "two")[8:] == pytest.approx(losses(tmp_path / "one")[8:], abs=CLOSE)
    more = toml(tmp_path / "more.toml", wanted(12, parallel))
    train_in_two(more, tmp_path / "one", *data, "--resume")
    train_language_model(wanted(12), corpus, tmp_path / "two", resume=True)
    assert losses(tmp_path / "one")[10:] == pytest.approx(losses(tmp_path / "two")[10:], abs=CLOSE)


def test_it_learns_and_leaves_curves_and_samples(corpus, tmp_path, monkeypatch):
    monkeypatch.setattr("nhin.lm.artifacts.plot_log", plot_log)
    train_language_model(
        recipe(120, model={"dropout": 0.0}, training={"validate_steps": 60}), corpus, tmp_path / "run"
    )
    assert losses(tmp_path / "run")[-1] < losses(tmp_path / "run")[0] / 2
    assert (tmp_path / "run" / "curves.png").read_bytes()[1:4] == b"PNG"
    assert "==> step 60 <==" in (tmp_path / "run" / "samples.txt").read_text(encoding="utf-8")
    run = open_run(tmp_path / "run")
    whole = mean_nats(run.model, corpus.split("validation"))
    rows = map(json.loads, (tmp_path / "run" / "log.jsonl").read_text().splitlines())
    told = [row for row in rows if row["event"] == "validation"]
    assert [row["step"] for row in told] == [60, 120]
    assert told[-1]["nats"] == pytest.approx(whole, abs=1e-4)


def test_nats_of_a_text_are_those_of_its_windows_one_by_one(corpus):
    model, split = GPT(corpus.tokenizer.vocab, recipe().model).eval(), corpus.split("validation")
    total = 0.0
    for first in range(0, len(split) - 1, 8):
        ids = torch.from_numpy(split.read(first, min(first + 9, len(split))))[None]
        with torch.no_grad():
            logs = model(ids[:, :-1]).log_softmax(-1)
        total -= float(logs.gather(-1, ids[:, 1:, None]).sum())
    assert mean_nats(model, split) == pytest.approx(total / (len(split) - 1), abs=1e-5)


def test_it_ends_when_validation_gets_no_better(corpus, tmp_path):
    still = recipe(40, schedule={"rate": 1e-12}, training={"validate_steps": 2, "patience": 3})
    train_language_model(still, corpus, tmp_path / "run")
    assert len(losses(tmp_path / "run")) < 15


def test_budgets_fit_the_schedule(corpus, monkeypatch):
    wanted = recipe(100, schedule={"warmup": 10})
    assert fit_to_budget(wanted, corpus, TrainBudget(steps=50)).schedule.steps == 50
    assert fit_to_budget(wanted, corpus, TrainBudget(steps=50)).schedule.warmup == 5
    assert fit_to_budget(wanted, corpus, TrainBudget(tokens=4 * 8 * 7 + 5)).schedule.steps == 7
    monkeypatch.setattr("nhin.lm.budget.measure_step_seconds", lambda recipe, corpus: 0.5)
    assert fit_to_budget(wanted, corpus, TrainBudget(cpu_seconds=30.0)).schedule.steps in (59, 60)
    assert fit_to_budget(wanted, corpus, TrainBudget()) == wanted
    with pytest.raises(UsageError, match="less than one step, which is 32"):
        fit_to_budget(wanted, corpus, TrainBudget(tokens=31))
    with pytest.raises(UsageError, match="give one budget, not 2"):
        TrainBudget(steps=1, tokens=1)
    with pytest.raises(UsageError, match="cpu-seconds is nan"):
        TrainBudget(cpu_seconds=float("nan"))


def test_the_cost_of_a_step_is_found_on_a_model_that_is_thrown_away(corpus, straight, tmp_path):
    budgeted = fit_to_budget(recipe(), corpus, TrainBudget(cpu_seconds=60.0))
    assert budgeted.schedule.steps > 20
    train_language_model(recipe(), corpus, tmp_path / "run")
    assert same(end_of(tmp_path / "run"), end_of(straight))


def test_pieces_are_the_batch(corpus):
    task = LanguageModelTask(recipe(data={"batch": 4, "accumulate": 2}), corpus)
    with task.open_batches(task.init_state(ProcessGroup()), ProcessGroup()) as stream:
        batch = next(stream)
    assert batch.samples == 4 * 8
    assert torch.equal(batch.tokens[:, 1:], batch.targets[:, :-1])
    pieces = task.split_batch(batch)
    assert [len(piece.tokens) for piece in pieces] == [2, 2]
    assert torch.equal(torch.cat([piece.targets for piece in pieces]), batch.targets)


def test_experts_average_over_processes_and_two_of_them_hold_the_pieces_of_one(corpus):
    wanted = recipe(model={"experts": 2}, data={"batch": 8, "accumulate": 2})
    task = LanguageModelTask(wanted, corpus)
    for world in (1, 2):
        model = task.init_state(ProcessGroup(0, world)).model
        assert [block.mlp.average for block in model.blocks] == [average_tensor if world > 1 else None]
    pieces = []
    for group in (ProcessGroup(), ProcessGroup(0, 2), ProcessGroup(1, 2)):
        with task.open_batches(task.init_state(group), group) as stream:
            pieces.append([sorted(piece.tokens.tolist()) for piece in task.split_batch(next(stream))])
    assert pieces[0] == [sorted(a + b) for a, b in zip(*pieces[1:], strict=True)]


def test_muon_takes_the_matrices_of_blocks_and_nothing_else():
    model = GPT(11, recipe(model={"mlp": "swiglu", "positions": "learned"}).model)
    names = {id(p): name for name, p in model.named_parameters()}
    found = {names[id(p)]: count for p, count in find_matrices(model).items()}
    assert found == {
        "blocks.0.attention.query.weight": 1,
        "blocks.0.attention.key_value.weight": 2,
        "blocks.0.attention.out.weight": 1,
        "blocks.0.mlp.up_proj.weight": 2,
        "blocks.0.mlp.down_proj.weight": 1,
    }


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"data": {"batch": 4, "accumulate": 3}}, "does not divide the batch of 4"),
        ({"training": {"parallel": "fsdp", "ema_decay": 0.9}}, "no average"),
        ({"model": {"norm": "scale"}, "training": {"parallel": "fsdp"}}, "fsdp takes no norm='scale'"),
    ],
)
def test_recipes_that_make_no_sense_are_refused(corpus, changes, words):
    with pytest.raises(UsageError, match=words):
        LanguageModelTask(recipe(**changes), corpus)


def test_a_run_is_not_written_over_nor_shared_nor_taken_up_with_another_text(corpus, straight, tmp_path):
    before = end_of(straight)
    with pytest.raises(UsageError, match="--resume"):
        train_language_model(recipe(), corpus, straight)
    with lock_run_dir(tmp_path / "held"), pytest.raises(UsageError, match="another training is running"):
        train_language_model(recipe(), corpus, tmp_path / "held")
    (tmp_path / "other.txt").write_text("áo dài " * 80, encoding="utf-8")
    prepare(str(tmp_path / "other.txt"), "char", tmp_path / "other", SplitConfig(test=0.0))
    with pytest.raises(CheckpointError, match="trained with another tokenizer"):
        train_language_model(recipe(), open_tokens(tmp_path / "other"), straight, resume=True)
    assert same(end_of(straight), before)


def test_a_loss_that_is_no_number_leaves_the_last_checkpoint(corpus, tmp_path):
    train_language_model(recipe(3), corpus, tmp_path / "run")
    before = end_of(tmp_path / "run")
    wild = recipe(9)
    wild = replace(wild, schedule=replace(wild.schedule, rate=1e38))
    with pytest.raises(Diverged):
        train_language_model(wild, corpus, tmp_path / "run", resume=True)
    assert same(end_of(tmp_path / "run"), before)


@pytest.mark.parametrize(("batch", "world", "accumulate", "sizes"), [(20, 2, 4, [2] * 5), (4, 2, 4, [1, 1])])
def test_parts_are_of_equal_size_however_rows_are_shared(corpus, batch, world, accumulate, sizes):
    task = LanguageModelTask(recipe(data={"batch": batch, "accumulate": accumulate}), corpus)
    with task.open_batches(task.init_state(ProcessGroup()), ProcessGroup(1, world)) as stream:
        assert [len(part.tokens) for part in task.split_batch(next(stream))] == sizes
