"""Laws of resuming a reader: changed settings have their effect or are refused, data are compared."""

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from resumes import (
    DONE,
    LONGER,
    ThreadWatcher,
    is_same,
    list_settings,
    read_weights,
    steps_of,
    train_task,
)

from nhin.config import from_dict, override, read_recipe
from nhin.errors import CheckpointError, DataError
from nhin.ocr.recipe import OCRRecipe
from nhin.ocr.resume import OCR_RULES, hash_sources
from nhin.ocr.task import RecognizerTask


def draw_crops(folder, shade=40):
    folder.mkdir()
    rows = []
    for i in range(8):
        picture = np.full((40, 48, 3), 230, np.uint8)
        picture[8:32, 8 + 2 * i : 16 + 2 * i] = shade
        Image.fromarray(picture).save(folder / f"{i}.png")
        rows.append(f"{i}.png\t{'ộ' * (1 + i % 3)}\n")
    (folder / "labels.tsv").write_text("".join(rows), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def crops(tmp_path_factory):
    return draw_crops(tmp_path_factory.mktemp("data") / "crops")


def make_recipe(crops, *changes):
    tree = read_recipe("reader-tiny")
    tree["model"] |= {"dropout": 0.1, "dim": 16}
    tree["data"] = {"real": [str(crops)], "real_share": 1.0, "chunk": 8, "cycle": 3, "workers": 0}
    tree["schedule"] = {"steps": 4, "warmup": 2, "rate": 3e-3}
    tree["training"] |= {"batch_pixels": 6000, "log_seconds": 0.0, "precision": "float32", "threads": 1}
    return from_dict(OCRRecipe, override(tree, changes), "test")


class Watched(ThreadWatcher, RecognizerTask):
    """Notes its threads."""


def train(recipe, out, resume=False, data=None, **options):
    return train_task(Watched(recipe, data), out, resume, **options)


def read_files(run):
    return {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def begun(crops, tmp_path_factory):
    run = tmp_path_factory.mktemp("begun") / "run"
    train(make_recipe(crops, f"schedule.steps={DONE}"), run)
    return run


@pytest.fixture(scope="module")
def plain(begun, crops, tmp_path_factory):
    """The run continued with no setting changed but the number of steps."""
    run = shutil.copytree(begun, tmp_path_factory.mktemp("plain") / "run")
    train(make_recipe(crops, LONGER), run, resume=True)
    return run


# A new value of every setting that may change, and where its effect is seen: without another place, in the
# weights.
MOVING = {
    "schedule.rate": "0.1",
    "schedule.steps": "5",
    "schedule.warmup": "0",
    "schedule.shape": "constant",
    "schedule.decay": "0.25",
    "schedule.floor": "1.0",
    "training.precision": "bfloat16",
    "training.grad_clip": "1e-4",
    "training.weight_decay": "30.0",
    "training.jitter": "0.0",
    "model.dropout": "0.5",
    "model.ctc": "3.0",
    "model.token_noise": "0.9",
}
SHOWN = {
    "training.threads": ("2", lambda trainer, log: trainer.task.threads == 2),
    "training.device": ("cpu", lambda trainer, log: trainer.task.device.type == "cpu"),
    "training.ema_decay": ("0.1", lambda trainer, log: trainer.config.ema_decay == 0.1),
    "training.save_seconds": ("0.0", lambda trainer, log: trainer.saves == 2),
    "training.log_seconds": ("99.0", lambda trainer, log: steps_of(log, "step") == [1, 2, 4]),
    "training.validate_steps": ("1", lambda trainer, log: steps_of(log, "validation") == [3, 4]),
    "training.validate_crops": ("3", lambda trainer, log: log[-1]["crops"] == 3),
    "data.workers": ("1", lambda trainer, log: trainer.recipe.data.workers == 1),
    "data.prefetch": ("1", lambda trainer, log: trainer.recipe.data.prefetch == 1),
    "data.cache": ("CACHE", lambda trainer, log: any(Path(trainer.recipe.data.cache).rglob("*.npz"))),
    "data.real": ('["COPY"]', lambda trainer, log: "copy" in trainer.recipe.data.real[0]),
}
# They change what is read, so they need --other-data, unless no words and fonts are read.
OF_DATA = {"data.fonts", "data.words", "data.real_share"}
FIXED = {
    **{
        "seed": "1",
        "charset": "european",
        "model.dim": "8",
        "model.backbone": "lean",
        "data.seed": "3",
        "data.synth.lines": "0.5",
    },
    **{
        "data.chunk": "4",
        "data.cycle": "4",
        "data.repeats": "2",
        "data.spacing": "3",
        "data.vary": "0.5",
        "training.batch_pixels": "5000",
        "training.batch_crops": "4",
        "training.fixed_shapes": "true",
        "training.start": "x",
    },
}


def test_every_setting_is_in_one_of_two_lists_and_is_tried_below():
    names = OCR_RULES.changeable | OCR_RULES.fixed
    assert not OCR_RULES.changeable & OCR_RULES.fixed
    assert set(list_settings(OCRRecipe)) | {"model.dropout", "model.ctc", "model.token_noise"} == names
    assert OCR_RULES.changeable == {*MOVING, *SHOWN} | OF_DATA
    assert {name for name in OCR_RULES.fixed if not any(x.startswith(name) for x in FIXED)} == {"workflow"}


@pytest.mark.parametrize("name", [*MOVING, *SHOWN])
def test_a_setting_that_may_change_has_its_new_value(name, begun, plain, crops, tmp_path):
    value, check = SHOWN.get(name, (MOVING.get(name), None))
    if name == "data.real":
        shutil.copytree(crops, tmp_path / "copy")
    value = value.replace("CACHE", str(tmp_path / "cache")).replace("COPY", str(tmp_path / "copy"))
    run = shutil.copytree(begun, tmp_path / "run")
    recipe = make_recipe(crops, LONGER, f"{name}={value}")
    trainer, screen, log = train(recipe, run, resume=True, data=crops if "validate" in name else None)
    assert f"{name} was " in screen
    assert json.loads((run / "recipe.json").read_text()) == json.loads(json.dumps(dataclasses.asdict(recipe)))
    assert check is None or check(trainer, log)
    if name == "training.threads":  # which may round differently
        return
    assert is_same(read_weights(run), read_weights(plain)) == (name in SHOWN)
    assert is_same(read_weights(run, "ema"), read_weights(plain, "ema")) == (
        name in SHOWN and name != "training.ema_decay"
    )


@pytest.mark.parametrize("name", FIXED)
def test_a_setting_that_is_fixed_is_refused_by_name_and_the_run_is_as_it_was(name, begun, crops, tmp_path):
    run = shutil.copytree(begun, tmp_path / "run")
    before = read_files(run)
    with pytest.raises(CheckpointError, match=rf"{name} was .*, is now .* cannot change"):
        train(make_recipe(crops, LONGER, f"{name}={FIXED[name]}"), run, resume=True)
    assert read_files(run) == before


@pytest.mark.parametrize("kind", ["pictures", "labels"])
def test_other_crops_under_the_same_names_are_refused_unless_allowed(kind, begun, crops, tmp_path):
    run, other = shutil.copytree(begun, tmp_path / "run"), tmp_path / "other"
    if kind == "pictures":
        draw_crops(other, shade=90)
    else:
        table = shutil.copytree(crops, other) / "labels.tsv"
        table.write_text(table.read_text("utf-8").replace("ộ", "ạ"), encoding="utf-8")
    before = read_files(run)
    with pytest.raises(CheckpointError, match=r"other data: labeled crops; .*--other-data"):
        train(make_recipe(other, LONGER), run, resume=True)
    assert read_files(run) == before
    trainer, screen, _ = train(make_recipe(other, LONGER), run, resume=True, other_data=True)
    assert "other data: labeled crops; reading begins at their first batch" in screen
    assert trainer.state.step == 4


def test_fonts_and_words_have_hashes_of_their_names_and_contents(tmp_path, crops):
    from matplotlib import get_data_path

    fonts = tmp_path / "fonts"
    fonts.mkdir()
    for name in ("DejaVuSans.ttf", "DejaVuSans-Bold.ttf"):
        shutil.copy(Path(get_data_path()) / "fonts" / "ttf" / name, fonts)
    (tmp_path / "words.txt").write_text("phở 3\n", encoding="utf-8")

    def hashes(share=0.5):
        tree = {"fonts": [str(fonts)], "words": [str(tmp_path / "words.txt")], "real": [str(crops)]}
        return hash_sources(from_dict(OCRRecipe, {"data": tree | {"real_share": share}}, "x").data)

    first = hashes()
    assert hashes() == first
    assert set(hashes(1.0)) == {"labeled crops"}
    (tmp_path / "words.txt").write_text("bún 3\n", encoding="utf-8")
    assert {name for name, value in hashes().items() if first[name] != value} == {"word lists"}
    (fonts / "DejaVuSans.ttf").write_bytes((fonts / "DejaVuSans-Bold.ttf").read_bytes())
    assert {name for name, value in hashes().items() if first[name] != value} == {"word lists", "fonts"}
    (crops / "7.png").rename(tmp_path / "7.png")
    try:
        with pytest.raises(DataError, match=r"cannot read .*7\.png"):
            hashes()
    finally:
        (tmp_path / "7.png").rename(crops / "7.png")
