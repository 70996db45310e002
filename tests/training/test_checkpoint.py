"""Laws of checkpoints: what went in comes out, and a whole one is there at every moment."""

import copy
import errno
import json
import shutil

import pytest
import torch
from torch import nn

from nhin import files
from nhin.errors import CheckpointError
from nhin.training import checkpoint as module
from nhin.training.checkpoint import (
    Checkpoint,
    exists,
    load,
    pack_optimizer,
    pack_random,
    save,
    unpack_optimizer,
    unpack_random,
)
from nhin.training.optimizers import build_adamw


def one(value):
    return Checkpoint(
        {"model": {"w": torch.full((3,), float(value))}}, {"trainer": {"step": value, "chữ": "ệ"}}
    )


def test_what_went_in_comes_out(tmp_path):
    tied = torch.arange(4.0)
    save(
        tmp_path / "checkpoint",
        Checkpoint({"model": {"a": tied, "b": tied, "t": tied.view(2, 2).T}}, {"x": [1, "ệ"]}),
    )
    held = load(tmp_path / "checkpoint")
    assert torch.equal(held.tensors["model"]["a"], tied)
    assert torch.equal(held.tensors["model"]["t"], tied.view(2, 2).T)
    assert held.values == {"x": [1, "ệ"]}
    assert [p.name for p in tmp_path.iterdir()] == ["checkpoint"]


@pytest.mark.parametrize("moment", ["write", "flush", "rename away", "rename in", "forget"])
def test_a_death_at_any_moment_leaves_a_whole_checkpoint(tmp_path, monkeypatch, moment):
    """The moments are those between the calls that change the disk."""

    class Death(BaseException):
        pass

    def die(*_: object) -> None:
        raise Death

    place = tmp_path / "checkpoint"
    save(place, one(1))
    if moment == "write":
        monkeypatch.setattr(module, "save_file", die)
    elif moment == "flush":
        monkeypatch.setattr(files, "flush", die)
    elif moment == "rename away":
        monkeypatch.setattr(files, "swap", die)
    elif moment == "rename in":

        def half(folder, new, old):
            folder.rename(old)
            raise Death

        monkeypatch.setattr(files, "swap", half)
    else:

        def nearly(folder, new, old):
            folder.rename(old)
            new.rename(folder)
            raise Death

        monkeypatch.setattr(files, "swap", nearly)
    with pytest.raises(Death):
        save(place, one(2))
    monkeypatch.undo()
    assert exists(place)
    assert load(place).values["trainer"]["step"] == (2 if moment == "forget" else 1)
    save(place, one(3))
    assert load(place).values["trainer"]["step"] == 3
    assert [p.name for p in tmp_path.iterdir()] == ["checkpoint"]


def test_no_room_is_said_and_the_one_before_is_intact(tmp_path, monkeypatch):
    place = tmp_path / "checkpoint"
    save(place, one(1))

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(module, "save_file", full)
    with pytest.raises(CheckpointError, match=r"No space left on device; the one before it is intact"):
        save(place, one(2))
    assert load(place).values["trainer"]["step"] == 1
    assert [p.name for p in tmp_path.iterdir()] == ["checkpoint"]


def test_a_missing_torn_or_foreign_folder_is_said(tmp_path):
    place = tmp_path / "checkpoint"
    with pytest.raises(CheckpointError, match="there is no checkpoint"):
        load(place)
    place.mkdir()
    with pytest.raises(CheckpointError, match="not a checkpoint"):
        load(place)
    shutil.rmtree(place)
    save(place, one(1))
    file = place / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-4])
    with pytest.raises(CheckpointError, match="torn"):
        load(place)
    save(place, one(1))
    (place / "trainer.json").write_text("{", encoding="utf-8")
    with pytest.raises(CheckpointError, match="torn"):
        load(place)


def stepped(optimizer, model, times):
    for i in range(times):
        optimizer.zero_grad()
        model(torch.full((2, 3), 0.5 + i)).square().sum().backward()
        optimizer.step()


