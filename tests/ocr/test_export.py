"""Exported networks read what torch reads."""

import copy
import json
import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from nhin.cli.export import export as command
from nhin.errors import CheckpointError, UsageError
from nhin.ocr.export import compare, export, prepare_for_export, sample_crops, store_as_half
from nhin.ocr.torch_backend import TorchModel
from nhin.reading.onnx_model import DECODER, ENCODER, load_recognizer
from nhin.reading.recognizer import MODES, Recognizer
from nhin.text.charset import VIETNAMESE

pytestmark = pytest.mark.compiled


def test_the_small_reader_distinguishes_crops_with_some_confidence(pair, crops):
    readings = load_recognizer(pair[0]).read(crops)
    assert len({reading.text for reading in readings}) > 5
    assert max(reading.confidence for reading in readings) > 0.3


@pytest.mark.parametrize("mode", MODES[1:])
def test_torch_and_onnx_read_the_same(pair, crops, mode):
    folder, model = pair
    wants = Recognizer(TorchModel(model), VIETNAMESE, mode=mode).read(crops)
    for want, got in zip(wants, load_recognizer(folder, mode=mode).read(crops), strict=True):
        assert got.text == want.text
        assert got.confidence == pytest.approx(want.confidence, abs=1e-4)
        assert [(c.left, c.right) for c in got.chars] == [(c.left, c.right) for c in want.chars]


def test_a_crop_reads_the_same_alone_and_in_a_batch_of_32(small, pair):
    crops = small.crops(32, seed=5)
    crops = [np.ascontiguousarray(crop) for crop in crops] + [crops[3]] * 32
    reader = load_recognizer(pair[0])
    answers = [reader.read([crop])[0] for crop in crops[:32]]
    for together, alone in zip(reader.read(crops), answers + [answers[3]] * 32, strict=True):
        assert alone.text == together.text
        assert alone.confidence == pytest.approx(together.confidence, abs=1e-4)


def test_preparing_for_export_changes_nothing_but_rounding(small):
    model = small.reader(3, steps=2)
    pictures, tokens = torch.randn(2, 1, 40, 64), torch.randint(4, 99, (2, 5))
    with torch.no_grad():
        before = *model.encode(pictures), model.decode(model.encode(pictures)[0], tokens)
        prepare_for_export(model, half=False)
        after = *model.encode(pictures), model.decode(model.encode(pictures)[0], tokens)
    for a, b in zip(before, after, strict=True):
        torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-4)


def test_stored_halves_lose_nothing(pair):
    import onnx
    from onnx import numpy_helper

    network = onnx.load(pair[0] / "encoder.onnx")
    stored = {w.name: numpy_helper.to_array(w) for w in network.graph.initializer}
    assert {values.dtype.name for values in stored.values() if values.size > 20000} <= {"float16", "float32"}
    halves = sum(v.nbytes for v in stored.values() if v.dtype == np.float16)
    assert halves > 0
    again = store_as_half(copy.deepcopy(network))
    assert again.graph.initializer == network.graph.initializer


def test_a_pair_that_reads_something_else_is_refused(small, pair, crops):
    other = prepare_for_export(small.reader(9, steps=2))
    with pytest.raises(CheckpointError, match="does not read like torch"):
        compare(other, pair[0], VIETNAMESE, crops[:6])


@pytest.fixture
def networks(pair, monkeypatch):
    """Copy exported networks instead of running torch's exporter, which is slow."""

    def written(model, folder):
        for name in (ENCODER, DECODER):
            shutil.copy(pair[0] / name, folder)

    monkeypatch.setattr("nhin.ocr.export._write_networks", written)


@pytest.mark.usefixtures("networks")
def test_a_refused_export_leaves_nothing_behind(small, tmp_path, crops):
    with pytest.raises(CheckpointError, match="does not read like torch"):
        export(small.reader(steps=2), VIETNAMESE, tmp_path / "out", crops[:3])
    assert list(tmp_path.iterdir()) == []


def test_a_folder_of_other_things_is_never_replaced(small, tmp_path, crops):
    (tmp_path / "thesis.txt").write_text("years of work")
    for out in (tmp_path, tmp_path / "thesis.txt"):
        with pytest.raises(UsageError, match="not an earlier export"):
            export(small.reader(steps=2), VIETNAMESE, out, crops[:1])
    assert (tmp_path / "thesis.txt").read_text() == "years of work"


@pytest.mark.usefixtures("networks")
def test_the_command_exports_a_run_and_replaces_its_earlier_export(small, run, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("nhin.ocr.export.sample_crops", small.crops)
    out = tmp_path / "out"
    out.mkdir()
    (out / "model.json").write_text("{}")
    assert command(run, out, crops=4, name="mine") == 0
    assert "4 crops read as torch reads them" in capsys.readouterr().out
    contents = json.loads((out / "model.json").read_text(encoding="utf-8"))
    assert contents["name"] == "mine"
    assert contents["files"].keys() == {"encoder.onnx", "decoder.onnx"}
    card = (out / "CARD.md").read_text(encoding="utf-8")
    assert "Not measured" in card
    assert "backbone tiny" in card
    assert list(tmp_path.iterdir()) == [out]


@pytest.mark.usefixtures("networks")
def test_figures_measured_at_export_are_on_the_card(run, crops, tmp_path):
    data = tmp_path / "words"
    data.mkdir()
    for i in range(4):
        Image.fromarray(crops[i]).save(data / f"{i}.png")
    (data / "labels.tsv").write_text("".join(f"{i}.png\tphở\n" for i in range(4)), encoding="utf-8")
    assert command(run, tmp_path / "out", data=data) == 0
    contents = json.loads((tmp_path / "out" / "model.json").read_text(encoding="utf-8"))
    assert contents["metrics"]["count"] == 4
    assert "On 4 crops of words" in (tmp_path / "out" / "CARD.md").read_text(encoding="utf-8")
    assert load_recognizer(tmp_path / "out").read(crops[:1])[0].text


def test_sample_crops_need_no_fonts(monkeypatch):
    def none(*args, **settings):
        raise UsageError("no fonts")

    monkeypatch.setattr("nhin.data.images.synthetic.SyntheticSource", none)
    assert [crop.ndim for crop in sample_crops(3)] == [3, 3, 3]
