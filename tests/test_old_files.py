"""What nhin wrote before the names on disk changed (format 1) is read as if it were written today.

``old_files`` holds runs, tokens and an exported model as commit da3c67b wrote them.
"""

import json
import re
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from nhin.cli.app import main
from nhin.config import from_dict, read_recipe, to_dict
from nhin.data.text.prepare import prepare
from nhin.data.text.token_dataset import open_tokens
from nhin.errors import CheckpointError, DataError, RecipeError
from nhin.lm.huggingface.import_ import import_folder
from nhin.lm.loading import NGramRun, open_any_run, open_run
from nhin.lm.recipe import LMRecipe
from nhin.lm.task import train_language_model
from nhin.ocr.recipe import OCRRecipe, load_model
from nhin.ocr.task import train_recognizer
from nhin.training import checkpoint as checkpoints

OLD = Path(__file__).parent / "old_files"
NETWORKS = ["lm", "lm-moe", "lm-longformer", "lm-gpt2"]
# Old parts of the names of weights, and what stands there now.
RENAMED = {"feed_norm": "mlp_norm", "feed": "mlp", "widen": "up_proj", "narrow": "down_proj"}


def rename(name):
    return ".".join(RENAMED.get(part, part) for part in name.split("."))


def old_run(name, tmp_path):
    return Path(shutil.copytree(OLD / name, tmp_path / name))


def recipe_of(run, cls=LMRecipe):
    return from_dict(cls, json.loads((run / "recipe.json").read_text("utf-8")), str(run))


@pytest.mark.parametrize("name", NETWORKS)
def test_a_language_model_has_the_weights_of_its_file(name):
    run = open_run(OLD / name)
    kept = "ema" if (OLD / name / "checkpoint/ema.safetensors").exists() else "model"
    wanted = {rename(key): x for key, x in load_file(OLD / name / f"checkpoint/{kept}.safetensors").items()}
    found = run.model.state_dict()
    assert found.keys() == wanted.keys()
    assert all(torch.equal(found[key], wanted[key]) for key in wanted)


def test_counted_ngrams_open():
    assert isinstance(open_any_run(OLD / "ngram"), NGramRun)


def test_a_reader_has_the_weights_of_its_file():
    model, _, recipe = load_model(OLD / "reader/checkpoint")
    wanted = {rename(key): x for key, x in load_file(OLD / "reader/checkpoint/ema.safetensors").items()}
    found = model.state_dict()
    assert found.keys() == wanted.keys()
    assert all(torch.equal(found[key], wanted[key]) for key in wanted)
    assert recipe.model["token_noise"] == 0.1
    assert recipe.data.prefetch == 1


# Settings that came later, with the value that changes nothing.
ADDED = {"head_dim": None, "qk_gain": False, "bias_parts": "all"}


@pytest.mark.parametrize("name", NETWORKS)
def test_every_setting_keeps_its_value(name):
    """Values in order: names alone have changed."""
    before = json.loads((OLD / name / "recipe.json").read_text("utf-8"))
    after = to_dict(recipe_of(OLD / name))
    assert before["model"].pop("settings") != {"leaders": 1}
    settings = after["model"].pop("settings")
    assert {name: after["model"].pop(name) for name in ADDED} == ADDED
    assert settings == ({"window": 4, "global_tokens": 1} if name == "lm-longformer" else {})
    assert list(before["model"].values()) == list(after["model"].values())
    assert before["model"].keys() - after["model"].keys() == {
        "feed", "expand", "inner", "tied", "start", "active", "balance", "order"
    }  # fmt: skip
    assert before["training"]["clip"] == after["training"]["grad_clip"]
    assert before["training"]["average"] == after["training"]["ema_decay"]


@pytest.mark.parametrize("name", ["lm", "lm-moe", "lm-longformer"])
def test_a_language_model_is_trained_on(name, tmp_path, capsys):
    run, recipe = old_run(name, tmp_path), recipe_of(OLD / name)
    train_language_model(recipe_longer(recipe), open_tokens(OLD / "tokens"), run, resume=True)
    # The steps are the one setting that changed; none is said to have changed for its name alone.
    assert re.findall(r"([\w.]+) was .*, is now ", capsys.readouterr().err) == ["schedule.steps"]
    assert json.loads((run / "checkpoint/format.json").read_text("utf-8")) == checkpoints.FORMAT == 2
    assert not any("feed" in key for key in load_file(run / "checkpoint/model.safetensors"))
    assert open_run(run).step == recipe.schedule.steps + 1