def test_an_optimiser_put_back_goes_on_bit_for_bit(tmp_path):
    torch.manual_seed(0)
    model = nn.Linear(3, 3)
    optimizer = build_adamw(model, 0.1)
    stepped(optimizer, model, 3)
    moments, groups = pack_optimizer(optimizer)
    save(tmp_path / "checkpoint", Checkpoint({"optimizer": moments}, {"groups": groups}))
    held = load(tmp_path / "checkpoint")
    other = copy.deepcopy(model)
    again = build_adamw(other, 9.9)
    unpack_optimizer(again, held.tensors["optimizer"], held.values["groups"])
    stepped(optimizer, model, 3)
    stepped(again, other, 3)
    assert torch.equal(model.weight, other.weight)


def test_a_state_that_lacks_what_the_optimizer_keeps_is_refused():
    model = nn.Linear(3, 3)
    optimizer = build_adamw(model, 0.1)
    stepped(optimizer, model, 1)
    moments, groups = pack_optimizer(optimizer)
    for broken in (
        {name.replace("exp_avg_sq", "exp_avg_sp"): value for name, value in moments.items()},
        {name: value for name, value in moments.items() if name != "1.step"},
        moments | {"1.momentum_buffer": moments["1.exp_avg"]},
    ):
        with pytest.raises(CheckpointError, match="the optimizer's state does not fit this model"):
            unpack_optimizer(build_adamw(nn.Linear(3, 3), 0.1), broken, groups)


def test_an_optimisers_state_for_another_model_is_refused():
    moments, groups = pack_optimizer(build_adamw(nn.Linear(3, 3), 0.1))
    with pytest.raises(CheckpointError, match="does not fit"):
        unpack_optimizer(build_adamw(nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3)), 0.1), moments, groups)


def test_randomness_put_back_repeats():
    words = pack_random()
    first = torch.rand(5)
    unpack_random(words)
    assert torch.equal(torch.rand(5), first)


def write_header(path, header: dict, length: int | None = None, data: bytes = b"") -> None:
    text = json.dumps(header).encode()
    path.write_bytes((len(text) if length is None else length).to_bytes(8, "little") + text + data)


ENTRY = {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}


@pytest.mark.parametrize(
    ("header", "length"),
    [
        ({"a": ENTRY}, 2**63),
        ({"a": ENTRY}, 2**25),
        ({"a": ENTRY | {"dtype": "F4"}}, None),
        ({"a": ENTRY | {"dtype": "X"}}, None),
        ({"a": ENTRY | {"shape": [2**40]}}, None),
        ({"a": ENTRY | {"data_offsets": [4, 0]}}, None),
        ({"a": ENTRY, "b": ENTRY}, None),
        ({"a": ENTRY, "__metadata__": {"nhin": "[" * 9000}}, None),
        ({"a": []}, None),
    ],
)
def test_a_header_that_lies_is_one_line(tmp_path, header, length):
    write_header(tmp_path / "model.safetensors", header, length, b"\0" * 4)
    with pytest.raises(CheckpointError) as caught:
        load(tmp_path)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500


def test_the_number_of_tensors_is_bounded(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_MAX_TENSORS", 2)
    empty = {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}
    write_header(tmp_path / "model.safetensors", {f"t{i}": empty for i in range(3)})
    with pytest.raises(CheckpointError, match="over 2 tensors"):
        load(tmp_path)


def test_json_of_more_values_than_nhin_writes_is_not_parsed(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "_MAX_CONTAINERS", 10)
    write_header(tmp_path / "model.safetensors", {"a": ENTRY}, None, b"\0" * 4)
    (tmp_path / "trainer.json").write_text("[" + ",".join(["[]"] * 20) + "]")
    with pytest.raises(CheckpointError, match="holds more values than nhin ever writes"):
        load(tmp_path)
