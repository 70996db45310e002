"""``nhin replicate ocr``: the report's reader on a copy of the data, continued where it was stopped."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from nhin.cli.app import main
from nhin.config import from_dict, override, read_recipe
from nhin.errors import DataError, UnknownName
from nhin.layers.factored_char import FactoredCharLinear
from nhin.models.recognizer import RecognizerNet
from nhin.ocr.evaluate import open_reader
from nhin.ocr.recipe import OCRRecipe, build_model
from nhin.ocr.validation import make_validation_set
from nhin.reading.decoder_recognizer import DecoderRecognizer
from nhin.studies.ocr_report import run as study
from nhin.studies.ocr_report import variants
from nhin.studies.ocr_report.error_analysis import ReadWord, analyze_errors
from nhin.studies.ocr_report.task import measure_words
from nhin.studies.ocr_report.variants import VARIANTS, build_report_recipe, find_changes, folder_name
from nhin.studies.ocr_report.word_sets import TEST, open_word_sets
from nhin.text.charset import SOS

TINY = ['model.backbone="tiny"', "model.dim=32", "model.decoder_depth=1", "model.heads=2"]


def draw_words(folder, count):
    """Draw pictures of bars, whose number is the label's length, as a labeled set."""
    folder.mkdir(parents=True)
    rows = []
    for i in range(count):
        bars = 1 + i % 3
        picture = np.full((40, 20 + 10 * bars, 3), 230, np.uint8)
        for bar in range(bars):
            picture[8:32, 10 + 10 * bar : 14 + 10 * bar] = 40 + i
        Image.fromarray(picture).save(folder / f"{i}.png")
        rows.append(f"{i}.png\t{'ưuộ'[:bars]}\n")
    (folder / "labels.tsv").write_text("".join(rows), encoding="utf-8")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("copy")
    draw_words(folder / "train", 40)
    draw_words(folder / "test", 12)
    return folder


@pytest.fixture
def tiny(monkeypatch):
    """Make the report's network a tiny one."""
    monkeypatch.setattr(variants, "read_recipe", lambda name: override(read_recipe(name), TINY))


def replicate(data, out, *more):
    return main(["replicate", "ocr", "--data", str(data), "--out", str(out), *map(str, more)])


def test_one_command_trains_measures_and_reports(data, tiny, tmp_path, capsys):
    out = tmp_path / "out"
    assert replicate(data, out, "--epochs", 2, "--variant", "seed=9") == 0
    assert {path.name for path in out.iterdir()} == {
        *("cache", "runs", "report.md", "results.csv", "curves.png", "curves.svg", "outputs.png")
    }
    report = (out / "report.md").read_text("utf-8")
    assert report in capsys.readouterr().out
    for word in ("49.46%", "`seed=9`", "ư: ", "| 2 |"):
        assert word in report
    results = study.load_results(out)
    assert list(results) == ["ocr-report", "seed-9"]
    for found in results.values():
        assert [row["epoch"] for row in found["curves"]] == [1, 2]
        assert found["words"] == {"train": 38, "test": 12}
        assert found["sets"][TEST]["count"] == 12
        assert sum(row["words"] for row in found["sets"][TEST]["errors"]["length"]) == 12
    reader = open_reader(out / "runs" / "ocr-report")  # as nhin evaluate opens it: by its decoder alone
    assert isinstance(reader, DecoderRecognizer)
    assert reader.charset.chars == "uưộ"


def test_a_stopped_run_goes_on_and_what_is_done_is_not_repeated(data, tiny, tmp_path, monkeypatch, capsys):
    out = tmp_path / "out"
    assert replicate(data, out, "--epochs", 1, "--limit", 20) == 0
    log = out / "runs" / "ocr-report" / "log.jsonl"
    before = log.read_bytes()
    assert replicate(data, out, "--epochs", 1) == 2
    assert "holds another run" in capsys.readouterr().err
    assert replicate(data, out, "--epochs", 1, "--limit", 20, "--resume") == 0
    assert log.read_bytes() == before
    assert replicate(data, out, "--epochs", 2, "--limit", 20, "--resume") == 0
    epochs = [json.loads(line) for line in log.read_text().splitlines()]
    assert [row["epoch"] for row in epochs if row["event"] == "epoch"] == [1, 2]
    monkeypatch.setattr(
        study.Trainer, "fit", lambda self, resume: setattr(self, "state", self.start(resume=resume))
    )
    assert replicate(data, out, "--epochs", 3, "--limit", 20, "--resume") == 0
    assert "--resume goes on" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["--variant", "latge"], "no variant named"),
        (["--variant", "model.haeds=3"], "haeds"),
        (["--variant", "model.heads=7"], "7"),
        (["--seed", "3"], "the seed of ocr"),
        (["--steps", "3"], "of train, not of ocr"),
        (["--sweep", "n"], "leave out their options"),
        (["--resume"], "no run in"),
    ],
)
def test_wrong_options_are_one_line_and_train_nothing(given, message, data, tmp_path, capsys):
    assert replicate(data, tmp_path / "out", *given) != 0
    written = capsys.readouterr().err
    assert message in written
    assert written.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_data_are_asked_for_and_options_of_others_refused(capsys):
    assert main(["replicate", "ocr"]) == 2
    assert "--data" in capsys.readouterr().err
    assert main(["replicate", "self", "--epochs", "3"]) == 2
    assert "are of ocr, not of self" in capsys.readouterr().err


