"""Encoders with integers of eight bits: what is written reads as before, or nothing is written."""

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from nhin.cli.export import export as command
from nhin.errors import CheckpointError, UsageError
from nhin.image.preprocess import preprocess_crop, to_batch
from nhin.ocr import quantize as module
from nhin.ocr.quantize import quantize
from nhin.reading.onnx_model import ENCODER, OnnxModel, hash_model, read_model

pytestmark = pytest.mark.compiled


@pytest.fixture(scope="module")
def whole(small, pair, tmp_path_factory):
    """The small reader's pair, the same with integers of eight bits, and what was said of it."""
    out = tmp_path_factory.mktemp("int8") / "out"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "MIN_SAME", 0.0)  # a reader of 100 steps may be moved by any rounding
        patch.setattr(module, "SURE", 0.0)
        return pair[0], out, quantize(pair[0], out, small.crops(24))


def test_the_encoder_computes_nearly_what_it_computed(whole, small):
    source, out, result = whole
    assert result.crops == len(small.crops(24))
    pictures = to_batch([preprocess_crop(crop) for crop in small.crops(24) if crop.shape[1] == 60])
    for before, after in zip(*(OnnxModel(path).encode(pictures) for path in (source, out)), strict=True):
        assert before.shape == after.shape
        assert np.abs(before - after).mean() < 0.1 * before.std()
        assert not np.array_equal(before, after)


def test_filters_and_matrices_are_integers_of_seven_bits(whole):
    network = onnx.load(whole[1] / ENCODER)
    sizes = {w.name: numpy_helper.to_array(w) for w in network.graph.initializer}
    integers = [w for w in sizes.values() if w.dtype == np.int8 and w.ndim > 1]
    assert integers
    # Of eight bits, two products together pass 16 bits, which some processors add them in.
    assert all(np.abs(w.astype(int)).max() <= 64 for w in integers)
    assert 2 * 255 * 64 < 2**15
    assert {each.domain for each in network.opset_import} == {""}


def test_the_manifest_belongs_to_the_new_files(whole):
    source, out, _ = whole
    before, after = (read_model(path)[0] for path in (source, out))
    assert before.files[ENCODER] != after.files[ENCODER]
    assert before.charset == after.charset
    assert hash_model(source) != hash_model(out)
    assert "integers of eight bits" in (out / "CARD.md").read_text(encoding="utf-8")


def test_an_encoder_is_given_them_once(whole, small, tmp_path):
    with pytest.raises(UsageError, match="already"):
        quantize(whole[1], tmp_path / "again", small.crops(4))
    assert not (tmp_path / "again").exists()


def test_what_reads_otherwise_is_refused_and_leaves_nothing(whole, small, tmp_path, monkeypatch):
    honest = OnnxModel.encode

    def encode(self, pictures):
        memory, log_probs = honest(self, pictures)
        return (memory, log_probs) if isinstance(self, module._InputRecorder) else (memory * 0, log_probs * 0)

    monkeypatch.setattr(OnnxModel, "encode", encode)
    with pytest.raises(CheckpointError, match="nothing was written"):
        quantize(whole[0], tmp_path / "out", small.crops(24))
    assert list(tmp_path.iterdir()) == []


def test_a_run_that_would_read_otherwise_leaves_no_export_at_all(run, small, tmp_path, monkeypatch):
    monkeypatch.setattr("nhin.ocr.export.sample_crops", small.crops)
    monkeypatch.setattr(module, "MIN_SAME", 2.0)
    with pytest.raises(CheckpointError, match="nothing was written"):
        command(run, tmp_path / "out", int8=True, crops=8)
    assert list(tmp_path.iterdir()) == []


def test_the_command_makes_them_of_a_run(run, small, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("nhin.ocr.export.sample_crops", small.crops)
    monkeypatch.setattr(module, "MIN_SAME", 0.0)
    monkeypatch.setattr(module, "SURE", 0.0)
    assert command(run, tmp_path / "out", int8=True, crops=8) == 0
    assert "with integers of eight bits" in capsys.readouterr().out
    manifest = json.loads((tmp_path / "out" / "model.json").read_text(encoding="utf-8"))
    assert manifest["files"].keys() == {"encoder.onnx", "decoder.onnx"}
    assert manifest["name"] == "out"


def test_bundled_weights_are_not_exported_again(tmp_path):
    with pytest.raises(UsageError, match="exported already"):
        command(Path("default"), tmp_path / "out")
