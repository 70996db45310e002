"""nhin train: what fails before a step leaves nothing behind, and takes nothing away."""

import errno
import json
import os
import shutil

import pytest

from nhin.cli.app import main


def test_a_training_that_cannot_begin_leaves_no_folder(tmp_path, capsys):
    empty, out = tmp_path / "empty.txt", tmp_path / "run"
    empty.write_text("")
    assert main(["train", "lm-bigram", "--data", str(empty), "--out", str(out)]) == 3
    assert "too short" in capsys.readouterr().err
    assert not out.exists()
    out.mkdir()
    (out / "mine").write_text("mine")
    assert main(["train", "lm-bigram", "--data", str(empty), "--out", str(out)]) == 3
    assert (out / "mine").read_text() == "mine"


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Return a command that trains in a folder, and the folder of a run of 2 steps."""
    place = tmp_path_factory.mktemp("train")
    (place / "text.txt").write_text("abc abd\n" * 200, encoding="utf-8")

    def train(out, *options, steps=2):
        settings = ("data.tokenizer=byte", "data.batch=2", "training.precision=float32", "training.threads=1")
        words = [word for setting in settings for word in ("--set", setting)]
        words += ["--out", str(out), "--data", str(place / "text.txt"), *options]
        return main(
            ["train", "lm-bigram", *words, *([] if steps is None else ["--budget-steps", str(steps)])]
        )

    assert train(place / "run") == 0
    return train, place / "run"


@pytest.fixture
def run(trained, tmp_path):
    return shutil.copytree(trained[1], tmp_path / "run")


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"\xff", b"null", b"[" * 9999])
def test_a_run_whose_recipe_json_is_damaged_resumes_with_the_recipe_of_its_checkpoint(
    trained, run, capsys, data
):
    whole = (run / "recipe.json").read_bytes()
    (run / "recipe.json").write_bytes(data)
    assert trained[0](run, "--resume", steps=None) == 0  # the budget of 2 steps is kept: no step is taken
    assert "step 2: finished" in capsys.readouterr().err
    assert (run / "recipe.json").read_bytes() == whole


@pytest.mark.parametrize("options", [(), ("--resume",)])
def test_a_run_without_a_checkpoint_starts_again_whatever_its_recipe_json(trained, run, capsys, options):
    shutil.rmtree(run / "checkpoint")
    whole = (run / "recipe.json").read_bytes()
    (run / "recipe.json").write_bytes(b"")
    assert trained[0](run, *options) == 0
    assert "from step 0" in capsys.readouterr().err
    assert (run / "recipe.json").read_bytes() == whole


def test_a_log_with_bytes_that_are_not_utf_8_loses_that_line_only(trained, run, capsys):
    before = (run / "log.jsonl").read_bytes()
    (run / "log.jsonl").write_bytes(b'{"step": 1, "text": "\xff"}\n' + before)
    assert trained[0](run, "--resume", steps=3) == 0
    assert "log.jsonl: 1\n" in capsys.readouterr().err
    assert (run / "log.jsonl").read_bytes().startswith(before)


@pytest.mark.parametrize("name", ["log.jsonl", "recipe.json", "samples.txt", "curves.png"])
def test_a_folder_in_the_place_of_a_file_is_one_line(trained, run, capsys, name):
    (run / name).unlink()
    (run / name).mkdir()
    assert trained[0](run, "--resume", steps=3) == 4
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("nhin: ")]
    assert name in line


@pytest.mark.parametrize("number", [errno.EROFS, errno.ENOSPC, errno.EACCES])
def test_a_folder_that_cannot_be_written_to_is_one_line(trained, run, capsys, monkeypatch, number):
    def refuse(*_, **__):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("os.mkdir", refuse)
    monkeypatch.setattr("os.replace", refuse)
    assert trained[0](run, "--resume", steps=3) == 4
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("nhin: ")]
    assert os.strerror(number) in line


def test_standard_output_on_a_full_disk_is_one_line(capsys, monkeypatch):
    def refuse(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("sys.stdout.write", refuse)
    assert main(["list"]) == 4
    assert capsys.readouterr().err == "nhin: cannot read or write: No space left on device\n"


TINY = "model.dim=8 model.depth=0 model.heads=1 model.context=8 model.positions=none data.batch=2"
TINY += " schedule.warmup=0"


def train(out, steps, *more):
    words = [word for change in TINY.split() for word in ("--set", change)]
    words += ["--set", "training.threads=1", "--set", f"schedule.steps={steps}"]
    return main(["train", "lm-nano", "--out", str(out), *words, *more])


def list_contents(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_resume_reads_the_text_of_its_run_or_says_that_it_does_not(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("nhin.lm.task.save_artifacts", lambda *args: None)  # figures take most of the time
    run, tokens, text = tmp_path / "run", tmp_path / "tokens", tmp_path / "other.txt"
    for name, words in (("tokens", "abc abd\n"), ("others", "cab dab\n")):
        (tmp_path / f"{name}.txt").write_text(words * 200)
        assert (
            main(
                [
                    "prepare",
                    str(tmp_path / f"{name}.txt"),
                    "--tokenizer",
                    "char",
                    "--out",
                    str(tmp_path / name),
                ]
            )
            == 0
        )
    text.write_text("bad cad\n" * 200)
    assert train(run, 1, "--data", str(tokens)) == 0
    assert train(run, 2, "--resume") == 0, "the data of the run are taken"
    assert read_recipe(run)["data"]["path"] == str(tokens)
    before = list_contents(run)
    for words in (["--data", str(tmp_path / "others")], ["--data", str(text)], ["--set", "model.dim=16"]):
        assert train(run, 3, "--resume", *words) == 4
    tokens.rename(tmp_path / "moved")
    assert train(run, 3, "--resume") == 4
    assert list_contents(run) == before
    lines = capsys.readouterr().err.splitlines()
    for words in (
        "trained on other data: train",
        "prepared elsewhere",
        "model.dim was 8, is now 16",
        "not there",
    ):
        assert sum(words in line for line in lines) == 1
    assert train(run, 3, "--resume", "--data", str(tmp_path / "moved")) == 0, "the same tokens elsewhere"
    assert train(run, 4, "--resume", "--data", str(text), "--other-data") == 0
    assert "reading begins at their first batch" in capsys.readouterr().err
    assert read_recipe(run)["data"]["path"] == str(run / "data-2")
    assert train(run, 5, "--resume") == 0
    assert train(run, 5, "--other-data") == 2


def read_recipe(run):
    return json.loads((run / "recipe.json").read_text("utf-8"))


def test_a_setting_of_a_schedule_that_was_fitted_changes_alone(tmp_path, monkeypatch):
    monkeypatch.setattr("nhin.lm.task.save_artifacts", lambda *args: None)
    run, data = tmp_path / "run", tmp_path / "text.txt"
    data.write_text("abc abd\n" * 200)
    words = [word for change in TINY.split() for word in ("--set", change)]
    base = ["train", "lm-nano", "--out", str(run), "--data", str(data), *words, "--set", "training.threads=1"]
    assert main([*base, "--budget-steps", "2"]) == 0
    assert main([*base, "--resume", "--set", "schedule.rate=0.5"]) == 0
    assert (read_recipe(run)["schedule"]["steps"], read_recipe(run)["schedule"]["rate"]) == (2, 0.5)