def test_words_to_validate_on_are_the_last_and_test_words_are_never_trained_on(data, tmp_path):
    sets = open_word_sets(data)
    names = [crop.name for crop in (*sets.train, *sets.validation)]
    assert names == [f"{i}.png" for i in range(40)]
    assert (len(sets.validation), len(sets.tests[TEST])) == (2, 12)
    assert [crop.name for crop in open_word_sets(data, 20).train] == names[:19]
    assert open_word_sets(data / "train").tests == {}
    with pytest.raises(DataError, match="fewest"):
        open_word_sets(data, 5)
    draw_words(tmp_path / "test", 3)
    with pytest.raises(DataError, match="none of train_images"):
        open_word_sets(tmp_path)


def test_the_recipe_is_the_reports():
    recipe = from_dict(OCRRecipe, read_recipe("ocr-report"), "ocr-report")
    assert (recipe.schedule.rate, recipe.schedule.shape, recipe.schedule.warmup) == (1e-4, "constant", 0)
    assert (recipe.training.batch_crops, recipe.training.jitter, recipe.data.vary) == (32, 0.0, 0.0)
    with torch.device("meta"):
        model = build_model(recipe)
    assert recipe.model["backbone"] == "resnet18"
    assert (model.ctc_weight, model.memory_rows, len(model.encoder)) == (0, 5, 0)
    assert not any(isinstance(module, FactoredCharLinear) for module in model.modules())


@pytest.mark.parametrize("name", VARIANTS)
def test_every_variant_is_a_recipe_that_builds_and_differs(name, data):
    sets = open_word_sets(data)
    base, recipe = build_report_recipe(sets, 3, "x"), build_report_recipe(sets, 3, "x", find_changes(name))
    assert base != recipe
    assert recipe.schedule.steps == 3 * recipe.training.validate_steps
    with torch.device("meta"):
        build_model(recipe)


def test_an_epoch_takes_each_word_once_but_for_the_rest_of_a_batch(data):
    recipe = build_report_recipe(open_word_sets(data), 10, "x")
    taken = recipe.data.chunk * recipe.data.cycle
    assert recipe.training.validate_steps * recipe.training.batch_crops == taken
    assert 38 <= taken < 38 + 32 * recipe.data.cycle


def test_names_of_variants_are_folders_and_unknown_ones_are_refused():
    assert folder_name('model.backbone="../x"') == "model.backbone-..-x"
    with pytest.raises(UnknownName):
        find_changes("deepre")


def test_the_loss_of_an_epoch_is_the_decoders_mean_over_characters_and_ends(data):
    sets = open_word_sets(data)
    model = RecognizerNet(sets.charset, backbone="tiny", dim=32, depth=0, decoder_depth=1, heads=2).eval()
    words = make_validation_set(sets.validation, model.height)
    loss, accuracy = measure_words(model, sets.charset, words)
    nats = count = 0
    with torch.no_grad():
        for pictures, texts in words.batches:
            memory, _ = model.encode(torch.from_numpy(pictures))
            for row, text in enumerate(texts):
                ids = sets.charset.encode(text)
                logits = model.decode(memory[row : row + 1], torch.tensor([[SOS, *ids]]))[0]
                nats -= sum(logits.log_softmax(-1)[i, n].item() for i, n in enumerate([*ids, 2]))
                count += len(ids) + 1
    assert loss == pytest.approx(nats / count, rel=1e-4)
    assert 0 <= accuracy <= 1


def test_horns_tones_lengths_and_heights_are_counted():
    words = [ReadWord("Được", "Đuợc", 10, 20), ReadWord("TO", "TƠ", 50, 90), ReadWord("ứ", "", 50, 90)]
    errors = analyze_errors(words)
    horns = {row["letter"]: (row["count"], row["missed"], row["swapped"]) for row in errors["horns"]}
    assert horns == {"u": (0, 0, 0), "ư": (2, 2, 1), "o": (1, 1, 1), "ơ": (1, 0, 0)}
    assert {row["from"]: row["words"] for row in errors["length"] if row["words"]} == {1: 1, 2: 1, 4: 1}
    assert {row["from"]: row["words"] for row in errors["height"] if row["words"]} == {0: 1, 48: 2}
