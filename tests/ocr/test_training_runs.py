"""Laws of training a reader: stopping in any way and resuming changes nothing."""

import dataclasses
import json
import os
import random
import signal
import time

import numpy as np
import pytest
import torch
from forks import read_messages, start_training, train_in_two, wait_for_lines
from PIL import Image
from safetensors.torch import load_file

from nhin.config import from_dict, read_recipe, recipe_names
from nhin.errors import CheckpointError, DataError, Diverged, UnknownName, UsageError
from nhin.ocr.recipe import OCRRecipe, build_model, build_source, load_model
from nhin.ocr.task import train_recognizer
from nhin.training import checkpoint as checkpoints
from nhin.training.run_dir import lock_run_dir

STATE = ("model", "ema", "optimizer")


@pytest.fixture(scope="module")
def crops(tmp_path_factory):
    """A set of crops without need for fonts: bars whose count is the label."""
    folder = tmp_path_factory.mktemp("crops")
    rng = np.random.default_rng(0)
    rows = []
    for i in range(48):
        bars = 1 + i % 5
        picture = np.full((40, 24 + 12 * bars, 3), 230, np.uint8)
        for bar in range(bars):
            picture[8:32, 12 + 12 * bar : 16 + 12 * bar] = rng.integers(0, 90)
        Image.fromarray(picture).save(folder / f"{i}.png")
        rows.append(f"{i}.png\t{'ộ' * bars}\n")
    (folder / "labels.tsv").write_text("".join(rows), encoding="utf-8")
    return folder


def recipe_on(crops, steps=20, **training):
    tree = read_recipe("reader-tiny")
    tree["model"] |= {"dropout": 0.1, "dim": 16}
    tree["data"] = {"real": [str(crops)], "real_share": 1.0, "chunk": 16, "cycle": 3, "workers": 0}
    tree["schedule"] = {"steps": steps, "warmup": 5, "rate": 3e-3, "shape": "constant"}
    tree["training"] |= {"batch_pixels": 12000, "log_seconds": 0.0, "precision": "float32"} | training
    return from_dict(OCRRecipe, tree, "test")


def end_of(run):
    return {name: load_file(run / "checkpoint" / f"{name}.safetensors") for name in STATE}


def same(a, b):
    return all(a[f].keys() == b[f].keys() and all(torch.equal(a[f][k], b[f][k]) for k in a[f]) for f in STATE)


@pytest.fixture(scope="module")
def straight(crops, tmp_path_factory):
    run = tmp_path_factory.mktemp("straight") / "run"
    train_recognizer(recipe_on(crops), run)
    return run


def positions(run):
    return json.loads((run / "checkpoint" / "trainer.json").read_text())["position"]


@pytest.mark.parametrize("cuts", [(1,), (5,), (3, 9, 15), (19,)])
def test_any_number_of_stops_gives_the_weights_of_none(crops, straight, tmp_path, cuts):
    seen = set()
    for steps in (*cuts, 20):
        train_recognizer(recipe_on(crops, steps), tmp_path / "run", resume=steps != cuts[0])
        seen.add((positions(tmp_path / "run")["sweep"], positions(tmp_path / "run")["chunk"]))
    assert same(end_of(tmp_path / "run"), end_of(straight))
    assert len(cuts) == 1 or len(seen) > 2, "the cuts should lie in several chunks"


def test_bfloat16_resumes_bit_for_bit_too(crops, tmp_path):
    for name, parts in (("a", (8,)), ("b", (3, 8))):
        for steps in parts:
            train_recognizer(
                recipe_on(crops, steps, precision="bfloat16"), tmp_path / name, resume=steps != parts[0]
            )
    assert same(end_of(tmp_path / "a"), end_of(tmp_path / "b"))


def toml(recipe, path):
    def line(key, value):
        return f"{key} = {json.dumps(value)}\n"

    tree = dataclasses.asdict(recipe)
    words = "".join(line(key, tree.pop(key)) for key in ("workflow", "seed", "charset"))
    for table, entries in tree.items():
        entries = {k: v for k, v in entries.items() if v is not None and v != {}}
        words += f"[{table}]\n" + "".join(line(k, v) for k, v in entries.items())
    path.write_text(words, encoding="utf-8")
    return path


def test_killing_it_at_any_moment_changes_nothing(crops, tmp_path):
    """SIGKILL at random moments, most of them while a checkpoint is being written."""
    recipe = recipe_on(crops, 24, save_seconds=0.0)
    path = toml(recipe, tmp_path / "mine.toml")
    moment = random.Random(time.time_ns())  # a new moment on every run is the point
    run = tmp_path / "killed"
    for kill in range(2):
        process = start_training(path, run, "--resume") if kill else start_training(path, run)
        wait_for_lines(process, run, 3 + 8 * kill)
        time.sleep(moment.random() * 0.1)
        process.kill()
        process.join()
        assert process.exitcode == -signal.SIGKILL
    process = start_training(path, run, "--resume")
    process.join()
    assert process.exitcode == 0, read_messages(run)
    train_recognizer(recipe, tmp_path / "straight")
    assert same(end_of(run), end_of(tmp_path / "straight"))


