"""Laws of full disks and of kills at any file operation: the next command ends as if nothing had been."""

import io
import itertools
import json
import shutil

import pytest
import torch
from file_faults import FaultyFiles, Killed
from runs import small_artifacts, tiny_run

from nhin.config import from_dict
from nhin.data.text.prepare import prepare
from nhin.data.text.token_dataset import open_tokens
from nhin.errors import NhinError
from nhin.files import explain_os_error, write_atomic, write_folder
from nhin.lm.huggingface.export import export_folder
from nhin.lm.huggingface.import_ import import_folder
from nhin.lm.loading import open_run
from nhin.lm.recipe import LMRecipe
from nhin.lm.task import train_language_model
from nhin.lm.train_ngram import train_ngram
from nhin.models.config import ModelConfig
from nhin.training.checkpoint import Checkpoint, load, save
from nhin.training.logger import Log

KINDS = ("kill", "full")


def contents(folder):
    """Return every file that is left, without locks; of logs what does not depend on time."""
    files = {str(path.relative_to(folder)): path for path in sorted(folder.rglob("*")) if path.is_file()}
    return {
        name: read_rows(path) if path.name == "log.jsonl" else path.read_bytes()
        for name, path in files.items()
        if path.name != ".lock"
    }


def read_rows(log):
    rows = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    return [{k: v for k, v in row.items() if k not in ("time", "samples_per_second")} for row in rows]


def break_at(folder, act, kind, at):
    """Do something with one file operation broken; return whether there was such an operation."""
    faults = FaultyFiles(folder, at, kind)
    with faults.installed():
        try:
            act(folder)
        except (Killed, NhinError) as why:
            assert kind == "kill" or "No space left" in str(why)
            assert "\n" not in str(why)
    return len(faults.actions) >= at


def write_file(folder, place):
    write_atomic(folder / "a.txt", "new")


def replace_folder(folder, place):
    with explain_os_error("write"), write_folder(folder / "f") as new:
        (new / "a").write_text("1")
        (new / "b").write_text("2")


def save_checkpoint(folder, place):
    weights = {"w": torch.arange(4.0)}
    save(folder / "checkpoint", Checkpoint({"model": weights, "ema": weights}, {"trainer": {"step": 1}}))


def prepare_text(folder, place):
    prepare(str(place / "text.txt"), "char", folder / "data")


def count_ngrams(folder, place):
    corpus = open_tokens(place / "tokens")
    recipe = LMRecipe(ngram=2)
    train_ngram(
        recipe, corpus.split("train"), corpus.tokenizer, folder / "run", resume=True, screen=io.StringIO()
    )


def export_run(folder, place):
    export_folder(open_run(place / "trained"), folder / "exported", "gpt2")


def import_run(folder, place):
    if not (folder / "imported").exists():
        import_folder(place / "gpt2", folder / "imported")


