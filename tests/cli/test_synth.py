"""``nhin synth``: the same pictures for the same settings, however often it was stopped."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nhin.cli.app import main
from nhin.data.images import synthetic as source
from nhin.data.pages.page_source import PageSource
from nhin.errors import DataError


@pytest.fixture(autouse=True)
def fonts():
    try:
        source.SyntheticSource()
    except DataError:
        pytest.skip("no font with all Vietnamese letters on this machine")


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def synth(out: Path, count: int, *options: str) -> int:
    return main(["synth", str(out), "--count", str(count), *options])


def test_labels_name_every_picture_and_every_picture_opens(tmp_path, capsys):
    assert synth(tmp_path / "ra", 12, "--format", "jpg") == 0
    rows = [
        row.split("\t") for row in (tmp_path / "ra" / "labels.tsv").read_text(encoding="utf-8").splitlines()
    ]
    assert len(rows) == 12
    for index, (name, text) in enumerate(rows):
        sample = source.SyntheticSource().sample(index)
        assert text == sample.text
        with Image.open(tmp_path / "ra" / name) as picture:
            assert picture.size == sample.picture.shape[1::-1]
    assert "12 pictures" in capsys.readouterr().out


def test_pictures_are_the_streams_own(tmp_path):
    synth(tmp_path, 3, "--seed", "5")
    with Image.open(tmp_path / "0000002.png") as picture:
        np.testing.assert_array_equal(np.array(picture), source.SyntheticSource(seed=5).sample(2).picture)


def test_stopped_anywhere_it_ends_the_same(tmp_path):
    whole, torn = tmp_path / "whole", tmp_path / "torn"
    synth(whole, 8)
    synth(torn, 5)
    labels = torn / "labels.tsv"
    labels.write_bytes(labels.read_bytes()[:-3])
    (torn / ".0000005.png").write_bytes(b"half a pic")
    (torn / "0000004.png").write_bytes(b"old")
    synth(torn, 8)
    assert files(torn) == files(whole)


def test_pages_come_with_the_shape_and_the_text_of_their_lines(tmp_path):
    assert synth(tmp_path / "trang", 2, "--pages", "--seed", "4") == 0
    rows = [json.loads(row) for row in (tmp_path / "trang" / "pages.jsonl").read_text("utf-8").splitlines()]
    assert [row["picture"] for row in rows] == ["0000000.png", "0000001.png"]
    page = PageSource(seed=4).sample_whole(1)
    with Image.open(tmp_path / "trang" / "0000001.png") as picture:
        np.testing.assert_array_equal(np.array(picture), page.picture)
    assert [line["text"] for line in rows[1]["lines"]] == [line.text for line in page.lines]
    ends = [line["center"][-1] for line in rows[1]["lines"]]
    np.testing.assert_allclose(ends, [line.center[-1] for line in page.lines], atol=0.06)
    assert synth(tmp_path / "trang", 2, "--seed", "4") == 2  # words do not mix with pages


def test_asking_for_fewer_changes_nothing(tmp_path):
    synth(tmp_path, 4)
    before = files(tmp_path)
    assert synth(tmp_path, 2) == 0
    assert files(tmp_path) == before


def test_a_folder_of_others_is_not_touched(tmp_path, capsys):
    (tmp_path / "thơ.txt").write_text("của tôi")
    assert synth(tmp_path, 2) == 2
    assert list(files(tmp_path)) == ["thơ.txt"]
    assert "not empty" in capsys.readouterr().err


def test_other_settings_do_not_mix(tmp_path, capsys):
    synth(tmp_path, 2)
    for options in (["--seed", "1"], ["--format", "jpg"]):
        assert synth(tmp_path, 3, *options) == 2
        assert "other settings" in capsys.readouterr().err


def test_impossible_wishes_are_refused(tmp_path, capsys):
    assert synth(tmp_path / "a", 0) == 2
    (tmp_path / "file").write_text("x")
    assert synth(tmp_path / "file", 1) == 2
    assert synth(tmp_path / "b", 1, "--fonts", str(tmp_path / "none")) in (2, 3)
    assert capsys.readouterr().err.count("\n") == 3
