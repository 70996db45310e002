"""Training on from a run, also from an imported one: its weights, its tokenizer, its settings."""

import json

import pytest
import torch
from exports import DESIGNS, made
from runs import TEXT, tiny_run

from nhin.cli.app import main
from nhin.config import from_dict, read_recipe
from nhin.lm.huggingface.export import export_folder
from nhin.lm.huggingface.import_ import import_folder
from nhin.lm.loading import open_run
from nhin.lm.recipe import LMRecipe
from nhin.lm.task import LanguageModelTask
from nhin.lm.train_data import open_corpus
from nhin.training.distributed import ProcessGroup

STEADY = [
    "schedule.warmup=0",
    "schedule.floor=1.0",
    "data.batch=2",
    "training.validate_steps=0",
    "training.threads=1",
]


@pytest.fixture
def imported(tmp_path):
    """Return the run of an imported model with a tokenizer of Hugging Face, and a text."""
    export_folder(made(tmp_path / "mine", DESIGNS["qwen3"], tokenizer="bpe:280"), tmp_path / "there")
    path = tmp_path / "there" / "tokenizer_config.json"
    settings = json.loads(path.read_text()) | {"split_special_tokens": False, "add_bos_token": True}
    path.write_text(json.dumps(settings))
    import_folder(tmp_path / "there", tmp_path / "imported")
    (tmp_path / "texts").mkdir()
    for i in range(40):
        (tmp_path / "texts" / f"{i}.txt").write_text(TEXT)
    return tmp_path / "imported", tmp_path / "texts"


def train(run, out, texts, steps, *further):
    settings = [f"--set={setting}" for setting in (f"schedule.steps={steps}", *STEADY)]
    return main(["train", str(run), "--out", str(out), "--data", str(texts), *settings, *further])


def weights(run):
    return open_run(run).model.state_dict()


def test_a_run_starts_from_the_weights_and_reads_the_tokens_of_another(imported, tmp_path):
    run, texts = imported
    recipe = from_dict(LMRecipe, read_recipe(run), str(run))
    assert recipe.model == open_run(run).model.config
    tree = read_recipe(run)
    tree["data"] |= {"path": str(texts), "batch": 2}
    recipe = from_dict(LMRecipe, tree, str(run))
    corpus = open_corpus(recipe.data, tmp_path / "out")
    state = LanguageModelTask(recipe, corpus, tmp_path / "out").init_state(ProcessGroup())
    before = weights(run)
    assert all(torch.equal(tensor, before[name]) for name, tensor in state.model.state_dict().items())
    tokenizer = open_run(run).tokenizer
    assert corpus.tokenizer.fingerprint == tokenizer.fingerprint
    tokens = corpus.split("train").read(0, len(corpus.split("train"))).tolist()
    document = [tokenizer.start_ids[0], *tokenizer.encode(TEXT), tokenizer.eos_id]
    assert len(tokenizer.start_ids) == 1
    assert tokens[: len(document)] == document


def test_training_on_and_resuming_is_bit_for_bit_one_run(imported, tmp_path, capsys):
    run, texts = imported
    assert train(run, tmp_path / "whole", texts, 4) == 0
    assert train(run, tmp_path / "parts", texts, 2) == 0
    (run / "checkpoint" / "model.safetensors").unlink()  # needed at the start only
    assert train(run, tmp_path / "parts", texts, 4, "--resume") == 0
    whole, parts = weights(tmp_path / "whole"), weights(tmp_path / "parts")
    assert all(torch.equal(tensor, parts[name]) for name, tensor in whole.items())
    assert open_run(tmp_path / "whole").step == 4
    assert main(["export", str(tmp_path / "whole"), str(tmp_path / "back")]) == 0
    assert "qwen3" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("changes", "code", "message"),
    [
        (["--set=model.dim=8"], 4, "the recipe wants"),
        (["--set=model.depth=3"], 4, "lacks the tensor blocks.2"),
        (["--set=data.tokenizer=byte"], 2, "which is not the tokenizer of"),
        (["--set=init_from=nowhere"], 4, "there is no checkpoint in nowhere"),
        (["--set=data.tokenizer=run:nowhere"], 4, "cannot read nowhere/tokenizer.json"),
    ],
)
def test_what_does_not_fit_the_run_is_one_line(changes, code, message, imported, tmp_path, capsys):
    run, texts = imported
    assert train(run, tmp_path / "out", texts, 2, *changes) == code
    assert message in capsys.readouterr().err.splitlines()[-1]
    assert not (tmp_path / "out" / "checkpoint").exists()


def test_only_networks_of_language_models_are_trained_on(tmp_path, capsys):
    run = tiny_run(tmp_path / "run")
    for tree in (
        {"workflow": "ocr", "data": {}},
        {"workflow": "lm", "ngram": 3, "data": {}},
        [],
        {"workflow": "lm"},
    ):
        (run / "recipe.json").write_text(json.dumps(tree))
        assert main(["train", str(run), "--out", str(tmp_path / "out")]) == 2
        assert "is not the run of a language model's network" in capsys.readouterr().err


def test_a_text_is_prepared_with_the_tokenizer_of_a_run(imported, tmp_path, capsys):
    run, texts = imported
    assert main(["prepare", str(texts), "--tokenizer", f"run:{run}", "--out", str(tmp_path / "tokens")]) == 0
    assert f"{open_run(run).tokenizer.name}: 266 ids" in capsys.readouterr().out
