"""Laws of resuming a language model: a changed setting has its effect or is refused, data are compared."""

import json
import shutil
from io import StringIO

import pytest
from resumes import (
    DONE,
    LONGER,
    ThreadWatcher,
    is_same,
    list_settings,
    read_weights,
    steps_of,
    train_task,
)
from torch import nn

from nhin.config import from_dict, override, to_dict
from nhin.data.text.prepare import SplitConfig, open_tokens, prepare
from nhin.errors import CheckpointError, DataError
from nhin.lm.recipe import LMRecipe
from nhin.lm.resume import LM_RULES, NGRAM_RULES
from nhin.lm.task import LanguageModelTask
from nhin.training.config import Recipe
from nhin.training.resume import TRAINER_RULES, check_run
from nhin.training.trainer import Trainer

BASE = {
    "model": {"depth": 1, "dim": 16, "heads": 2, "context": 8, "dropout": 0.1, "experts": 2},
    "data": {"batch": 4},
    "schedule": {"steps": 4, "warmup": 2, "rate": 1e-2},
    "training": {
        "threads": 1,
        "precision": "float32",
        "optimizer": "muon",
        "log_seconds": 0.0,
        "validate_steps": 0,
        "validate_tokens": 16,
    },
}
TEXT = "the cat sat on the mat. a bird sang to the cat, and the cat sat still.\n" * 8


def make_recipe(*changes):
    return from_dict(LMRecipe, override(BASE, changes), "test")


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    folder = tmp_path_factory.mktemp("text")
    (folder / "text.txt").write_text(TEXT)
    return open_tokens(prepare(str(folder / "text.txt"), "char", folder / "tokens", SplitConfig(test=0.0)))


class Watched(ThreadWatcher, LanguageModelTask):
    """Notes its threads."""


def train(recipe, corpus, out, resume=False, **options):
    return train_task(Watched(recipe, corpus), out, resume, **options)


@pytest.fixture(scope="module")
def begun(corpus, tmp_path_factory):
    run = tmp_path_factory.mktemp("begun") / "run"
    train(make_recipe(f"schedule.steps={DONE}"), corpus, run)
    return run


@pytest.fixture(scope="module")
def plain(begun, corpus, tmp_path_factory):
    """The weights of the run continued with no setting changed but the number of steps."""
    run = shutil.copytree(begun, tmp_path_factory.mktemp("plain") / "run")
    train(make_recipe(LONGER), corpus, run, resume=True)
    return read_weights(run)


# A new value of every setting that may change. Without a check of its own the weights must differ.
MOVING = {
    "schedule.rate": "0.1",
    "schedule.steps": "5",
    "schedule.warmup": "0",
    "schedule.shape": "constant",
    "schedule.decay": "0.25",
    "schedule.floor": "1.0",
    "training.precision": "bfloat16",
    "training.grad_clip": "1e-4",
    "training.weight_decay": "30.0",
    "training.muon_rate": "5.0",
    "training.betas": "[0.5, 0.6]",
    "model.dropout": "0.5",
    "model.balance_loss": "5.0",
    "data.batch": "8",
    "data.accumulate": "2",
}
STILL = ("training.validate_steps=1", "schedule.rate=1e-30", "schedule.steps=9")
# The others, with further settings that show them, and the check: of the trainer, its log, and the numbers of
# tokens that were validated on.
SHOWN = {
    "training.threads": ("2", (), lambda trainer, log, limits: trainer.task.threads == 2),
    "training.ema_decay": (
        "0.5",
        (),
        lambda trainer, log, limits: (trainer.folder / "ema.safetensors").exists(),
    ),
    "training.save_seconds": ("0.0", (), lambda trainer, log, limits: trainer.saves == 2),
    "training.log_seconds": ("99.0", (), lambda trainer, log, limits: steps_of(log, "step") == [1, 2, 4]),
    "training.validate_steps": (
        "1",
        (),
        lambda trainer, log, limits: steps_of(log, "validation") == [2, 3, 4],
    ),
    "training.validate_tokens": (
        "9",
        ("training.validate_steps=3",),
        lambda trainer, log, limits: limits[-2:] == [9, None],
    ),
    "training.patience": ("1", STILL, lambda trainer, log, limits: trainer.state.step < 9),
    "training.device": ("cpu", (), lambda trainer, log, limits: trainer.task.device.type == "cpu"),
    "training.parallel": ("fsdp", (), lambda trainer, log, limits: trainer.config.parallel == "fsdp"),
    "training.compile": ("true", (), lambda trainer, log, limits: trainer.state.model.is_compiled),
    "model.checkpointing": (
        "true",
        (),
        lambda trainer, log, limits: trainer.state.model.config.checkpointing,
    ),
    "fitted": ("true", (), lambda trainer, log, limits: read_recipe(trainer.out)["fitted"]),
    "data.path": (
        "elsewhere",
        (),
        lambda trainer, log, limits: read_recipe(trainer.out)["data"]["path"] == "elsewhere",
    ),
}
# A new value of every setting that is fixed.
FIXED = {
    **{
        "seed": "1",
        "ngram": "2",
        "init_from": "elsewhere",
        "data.tokenizer": "byte",
        "training.optimizer": "adamw",
    },
    **{f"model.{name}": "3" for name in ("depth", "dim", "heads", "head_dim", "kv_heads", "context")},
    **{
        f"model.{name}": "3" for name in ("mlp_ratio", "hidden_dim", "experts", "top_k", "memory", "segments")
    },
    **{"model.mechanism": "linear", "model.settings.window": "3", "model.position.base": "3.0"},
    **{"model.positions": "none", "model.preset": "gpt2", "model.norm": "layer", "model.eps": "0.5"},
    **{"model.norm_order": "post", "model.final_norm": "false", "model.qk_norm": "true"},
    **{"model.mlp": "relu2", "model.bias": "true", "model.tie_embeddings": "false", "model.init": "zero"},
    **{"model.exits": "true", "model.qk_gain": "true", "model.bias_parts": "mlp"},
}


