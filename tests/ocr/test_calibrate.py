"""Laws of calibration: the fit, the floor, and what nhin calibrate stores."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image

from nhin.cli.app import main
from nhin.metrics.calibration import measure_calibration
from nhin.ocr import calibrate
from nhin.ocr.confidence_fit import FloorCost, choose_floor, fit_confidence_map
from nhin.ocr.model_card import replace_section
from nhin.reading.confidence import ConfidenceMap
from nhin.reading.onnx_model import DECODER, ENCODER, MANIFEST, bundled_models, hash_model, load_recognizer
from nhin.reading.recognizer import MODES


def draw_answers(mapping, count, seed):
    """Draw answers whose true share of right ones a map gives."""
    rng = np.random.default_rng(seed)
    p, lengths = rng.beta(2, 0.6, count), rng.integers(1, 40, count).astype(float)
    return p, lengths, (rng.random(count) < mapping(p, lengths)).astype(float)


def test_a_fit_finds_the_map_that_made_the_answers():
    truth = ConfidenceMap(0.6, 1.4, -0.3, 0.5)
    p, lengths, right = draw_answers(truth, 20_000, 0)
    fitted = fit_confidence_map(p, lengths, right, np.ones_like(p))
    assert np.abs(fitted(p, lengths) - truth(p, lengths)).mean() < 0.02
    p, lengths, right = draw_answers(truth, 5000, 1)
    before, after = measure_calibration(p, right > 0), measure_calibration(fitted(p, lengths), right > 0)
    assert after.ece < 2 * after.ece_by_chance < before.ece
    assert after.log_loss < before.log_loss


@pytest.mark.parametrize("right", [np.ones(50), np.zeros(50), np.arange(50) % 2.0, np.arange(50) < 25])
@pytest.mark.parametrize("p", [np.linspace(0, 1, 50), np.ones(50), np.zeros(50)])
def test_a_fit_is_finite_and_never_falls_whatever_the_answers(p, right):
    fitted = fit_confidence_map(p, np.full(50, 3.0), right.astype(float), np.ones(50))
    assert fitted.low >= 0
    assert fitted.high >= 0
    assert np.isfinite(fitted(p, np.full(50, 3.0))).all()


def test_without_answers_the_map_changes_nothing():
    assert fit_confidence_map(*np.zeros((4, 0))) == ConfidenceMap()


def test_a_floor_drops_all_invented_texts_where_that_costs_little_and_none_where_it_costs_much():
    invented = np.array([0.0, 0.3, 0.5, 0.6])
    wrong_below = FloorCost(np.array([0.55, 0.9]), np.array([4.0, 0.0]), np.array([4.0, 96.0]))
    assert choose_floor(invented, [wrong_below], 0.0) == 0.6
    right_below = FloorCost(np.array([0.55, 0.9]), np.array([0.0, 0.0]), np.array([4.0, 96.0]))
    assert choose_floor(invented, [wrong_below, right_below], 0.039) == 0.5
    assert choose_floor(invented, [wrong_below, right_below], 0.04) == 0.6
    assert choose_floor(np.zeros(3), [right_below], 0.0) == 0.0
    everywhere = FloorCost(np.array([0.1, 0.9]), np.array([0.0, 0.0]), np.array([4.0, 96.0]))
    assert choose_floor(invented, [everywhere], 0.039) == 0.0


def test_a_section_of_a_card_is_replaced_and_a_new_one_stands_before_the_limits():
    card = "# mine\n\nGood.\n\n## Accuracy\n\nHigh.\n\n## Limits\n\nMany.\n"
    once = replace_section(card, "Confidence", ["Old."])
    assert once == card.replace("## Limits", "## Confidence\n\nOld.\n\n## Limits")
    assert replace_section(once, "Confidence", ["New."]) == once.replace("Old", "New")
    assert replace_section("", "Confidence", ["New."]) == "## Confidence\n\nNew.\n"


@pytest.fixture(scope="module")
def data(small, tmp_path_factory):
    folder = tmp_path_factory.mktemp("data") / "crops"
    folder.mkdir()
    for i, crop in enumerate(small.crops(20)):
        Image.fromarray(crop).save(folder / f"{i}.png")
    words = "phở bún chả cơm".split()
    rows = "".join(f"{i}.png\t{words[i % 4]}\n" for i in range(20))
    (folder / "labels.tsv").write_text(rows, encoding="utf-8")
    return folder


@pytest.fixture
def weights(pair, tmp_path, monkeypatch):
    monkeypatch.setattr(calibrate, "TEXTLESS_COUNT", 8)
    return shutil.copytree(pair[0], tmp_path / "weights")


@pytest.mark.compiled
def test_calibrated_weights_read_the_same_texts_with_other_confidences(weights, data, small, capsys):
    plain = load_recognizer(weights, mode="exact").read(small.crops(20))
    files = {name: (weights / name).read_bytes() for name in (ENCODER, DECODER)}
    command = ["calibrate", str(weights), str(data), "--data", str(data / "labels.tsv"), "--json"]
    assert main([*command, "--floor-cost", "0"]) == 0
    tree = json.loads(capsys.readouterr().out)
    assert list(tree) == list(MODES)
    assert list(tree["exact"]["sets"]) == ["crops", "labels.tsv"]
    lines = tree["exact"]["sets"]["crops"]["lines"]
    assert lines["before"]["count"] == lines["after"]["count"] == 20
    assert {"ece", "brier", "log_loss", "answers", "bins"} <= lines["after"].keys()
    assert sum(counts[0] for counts in tree["exact"]["textless"].values()) == 8
    assert {name: (weights / name).read_bytes() for name in (ENCODER, DECODER)} == files
    assert "## Confidence" in (weights / "CARD.md").read_text("utf-8")
    reader = load_recognizer(weights, mode="exact")
    assert json.loads((weights / MANIFEST).read_text("utf-8"))["calibrations"]["exact"]["floor"] == (
        reader.calibration.floor
    )
    kept = [(before, after) for before, after in zip(plain, reader.read(small.crops(20)), strict=True)]
    assert all(after.text in (before.text, "") for before, after in kept)
    assert any(before.confidence != after.confidence for before, after in kept if after.text)


@pytest.mark.compiled
def test_one_mode_is_calibrated_beside_another_and_weights_elsewhere_stay(weights, data, tmp_path, capsys):
    digest, copy, plots = hash_model(weights), tmp_path / "copy", tmp_path / "plots"
    options = ["--mode", "fast", "--out", str(copy), "--plot", str(plots)]
    assert main(["calibrate", str(weights), str(data), *options]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert all(words in shown for words in ("ECE before → after", "text read from", "wrong above 0.95"))
    assert {path.name for path in plots.iterdir()} == {"fast-reliability.png", "fast-reliability.svg"}
    assert hash_model(weights) == digest
    first = json.loads((copy / MANIFEST).read_text("utf-8"))["calibrations"]["fast"]
    assert main(["calibrate", str(copy), str(data), "--mode", "exact", "--last", "12"]) == 0
    both = json.loads((copy / MANIFEST).read_text("utf-8"))["calibrations"]
    assert set(both) == {"fast", "exact"}
    assert both["fast"] == first


@pytest.mark.compiled
def test_what_cannot_be_calibrated_is_one_error_and_changes_nothing(weights, data, run, tmp_path, capsys):
    other = tmp_path / "other"
    other.mkdir()
    (other / "notes.txt").write_text("mine")
    digest = hash_model(weights)
    folder, crops = str(weights), str(data)
    for code, *words in (
        (2, bundled_models()[0], crops),
        (2, "no-such-weights", crops),
        (2, folder, crops, "--data", crops),
        (2, folder, crops, "--mode", "slow"),
        (2, folder, crops, "--out", str(other)),
        (2, folder, crops, "--floor-cost", "-1"),
        (3, folder, str(tmp_path / "nowhere")),
        (4, str(run), crops),
        (4, folder, crops, "--digest", "0" * 16),
    ):
        assert main(["calibrate", *words]) == code
        error = capsys.readouterr().err
        assert error.count("\n") == 1
        assert "Traceback" not in error
    assert hash_model(weights) == digest
    assert [path.name for path in other.iterdir()] == ["notes.txt"]