def test_ctrl_c_saves_and_says_how_to_go_on(crops, tmp_path):
    path = toml(recipe_on(crops, 100_000), tmp_path / "mine.toml")
    process = start_training(path, tmp_path / "run")
    wait_for_lines(process, tmp_path / "run", 2)
    os.kill(process.pid, signal.SIGINT)
    process.join(120)
    assert process.exitcode == 0
    assert "stopped; continue with --resume" in read_messages(tmp_path / "run")
    held = checkpoints.load(tmp_path / "run" / "checkpoint")
    assert held.values["trainer"]["step"] >= 2


def test_a_run_is_not_written_over_nor_shared_nor_resumed_from_nothing(crops, straight, tmp_path):
    with pytest.raises(UsageError, match="--resume"):
        train_recognizer(recipe_on(crops), straight)
    with lock_run_dir(tmp_path), pytest.raises(UsageError, match="another training"):
        train_recognizer(recipe_on(crops), tmp_path)
    with pytest.raises(CheckpointError, match="no run in"):
        train_recognizer(recipe_on(crops), tmp_path / "nowhere", resume=True)


def test_a_run_killed_before_its_first_checkpoint_begins_anew(crops, straight, tmp_path):
    (tmp_path / "run").mkdir()
    train_recognizer(recipe_on(crops), tmp_path / "run", resume=True)
    assert same(end_of(tmp_path / "run"), end_of(straight))


def test_divergence_leaves_the_checkpoint_as_it_was(crops, tmp_path):
    train_recognizer(recipe_on(crops, 3), tmp_path / "run")
    before = end_of(tmp_path / "run")
    wild = recipe_on(crops, 60)
    wild = dataclasses.replace(wild, schedule=dataclasses.replace(wild.schedule, rate=1e30))
    with pytest.raises(Diverged):
        train_recognizer(wild, tmp_path / "run", resume=True)
    assert same(end_of(tmp_path / "run"), before)


def test_another_network_cannot_continue_a_run(crops, tmp_path):
    train_recognizer(recipe_on(crops, 2), tmp_path / "run")
    other = recipe_on(crops, 4)
    other = dataclasses.replace(other, model={**other.model, "dim": 8})
    with pytest.raises(CheckpointError, match="does not fit the recipe"):
        train_recognizer(other, tmp_path / "run", resume=True)


def test_validation_reads_with_both_heads_and_draws_nothing_from_chance(crops, straight, tmp_path):
    train_recognizer(recipe_on(crops, validate_steps=7, validate_crops=10), tmp_path / "run", data=crops)
    assert same(end_of(tmp_path / "run"), end_of(straight))
    lines = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    scores = [line for line in lines if line["event"] == "validation"]
    assert [line["step"] for line in scores] == [7, 14, 20]
    assert all(line["crops"] == 10 and 0 <= line["ctc"] <= 1 and 0 <= line["decoder"] <= 1 for line in scores)


def test_a_checkpoint_gives_its_reader_back(straight):
    model, charset, recipe = load_model(straight / "checkpoint")
    assert recipe.schedule.steps == 20
    assert not model.training
    assert charset.decode(charset.encode("Phở")) == "Phở"
    last, _, _ = load_model(straight / "checkpoint", use_ema=False)
    assert not torch.equal(last.flatten.weight, model.flatten.weight)


def test_a_run_can_begin_from_another_ones_weights(crops, straight, tmp_path):
    recipe = recipe_on(crops, 1, start=str(straight / "checkpoint"))
    still = dataclasses.replace(recipe, schedule=dataclasses.replace(recipe.schedule, rate=0.0))
    train_recognizer(still, tmp_path / "run")
    began, _, _ = load_model(tmp_path / "run" / "checkpoint", use_ema=False)
    wanted, _, _ = load_model(straight / "checkpoint")
    assert torch.equal(began.flatten.weight, wanted.flatten.weight)


def test_wrong_settings_of_the_network_and_the_data_are_said(tmp_path):
    with pytest.raises(UnknownName, match="did you mean dim"):
        build_model(OCRRecipe(model={"dmi": 3}))
    with pytest.raises(DataError, match="no data in"):
        build_source(from_dict(OCRRecipe, {"data": {"real": [str(tmp_path / "x")]}}, "x"))


@pytest.mark.parametrize("name", [name for name in recipe_names() if name.startswith("reader-")])
def test_every_recipe_that_comes_with_nhin_builds(name):
    with torch.device("meta"):
        build_model(from_dict(OCRRecipe, read_recipe(name), name))


def test_two_processes_resume_bit_for_bit(crops, tmp_path):
    whole, part = (toml(recipe_on(crops, steps), tmp_path / f"{steps}.toml") for steps in (8, 3))
    train_in_two(whole, tmp_path / "whole")
    train_in_two(part, tmp_path / "cut")
    train_in_two(whole, tmp_path / "cut", "--resume")
    assert same(end_of(tmp_path / "whole"), end_of(tmp_path / "cut"))
    assert positions(tmp_path / "whole") == positions(tmp_path / "cut")


def test_a_wish_to_stop_that_comes_while_gradients_are_averaged_is_not_lost(crops, tmp_path, monkeypatch):
    asked = []

    def average(world, grads, wishes, losses):
        asked.append(wishes[0])
        if len(asked) == 3:
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.01)
        return wishes, losses

    monkeypatch.setattr("nhin.training.trainer.all_reduce_mean", average)
    train_recognizer(recipe_on(crops), tmp_path / "run")
    assert asked == [False, False, False, True]
    assert json.loads((tmp_path / "run" / "checkpoint" / "trainer.json").read_text())["step"] == 4