def read_recipe(out):
    return json.loads((out / "recipe.json").read_text())


def find_in(settings, name):
    return next((x for x in settings if x == name or x.startswith(f"{name}.")), None)


@pytest.mark.parametrize(
    ("recipe", "rules"), [(LMRecipe(), LM_RULES), (LMRecipe(), NGRAM_RULES), (Recipe(), TRAINER_RULES)]
)
def test_every_setting_is_in_one_of_two_lists_and_no_other_is(recipe, rules):
    assert not rules.changeable & rules.fixed
    assert rules.changeable | rules.fixed == set(list_settings(type(recipe)))


def test_every_setting_is_tried_below():
    tried = {*MOVING, *SHOWN, *FIXED, "workflow"}
    assert all(find_in(tried, name) for name in LM_RULES.changeable | LM_RULES.fixed)


@pytest.mark.parametrize("name", [*MOVING, *SHOWN])
def test_a_setting_that_may_change_has_its_new_value(name, begun, plain, corpus, tmp_path, monkeypatch):
    limits, run = [], shutil.copytree(begun, tmp_path / "run")
    monkeypatch.setattr(nn.Module, "compile", lambda model: setattr(model, "is_compiled", True))
    monkeypatch.setattr(
        "nhin.lm.task.mean_nats", lambda model, split, limit, dtype: limits.append(limit) or 2.0
    )
    value, more, check = SHOWN.get(name, (MOVING.get(name), (), None))
    trainer, screen, log = train(make_recipe(LONGER, *more, f"{name}={value}"), corpus, run, resume=True)
    assert f"{name} was " in screen
    assert find_value(read_recipe(run), name) == find_value(to_dict(trainer.recipe), name)
    if check is not None:
        assert check(trainer, log, limits)
    else:
        assert not is_same(read_weights(run), plain)


def find_value(tree, name):
    for key in name.split("."):
        tree = tree[key]
    return list(tree) if isinstance(tree, tuple) else tree


@pytest.mark.parametrize("name", FIXED)
def test_a_setting_that_is_fixed_is_refused_by_name_and_the_run_is_as_it_was(name, begun, corpus, tmp_path):
    run = shutil.copytree(begun, tmp_path / "run")
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    recipe = make_recipe(LONGER, f"{name}={FIXED[name]}")
    with pytest.raises(CheckpointError, match=rf"{name} was .*, is now .* cannot change"):
        check_run(run, recipe, LM_RULES)
    trainer = Trainer(LanguageModelTask(make_recipe(LONGER), corpus), run, StringIO())
    trainer.recipe = recipe  # as a task would have it that builds with any recipe
    with pytest.raises(CheckpointError, match=rf"{name} was "):
        trainer.fit(resume=True)
    assert before == {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}


