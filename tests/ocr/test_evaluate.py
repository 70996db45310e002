"""Evaluation reports the figures of the recognizer's answers."""

import json
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from nhin.cli.evaluate import evaluate as command
from nhin.data.images.datasets import Crop
from nhin.errors import CheckpointError, DataError, UnknownName
from nhin.metrics.error_rates import FIGURES, NORMALIZERS
from nhin.ocr.evaluate import evaluate, open_reader
from nhin.reading.recognizer import MODES
from nhin.reading.result import Recognition


class FixedRecognizer:
    """Returns given texts in order."""

    def __init__(self, texts) -> None:
        self.texts = iter(texts)
        self.largest = 0

    def read(self, crops):
        self.largest = max(self.largest, len(crops))
        return [Recognition(next(self.texts), 0.8) for _ in crops]


def labeled(texts):
    return [Crop(text, f"{i}.png", lambda: np.zeros((4, 4, 3), np.uint8)) for i, text in enumerate(texts)]


@pytest.fixture(scope="module")
def data(small, tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    for i, crop in enumerate(small.crops(6)):
        Image.fromarray(crop).save(folder / f"{i}.png")
    words = "xôi chè phở 12.000đ bún CƠM".split()
    rows = "".join(f"{i}.png\t{word}\n" for i, word in enumerate(words))
    (folder / "labels.tsv").write_text(rows, encoding="utf-8")
    return folder


def test_figures_are_those_of_the_answers():
    truths = ["phở", "bò", "TÁI", "chín"]
    measured = evaluate(FixedRecognizer(["phở", "bo", "tái", "chin"]), labeled(truths))
    assert measured.count == 4
    assert measured.figures["word_accuracy"] == 0.25
    assert measured.figures["word_accuracy_no_case"] == 0.5
    assert measured.figures["word_accuracy_no_marks"] == 0.75
    assert measured.breakdown["only"] == {"base": 0, "mark": 0, "tone": 2, "case": 3}
    assert measured.lines.ece == pytest.approx(0.55)
    assert measured.lines.confidence == pytest.approx(0.8)


def test_crops_are_opened_a_few_at_a_time():
    recognizer, counts = FixedRecognizer(["x"] * 1000), []
    evaluate(recognizer, labeled(["x"] * 1000), counts.append)
    assert recognizer.largest <= 256
    assert sum(counts) == 1000


@pytest.mark.compiled
@pytest.mark.parametrize("mode", MODES)
def test_json_holds_every_key(pair, data, capsys, mode):
    assert command(str(pair[0]), data, json=True, mode=mode) == 0
    tree = json.loads(capsys.readouterr().out)
    assert {name + ending for name in FIGURES for ending in NORMALIZERS} <= tree.keys()
    assert {"count", "ece", "seconds_per_crop", "calibration", "breakdown"} <= tree.keys()
    assert tree["count"] == 6


@pytest.mark.compiled
def test_a_limit_reads_no_more_and_a_table_names_the_figures(pair, data, capsys):
    assert command(str(pair[0]), data, limit=2) == 0
    shown = capsys.readouterr().out
    assert "2 crops" in shown
    for word in ("word accuracy", "ignoring marks", "tone", "calibration error", "share answered"):
        assert word in shown


@pytest.mark.compiled
def test_a_run_its_checkpoint_and_its_export_measure_alike(pair, run, data, capsys):
    trees = []
    for weights in (run, run / "checkpoint", pair[0]):
        assert command(str(weights), data, json=True, threads=1) == 0
        trees.append(json.loads(capsys.readouterr().out))
    assert trees[0]["word_accuracy"] > 0
    assert trees[0]["cer"] == trees[1]["cer"] == trees[2]["cer"]


@pytest.mark.compiled
def test_wrong_names_say_what_is_wrong(tmp_path, pair, data):
    with pytest.raises(UnknownName, match="weights"):
        open_reader("vi-smal")
    with pytest.raises(CheckpointError, match="neither"):
        open_reader(tmp_path)
    with pytest.raises(DataError):
        command(str(pair[0]), tmp_path / "nowhere")


@pytest.mark.compiled
def test_measuring_an_exported_pair_needs_no_torch(pair, data):
    code = (
        "import sys; from pathlib import Path; from nhin.cli.evaluate import evaluate; "
        "evaluate(sys.argv[1], Path(sys.argv[2]), json=True); assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code, str(pair[0]), str(data)], check=True, capture_output=True)
