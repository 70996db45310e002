"""Laws of reading a checkpoint: a whole one while another replaces it, of files that belong together."""

import os
import shutil
import threading
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from runs import tiny_run
from safetensors.torch import load_file, save_file

from nhin.errors import CheckpointError
from nhin.files import beside, read_folder, write_folder
from nhin.lm.loading import open_run
from nhin.lm.run_dir import is_run
from nhin.training import checkpoint as module
from nhin.training.checkpoint import Checkpoint, load, save
from nhin.training.run_dir import find_checkpoint, read_run_recipe


def one(value):
    weights = torch.full((4, 2), float(value))
    return Checkpoint({"model": {"w": weights}, "optimizer": {"w": weights}}, {"trainer": {"step": value}})


@dataclass
class FakeGroup:
    """A process that calls ``on_second_barrier`` when it has written its files."""

    rank: int
    world: int
    on_second_barrier: object = None
    barriers: int = 0

    @property
    def is_first(self):
        return self.rank == 0

    def barrier(self):
        self.barriers += 1
        if self.barriers == 2 and self.on_second_barrier:
            self.on_second_barrier()


def save_sharded(folder, value, world=2):
    def save_others():
        for rank in range(1, world):
            save(folder, one(value), FakeGroup(rank, world))

    save(folder, one(value), FakeGroup(0, world, save_others))


@pytest.mark.parametrize("write", [lambda folder, value: save(folder, one(value)), save_sharded])
@pytest.mark.parametrize("moments", [1, 2, 3])
def test_one_whole_checkpoint_is_read_while_others_replace_it(tmp_path, monkeypatch, write, moments):
    """The first few times that a file is opened, another checkpoint replaces the one that is read."""
    folder = tmp_path / "checkpoint"
    write(folder, 0)
    values, open_file = iter(range(1, moments + 1)), module.safe_open

    def replace_and_open(path, framework):
        if (value := next(values, None)) is not None:
            write(folder, value)
        return open_file(path, framework)

    monkeypatch.setattr(module, "safe_open", replace_and_open)
    saved = load(folder)
    assert {float(tensors["w"][0, 0]) for tensors in saved.tensors.values()} == {
        saved.values["trainer"]["step"]
    }


@pytest.mark.parametrize("is_finished", [True, False])
def test_a_checkpoint_is_read_between_the_two_renames_of_a_save(tmp_path, monkeypatch, is_finished):
    folder = tmp_path / "checkpoint"
    save(folder, one(1))
    new, old = beside(folder)
    shutil.copytree(folder, new)
    (new / "trainer.json").write_text('{"step": 2}')
    folder.rename(old)
    open_file = module.safe_open

    def finish_and_open(path, framework):
        if is_finished and new.exists():
            new.rename(folder)
            shutil.rmtree(old)
        return open_file(path, framework)

    monkeypatch.setattr(module, "safe_open", finish_and_open)
    assert load(folder).values["trainer"]["step"] == 1 + is_finished


def test_a_folder_that_is_replaced_all_the_time_is_read_whole(tmp_path):
    folder, stop = tmp_path / "f", threading.Event()

    def write(value):
        with write_folder(folder) as new:
            for name in "abc":
                (new / name).write_text(str(value))

    def keep_writing():
        value = 1
        while not stop.is_set():
            write(value)
            value += 1

    write(0)
    thread = threading.Thread(target=keep_writing)
    thread.start()
    try:
        for _ in range(100):
            values = read_folder(folder, lambda path: {(path / name).read_text() for name in "abc"})
            assert values is not None and len(values) == 1
    finally:
        stop.set()
        thread.join()


def test_a_file_that_the_folder_lacks_is_missed_at_once(tmp_path):
    (tmp_path / "f").mkdir()
    with pytest.raises(CheckpointError, match="No such file"):
        read_folder(tmp_path / "f", lambda path: (path / "a").read_text())
    assert read_folder(tmp_path / "g", lambda path: path) is None


@pytest.mark.parametrize("mask", [0o022, 0o077])
def test_every_file_of_a_checkpoint_has_the_permissions_of_the_umask(tmp_path, mask):
    before = os.umask(mask)
    try:
        save(tmp_path / "checkpoint", one(1))
    finally:
        os.umask(before)
    files = list((tmp_path / "checkpoint").iterdir())
    assert {path.stat().st_mode & 0o777 for path in files} == {0o666 & ~mask}
    assert {path.suffix for path in files} == {".json", ".safetensors"}


def part(name, number):
    return f"{name}-0000{number}-of-00002.safetensors"


@pytest.mark.parametrize(
    ("source", "target"),
    [
        (("a", part("model", 2)), ("a", part("model", 1))),  # another part
        (("a", part("model", 1)), ("a", part("optimizer", 1))),  # another file
        (("b", part("model", 1)), ("a", part("model", 1))),  # another step
        (("c", "model.safetensors"), ("d", "model.safetensors")),
        (("c", "model.safetensors"), ("c", "optimizer.safetensors")),
        (("c", "model.safetensors"), ("a", part("model", 1))),
    ],
)
def test_a_file_of_another_checkpoint_or_part_is_refused(tmp_path, source, target):
    save_sharded(tmp_path / "a", 1)
    save_sharded(tmp_path / "b", 2)
    save(tmp_path / "c", one(1))
    save(tmp_path / "d", one(2))
    assert torch.equal(load(tmp_path / "a").tensors["model"]["w"], torch.ones(8, 2))
    shutil.copy(tmp_path.joinpath(*source), tmp_path.joinpath(*target))
    with pytest.raises(CheckpointError, match=f"{target[1]} is another file, or of another checkpoint"):
        load(tmp_path / target[0])


def test_rows_without_a_mark_are_taken_by_checkpoints_without_one_only(tmp_path):
    folder = tmp_path / "a"
    save_sharded(folder, 1)
    path = folder / part("model", 1)
    save_file(load_file(path), path)
    with pytest.raises(CheckpointError, match="another checkpoint"):
        load(folder)
    (folder / "id.json").unlink()
    for path in folder.glob("*.safetensors"):
        save_file(load_file(path), path)
    assert torch.equal(load(folder).tensors["model"]["w"], torch.ones(8, 2))


def test_the_same_state_is_saved_as_the_same_bytes(tmp_path):
    for name in "ab":
        save(tmp_path / name, one(1))
    save(tmp_path / "c", one(2))
    contents = [{path.name: path.read_bytes() for path in (tmp_path / name).iterdir()} for name in "abc"]
    assert contents[0] == contents[1]
    assert contents[0]["id.json"] != contents[2]["id.json"]


@pytest.mark.parametrize("moment", ["before", "between the renames", "after"])
def test_what_looks_for_a_run_finds_it_between_the_renames_of_a_save(tmp_path, moment):
    run = tiny_run(tmp_path / "run")
    new, old = beside(run / "checkpoint")
    if moment != "before":
        (run / "checkpoint").rename(old)
        shutil.copytree(old, new if moment == "between the renames" else run / "checkpoint")
    for path in (run, run / "checkpoint"):
        assert is_run(path)
        assert open_run(path).step == 0
        assert find_checkpoint(path) == run / "checkpoint"
    assert read_run_recipe(run)["workflow"] == "lm"
    assert not is_run(tmp_path)
    assert read_run_recipe(tmp_path) == {}


@pytest.mark.parametrize("name", ["", "/"])
def test_the_folder_one_is_in_and_the_root_can_be_named(tmp_path, monkeypatch, name):
    tiny_run(tmp_path)
    monkeypatch.chdir(tmp_path / "checkpoint")
    assert is_run(Path(name)) == (name == "")