def test_the_optimizer_has_the_settings_of_the_recipe_not_of_the_checkpoint(begun, corpus, tmp_path):
    changes = {"training.weight_decay": 3.0, "training.betas": [0.5, 0.6], "training.muon_rate": 2.0}
    run = shutil.copytree(begun, tmp_path / "run")
    recipe = make_recipe(LONGER, *(f"{name}={value}" for name, value in changes.items()))
    groups = train(recipe, corpus, run, resume=True)[0].state.optimizer.param_groups
    assert [(g["weight_decay"], tuple(g["betas"])) for g in groups] == [(3.0, (0.5, 0.6))] * 2 + [
        (0.0, (0.5, 0.6))
    ]
    assert [g.get("scale") for g in groups] == [2.0, 2.0, None]


def test_a_changed_schedule_states_its_rate_and_has_that_of_a_run_that_always_had_it(begun, corpus, tmp_path):
    changes = ("schedule.steps=8", "schedule.warmup=1", "schedule.rate=0.02")
    run = shutil.copytree(begun, tmp_path / "run")
    _, screen, log = train(make_recipe(*changes), corpus, run, resume=True)
    _, _, straight = train(make_recipe(*changes), corpus, tmp_path / "straight")
    rates = [[row["rate"] for row in rows if row["event"] == "step"][2:] for rows in (log, straight)]
    assert rates[0] == rates[1]
    assert f"the learning rate of step 3 is now {rates[0][0]:.4g} (it was 0.0001)" in screen


@pytest.fixture
def other(corpus, tmp_path):
    """Another text of the same characters, as many tokens, under the same tokenizer."""
    (tmp_path / "other.txt").write_text(TEXT[::-1])
    return open_tokens(
        prepare(str(tmp_path / "other.txt"), corpus.tokenizer, tmp_path / "tokens", SplitConfig(test=0.0))
    )


def test_other_tokens_are_refused_unless_allowed_and_then_read_from_their_beginning(
    begun, corpus, other, tmp_path
):
    run = shutil.copytree(begun, tmp_path / "run")
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    with pytest.raises(CheckpointError, match=r"other data: train, validation; .*--other-data"):
        train(make_recipe(LONGER), other, run, resume=True)
    assert before == {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    trainer, screen, _ = train(make_recipe(LONGER), other, run, resume=True, other_data=True)
    assert "other data: train, validation; reading begins at their first batch" in screen
    assert trainer.state.position.index == 2 * 4
    train(make_recipe("schedule.steps=5"), other, run, resume=True)
    with pytest.raises(CheckpointError, match="other data"):
        train(make_recipe("schedule.steps=6"), corpus, run, resume=True)


def test_the_same_tokens_in_another_folder_are_the_same_data(begun, corpus, plain, tmp_path):
    run = shutil.copytree(begun, tmp_path / "run")
    moved = open_tokens(shutil.copytree(corpus.folder, tmp_path / "moved"))
    _, screen, _ = train(make_recipe(LONGER), moved, run, resume=True)
    assert "data" not in screen
    assert is_same(read_weights(run), plain)


def test_tokens_swapped_behind_the_manifest_are_noticed(begun, corpus, other, tmp_path):
    run = shutil.copytree(begun, tmp_path / "run")
    torn = shutil.copytree(corpus.folder, tmp_path / "torn")
    swapped = bytearray((torn / "train-00000.npy").read_bytes())
    swapped[-4:] = swapped[-2:] + swapped[-4:-2]
    (torn / "train-00000.npy").write_bytes(swapped)
    with pytest.raises(DataError, match="a shard has changed"):
        train(make_recipe(LONGER), open_tokens(torn), run, resume=True)


def test_a_checkpoint_without_hashes_says_that_its_data_could_not_be_compared(begun, corpus, tmp_path):
    run = shutil.copytree(begun, tmp_path / "run")
    (run / "checkpoint" / "data.json").unlink()
    _, screen, _ = train(make_recipe(LONGER), corpus, run, resume=True)
    assert "no hashes of its data, so they could not be compared" in screen


def test_nats_of_other_tokens_are_not_compared_with_the_best_of_the_former(begun, corpus, other, tmp_path):
    run, recipe = shutil.copytree(begun, tmp_path / "run"), make_recipe(LONGER, "training.patience=1")
    notes = run / "checkpoint" / "trainer.json"
    trainer = json.loads(notes.read_text())
    trainer["notes"] |= {"best": 0.001}
    notes.write_text(json.dumps(trainer))
    trainer, _, _ = train(recipe, other, run, resume=True, other_data=True)
    assert trainer.state.notes["best"] > 1
    assert trainer.state.notes["worse"] == 0