def recipe_longer(recipe):
    tree = to_dict(recipe)
    tree["schedule"]["steps"] += 1
    return from_dict(type(recipe), tree, "longer")


def test_a_reader_is_trained_on(tmp_path):
    run = old_run("reader", tmp_path)
    recipe = recipe_longer(recipe_of(run, OCRRecipe))
    train_recognizer(recipe, run, resume=True)
    assert json.loads((run / "checkpoint/trainer.json").read_text("utf-8"))["step"] == recipe.schedule.steps


def test_an_exported_language_model_is_taken_in(tmp_path):
    import_folder(OLD / "hf", tmp_path / "run")
    ours, theirs = (open_run(path).model.state_dict() for path in (OLD / "lm-gpt2", tmp_path / "run"))
    # GPT-2's layout has biases, which this model does not: they are zeros.
    for name, weight in theirs.items():
        torch.testing.assert_close(weight, ours.get(name, torch.zeros_like(weight)))
    assert ours.keys() <= theirs.keys()


def test_tokens_open_and_new_ones_are_of_the_new_format(tmp_path):
    old = open_tokens(OLD / "tokens")
    assert old.manifest.split.split == "blocks"
    prepare(str(OLD / "text.txt"), "char", tmp_path / "tokens")
    new = json.loads((tmp_path / "tokens/manifest.json").read_text("utf-8"))
    assert (new["format"], "cut" in new) == (2, False)
    assert open_tokens(tmp_path / "tokens").tokenizer.fingerprint == old.tokenizer.fingerprint


def test_a_recipe_with_old_names_is_the_recipe_with_the_new_ones(tmp_path):
    old, new = tmp_path / "old.toml", tmp_path / "new.toml"
    text = (
        '[model]\nmlp = "relu2"\nmlp_ratio = 2\ntie_embeddings = false\ninit = "zero"\nnorm_order = "post"\n'
    )
    text += "[training]\ngrad_clip = 2.0\nema_decay = 0.5\n"
    new.write_text(text)
    words = {"mlp_ratio": "expand", "tie_embeddings": "tied", "norm_order": "order", "init": "start"}
    words |= {"grad_clip": "clip", "ema_decay": "average", "mlp =": "feed ="}
    for name, before in words.items():
        text = text.replace(name, before)
    old.write_text(text)
    assert old.read_text() != new.read_text()
    assert from_dict(LMRecipe, read_recipe(old), "old") == from_dict(LMRecipe, read_recipe(new), "new")


def test_a_setting_under_both_names_is_refused_with_both():
    with pytest.raises(RecipeError, match=r"feed.*mlp"):
        from_dict(LMRecipe, {"model": {"feed": "relu2", "mlp": "relu2"}}, "mine.toml")
    with pytest.raises(RecipeError, match=r"misread.*token_noise"):
        from_dict(OCRRecipe, {"model": {"misread": 0.1, "token_noise": 0.1}}, "mine.toml")


def test_an_old_name_on_the_command_line_is_answered_with_the_new_one(tmp_path, capsys):
    out = ["--out", str(tmp_path / "run"), "--data", str(OLD / "tokens")]
    assert main(["train", "lm-fast", *out, "--set", "model.feed=gelu"]) == 2
    assert "feed and mlp, which is its new name" in capsys.readouterr().err


def test_what_a_later_nhin_wrote_is_refused(tmp_path):
    run = old_run("lm", tmp_path)
    (run / "checkpoint/format.json").write_text("3")
    with pytest.raises(CheckpointError, match="format 3"):
        open_run(run)
    tokens = Path(shutil.copytree(OLD / "tokens", tmp_path / "tokens"))
    path = tokens / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text("utf-8")) | {"format": 3}))
    with pytest.raises(DataError, match="format 3"):
        open_tokens(tokens)
