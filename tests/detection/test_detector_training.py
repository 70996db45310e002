"""A detector is trained, resumed bit for bit, and exported as torch has it."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from nhin.cli.app import app
from nhin.config import from_dict, override, read_recipe
from nhin.detection.export import PixelsToMaps, export_detector
from nhin.detection.recipe import DetectorRecipe, load_detector
from nhin.detection.task import train_detector
from nhin.errors import CheckpointError, UsageError
from nhin.models.detector import DetectorNet
from nhin.reading.detector import Detector

SMALL = (
    "model.width=4",
    "model.depth=1",
    "data.pages=2",
    "data.views=2",
    "data.workers=0",
    "data.prefetch=2",
    "training.batch=2",
    "training.validate_pages=1",
    "training.validate_steps=0",
    "training.precision=float32",
    "training.threads=1",
    "schedule.steps=3",
)


@pytest.fixture(scope="module")
def recipe() -> DetectorRecipe:
    return from_dict(DetectorRecipe, override(read_recipe("detector"), SMALL), "detector")


@pytest.fixture(scope="module")
def run(recipe, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "whole"
    train_detector(recipe, out)
    return out


def test_a_resumed_run_ends_as_one_that_never_stopped(recipe, run, tmp_path):
    short = replace(recipe, schedule=replace(recipe.schedule, steps=2))
    train_detector(short, tmp_path / "run")
    train_detector(recipe, tmp_path / "run", resume=True)
    whole, resumed = (load_detector(out / "checkpoint")[0] for out in (run, tmp_path / "run"))
    for one, other in zip(whole.parameters(), resumed.parameters(), strict=True):
        assert torch.equal(one, other)


def test_the_exported_network_gives_the_maps_of_torch(run, tmp_path):
    model, _ = load_detector(run / "checkpoint")
    size = export_detector(model, tmp_path / "detector.onnx")
    assert (tmp_path / "detector.onnx").stat().st_size == size
    detector = Detector(model=tmp_path / "detector.onnx")
    picture = np.random.default_rng(1).integers(0, 256, (64, 160, 3), dtype=np.uint8)
    cores, fields = detector._run(picture)
    with torch.no_grad():
        wanted = PixelsToMaps(model)(torch.from_numpy(picture))
    np.testing.assert_allclose(cores, wanted[0].numpy(), atol=1e-4)
    np.testing.assert_allclose(fields, wanted[1].numpy(), atol=1e-3)


def test_folding_and_rounding_change_no_probability_much(run):
    model, _ = load_detector(run / "checkpoint")
    pixels = np.random.default_rng(2).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    with torch.no_grad():
        plain, _ = model(torch.from_numpy(pixels).permute(2, 0, 1)[None] / 127.5 - 1)
        folded, _ = PixelsToMaps(model)(torch.from_numpy(pixels))
    np.testing.assert_allclose(plain[0, 0].sigmoid().numpy(), folded.numpy(), atol=0.02)


def test_the_command_trains_and_another_checkpoint_is_no_detector(run, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    changes = [part for change in SMALL for part in ("--set", change)]
    assert not app(["train", "detector", "--out", str(tmp_path / "a"), *changes, "--set", "schedule.steps=1"])
    assert "step 1: finished" in capsys.readouterr().err
    assert not app(["export", str(tmp_path / "a"), str(tmp_path / "mine.onnx"), "--last"])
    assert "mine.onnx" in capsys.readouterr().out
    assert Detector(model=tmp_path / "mine.onnx").find(np.full((40, 90, 3), 9, np.uint8)).lines == ()
    with pytest.raises(UsageError, match="--crops"):
        app(["export", str(tmp_path / "a"), str(tmp_path / "b.onnx"), "--crops", "3"])
    with pytest.raises(CheckpointError, match="is not a checkpoint"):
        load_detector(tmp_path)
    assert isinstance(load_detector(tmp_path / "a" / "checkpoint")[0], DetectorNet)
