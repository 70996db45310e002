"""A run is opened only when it is whole: torn, foreign, huge and broken ones are told apart in one line."""

import json

import pytest
import torch
from runs import tiny_run
from safetensors.torch import load_file, save_file

from nhin.errors import CheckpointError, NhinError, UsageError
from nhin.lm.loading import open_run
from nhin.lm.run_dir import is_run
from nhin.models import memory


@pytest.fixture
def run(tmp_path):
    return tiny_run(tmp_path / "run")


def changed(run, change):
    path = run / "checkpoint" / "model.safetensors"
    weights = load_file(path)
    change(weights)
    save_file(weights, path)


def test_a_run_and_its_checkpoint_open_alike(run):
    one, two = open_run(run), open_run(run / "checkpoint")
    ids = torch.arange(5)[None] % one.tokenizer.vocab
    assert torch.equal(one.model(ids), two.model(ids))
    assert not one.model.training
    assert is_run(run)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda w: w.pop("blocks.0.attention.out.weight"), "lacks the tensor blocks.0.attention.out.weight"),
        (lambda w: w.update(more=torch.zeros(1)), "has a tensor more"),
        (lambda w: w["embedding.weight"].fill_(float("nan")), "embedding.weight holds NaN"),
        (lambda w: w.update({"embedding.weight": torch.zeros(3, 4)}), r"has shape \(3, 4\)"),
    ],
)
def test_weights_that_do_not_fit_are_named(run, change, words):
    changed(run, change)
    with pytest.raises(CheckpointError, match=words):
        open_run(run)


def test_a_recipe_that_asks_for_more_than_any_memory_is_refused_before_it_is_taken(run):
    path = run / "checkpoint" / "recipe.json"
    tree = json.loads(path.read_text())
    tree["model"] |= {"dim": 65536, "heads": 64, "depth": 512, "context": 4194304, "positions": "learned"}
    path.write_text(json.dumps(tree))
    with pytest.raises(CheckpointError, match="too few for 512 blocks"):
        open_run(run)


@pytest.mark.parametrize("name", ["recipe", "tokenizer", "trainer"])
@pytest.mark.parametrize("words", ["", "{", "[]", '"x"', '{"model": {"dim": "wide"}}', "null"])
def test_torn_and_foreign_files_are_one_line(run, name, words):
    (run / "checkpoint" / f"{name}.json").write_text(words)
    with pytest.raises(NhinError):
        open_run(run)


def test_nothing_is_told_as_nothing(tmp_path):
    with pytest.raises(CheckpointError, match="holds no safetensors"):
        open_run(tmp_path)
    assert not is_run(tmp_path)


@pytest.mark.parametrize("dtype", [torch.int64, torch.bool, torch.complex64, torch.float8_e4m3fn])
def test_weights_that_are_no_floating_point_numbers_are_refused(run, dtype):
    changed(run, lambda w: w.update({"embedding.weight": w["embedding.weight"].to(dtype)}))
    with pytest.raises(CheckpointError, match=r"embedding\.weight is stored as .*, not as floating-point"):
        open_run(run)


@pytest.mark.parametrize("step", [-5, 1e300, True, "7", None, 10**30])
def test_a_step_that_cannot_be_is_refused(run, step):
    (run / "checkpoint" / "trainer.json").write_text(json.dumps({"step": step}))
    with pytest.raises(NhinError, match="its step is"):
        open_run(run)


def test_settings_whose_tables_dwarf_the_weights_are_refused_before_they_are_computed(run, monkeypatch):
    path = run / "checkpoint" / "recipe.json"
    tree = json.loads(path.read_text())
    tree["model"] |= {"context": 2**12, "positions": "sinusoidal", "position": {}}
    path.write_text(json.dumps(tree))
    open_run(run)
    monkeypatch.setattr(memory, "_FREE_TABLES", 2**10)
    with pytest.raises(UsageError, match="its context is too long"):
        open_run(run)