WRITERS = (write_file, replace_folder, save_checkpoint, prepare_text, count_ngrams, export_run, import_run)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Return a folder with what the writers read."""
    folder = tmp_path_factory.mktemp("faults")
    (folder / "text.txt").write_text("một hai ba bốn. " * 200, encoding="utf-8")
    prepare(str(folder / "text.txt"), "char", folder / "tokens")
    gpt2 = ModelConfig(depth=1, dim=16, heads=2, context=16, norm="layer", positions="learned")
    tiny_run(folder / "trained", design=gpt2, tokenizer="bpe:300")
    export_folder(open_run(folder / "trained"), folder / "gpt2")
    return folder


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("write", WRITERS)
def test_broken_at_any_operation_the_next_time_it_is_written_as_ever(place, tmp_path, write, kind):
    whole = tmp_path / "whole"
    whole.mkdir()
    write(whole, place)
    for at in itertools.count(1 + (kind == "full"), 2):  # every operation is broken, in one of the two ways
        folder = tmp_path / str(at)
        folder.mkdir()
        is_broken = break_at(folder, lambda folder: write(folder, place), kind, at)
        write(folder, place)
        assert contents(folder) == contents(whole), f"operation {at}"
        if not is_broken:
            break
    assert at > 3


@pytest.mark.parametrize("kind", KINDS)
def test_a_checkpoint_or_the_one_before_is_there_after_a_fault_at_any_operation(tmp_path, kind):
    def one(value):
        return Checkpoint({"model": {"w": torch.full((3,), float(value))}}, {"trainer": {"step": value}})

    folder = tmp_path / "checkpoint"
    save(folder, one(0))
    for at in itertools.count(1):
        is_broken = break_at(tmp_path, lambda _, at=at: save(folder, one(at)), kind, at)
        saved = load(folder)
        step = saved.values["trainer"]["step"]
        assert step in (at - 1, at) and saved.tensors["model"]["w"][0] == step
        if not is_broken:
            break
        save(folder, one(at))
        assert [path.name for path in tmp_path.iterdir()] == ["checkpoint"]
    assert at > 10


def lm_recipe(steps=4):
    tree = {
        "model": {"depth": 1, "dim": 8, "heads": 2, "context": 8, "dropout": 0.1},
        "data": {"batch": 4},
        "schedule": {"steps": steps, "warmup": 2},
        "training": {"threads": 1, "precision": "float32", "log_seconds": 0.0, "save_seconds": 0.0}
        | {"validate_steps": 2, "validate_tokens": 64},
    }
    return from_dict(LMRecipe, tree, "test")


@pytest.mark.parametrize("kind", KINDS)
def test_a_run_broken_at_any_operation_resumes_and_ends_bit_for_bit(place, tmp_path, kind):
    """A sample of the operations; scripts/crash_runs.py breaks more of them, and kills processes."""
    corpus, run, whole = open_tokens(place / "tokens"), tmp_path / "run", tmp_path / "whole"

    def train(folder, resume=False):
        with small_artifacts():
            train_language_model(lm_recipe(), corpus, folder, resume)

    faults = FaultyFiles(whole)
    with faults.installed():
        train(whole)
    for at in range(2, len(faults.actions), 13 + (kind == "full")):
        assert break_at(run, train, kind, at)
        train(run, resume=True)
        assert contents(run) == contents(whole), f"operation {at}, {faults.actions[at - 1]}"
        shutil.rmtree(run)


def test_the_log_of_a_killed_run_loses_only_what_is_done_again(tmp_path):
    path = tmp_path / "log.jsonl"
    rows = [{"event": "step", "step": step, "text": "dòng\u2028mới"} for step in range(1, 5)]
    lines = [json.dumps(row, ensure_ascii=False).encode() + b"\n" for row in rows]
    path.write_bytes(b"".join(lines) + b'{"event": "st')
    Log(path, 9, done=4, screen=(screen := io.StringIO()))
    assert path.read_bytes() == b"".join(lines)
    assert not screen.getvalue()
    path.write_bytes(lines[0] + b'{"step": 2, "text": "\xff"}\n' + b"[" * 9999 + b"\n" + lines[3])
    Log(path, 9, done=3, screen=screen)
    assert path.read_bytes() == lines[0]
    assert "log.jsonl: 2\n" in screen.getvalue()


def test_a_log_that_needs_no_change_is_not_written(tmp_path):
    path = tmp_path / "log.jsonl"
    path.write_text('{"step": 1}\n')
    faults = FaultyFiles(tmp_path, 1, "full")
    with faults.installed():
        Log(path, 9, done=1)
    assert not faults.actions


def test_a_log_that_is_a_folder_or_cannot_be_written_is_said(tmp_path):
    (tmp_path / "log.jsonl").mkdir()
    with pytest.raises(NhinError, match=r"cannot read .*log\.jsonl"):
        Log(tmp_path / "log.jsonl", 9)
    with pytest.raises(NhinError, match=r"cannot write .*no.*log\.jsonl"):
        Log(tmp_path / "no" / "log.jsonl", 9).event("step", 1)
