"""``nhin read``: every picture that can be read is read, and every other one is named."""

import io
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nhin.cli.app import main
from nhin.reading import reader as reading
from nhin.reading.result import Recognition


class Sized:
    """Reads every crop as its size."""

    def read(self, crops: Sequence[np.ndarray]) -> list[Recognition]:
        return [Recognition(f"{crop.shape[1]}x{crop.shape[0]}", 0.5) for crop in crops]


@pytest.fixture(autouse=True)
def recogniser(monkeypatch):
    monkeypatch.setattr(reading, "load_recognizer", lambda name, **settings: Sized())


def grain(width: int = 60, height: int = 30) -> Image.Image:
    return Image.fromarray(np.random.default_rng(width).integers(0, 256, (height, width, 3), dtype=np.uint8))


@pytest.fixture
def words(tmp_path) -> Path:
    folder = tmp_path / "Ảnh chụp phố"
    folder.mkdir()
    for width in (60, 70, 80):
        grain(width).save(folder / f"biển {width}.png")
    return folder


def test_one_picture_gives_its_text_alone(words, capsys):
    assert main(["read", "--crop", str(words / "biển 60.png")]) == 0
    assert capsys.readouterr() == ("60x30\n", "")


def test_several_pictures_are_told_apart(words, capsys):
    assert main(["read", "--crop", str(words)]) == 0
    out = capsys.readouterr().out
    assert out.count("==> ") == 3
    assert out.index("60x30") < out.index("70x30") < out.index("80x30")
    assert f"==> {words / 'biển 60.png'} <==\n60x30\n\n==>" in out


def test_markdown_parts_pictures_by_their_names_and_pages_by_a_rule(words, capsys, tmp_path):
    assert main(["read", "--crop", "--format", "markdown", str(words)]) == 0
    out = capsys.readouterr().out
    assert out.count("==\\> ") == 3
    assert "biển 60.png \\<==\n\n60x30\n\n==\\>" in out
    scan = tmp_path / "scan.tif"
    grain().save(scan, save_all=True, append_images=[grain(70)])
    assert main(["read", "--crop", "--format", "markdown", str(scan)]) == 0
    assert capsys.readouterr().out == "60x30\n\n---\n\n70x30\n"


def test_a_table_carries_path_text_and_box(words, capsys):
    assert main(["read", "--crop", "--format", "tsv", str(words)]) == 0
    head, *rows = capsys.readouterr().out.splitlines()
    assert head.split("\t") == ["path", "page", "line", "text", "confidence", "box"]
    assert rows[0].split("\t") == [
        str(words / "biển 60.png"),
        "1",
        "1",
        "60x30",
        "0.5000",
        "0,0,60,0,60,30,0,30",
    ]
    assert len(rows) == 3


def test_json_is_one_object_a_picture(words, capsys):
    assert main(["read", "--crop", "--format", "json", str(words)]) == 0
    trees = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [tree["text"] for tree in trees] == ["60x30", "70x30", "80x30"]
    assert trees[0]["path"] == str(words / "biển 60.png")


def test_a_dash_reads_standard_input(monkeypatch, capsys):
    data = io.BytesIO()
    grain().save(data, "PNG")
    for content, code in ((data.getvalue(), 0), (b"", 3), (b"text", 3)):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))
        assert main(["read", "--crop", "-"]) == code
        captured = capsys.readouterr()
        assert captured.out == ("60x30\n" if code == 0 else "")
        assert ("standard input" in captured.err) == bool(code)


BAD = {
    "rỗng.png": b"",
    "thư.jpg": "Kính gửi".encode(),
    "rách.png": b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR",
}


@pytest.mark.parametrize("format", ["text", "tsv", "json"])
def test_bad_files_do_not_keep_the_others_from_being_read(words, tmp_path, capsys, format):
    for name, data in BAD.items():
        (tmp_path / name).write_bytes(data)
    (tmp_path / "trống").mkdir()
    bad = [*(tmp_path / name for name in BAD), tmp_path / "không có.jpg", tmp_path / "trống"]
    paths = [str(bad[0]), str(words / "biển 60.png"), *map(str, bad[1:]), str(words / "biển 70.png")]
    assert main(["read", "--crop", "--format", format, *paths]) == 3
    captured = capsys.readouterr()
    assert "60x30" in captured.out
    assert "70x30" in captured.out
    assert captured.err.count("\n") == len(bad)
    for path in bad:
        assert path.name in captured.err
    assert "Traceback" not in captured.err


def test_blank_pictures_give_an_empty_answer(tmp_path, capsys):
    Image.new("RGB", (200, 100), "white").save(tmp_path / "trắng.png")
    for options in ([], ["--crop"]):
        assert main(["read", *options, str(tmp_path / "trắng.png")]) == 0
        assert capsys.readouterr() == ("", "")


def test_an_animation_is_read_by_its_first_frame(tmp_path, capsys):
    frames = [grain(60, 30), grain(60, 31).resize((60, 30))]
    frames[0].save(tmp_path / "động.gif", save_all=True, append_images=frames[1:])
    assert main(["read", "--crop", str(tmp_path / "động.gif")]) == 0
    captured = capsys.readouterr()
    assert captured.out == "60x30\n"
    assert captured.err.count("\n") == 1
    assert "động.gif has 2 pages or frames; only the first was read" in captured.err


@pytest.fixture
def document(tmp_path) -> Path:
    """Return a TIFF of three pages, the second of which is torn."""
    path, out = tmp_path / "hồ sơ.tif", io.BytesIO()
    pages = [grain(width, 30) for width in (60, 70, 80)]
    pages[0].save(out, "TIFF", save_all=True, append_images=pages[1:], compression="tiff_adobe_deflate")
    data = bytearray(out.getvalue())
    with Image.open(out) as image:
        image.seek(1)
        (start,) = image.tag_v2[273]  # pyright: ignore[reportAttributeAccessIssue]
    data[start : start + 4000] = bytes(4000)
    path.write_bytes(data)
    return path


def test_a_torn_page_does_not_keep_the_others_from_being_read(document, words, capsys):
    assert main(["read", "--crop", str(document), str(words / "biển 60.png")]) == 3
    captured = capsys.readouterr()
    assert f"==> {document} <==\n60x30\n\f\f80x30\n\n==>" in captured.out
    assert captured.err.count("\n") == 1
    assert f"{document}, page 2, is torn" in captured.err


def test_rows_and_objects_carry_their_page(document, capsys):
    assert main(["read", "--crop", "--format", "tsv", str(document)]) == 3
    rows = [row.split("\t")[1:4] for row in capsys.readouterr().out.splitlines()]
    assert rows == [["page", "line", "text"], ["1", "1", "60x30"], ["3", "1", "80x30"]]
    assert main(["read", "--crop", "--format", "json", str(document)]) == 3
    trees = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [tree["page"] for tree in trees] == [1, 2, 3]
    assert [len(tree["lines"]) for tree in trees] == [1, 0, 1]
    assert [[warning["code"] for warning in tree["warnings"]] for tree in trees] == [[], ["page-skipped"], []]


def test_weights_that_are_not_there_are_said_once(words, monkeypatch, capsys):
    from nhin.reading import onnx_model

    monkeypatch.setattr(reading, "load_recognizer", onnx_model.load_recognizer)
    assert main(["read", "--crop", "--weights", "không-có", str(words)]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_the_example_needs_no_path(capsys):
    assert main(["read", "--example"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 4


def test_warnings_are_lines_on_standard_error(tmp_path, capsys, monkeypatch):
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (3, 900), np.uint8)).save(tmp_path / "dải.png")
    assert main(["read", str(tmp_path / "dải.png")]) == 0
    captured = capsys.readouterr()
    assert (captured.out, captured.err.count("\n")) == ("", 1)
    assert "dải.png is 900 x 3 pixels, too small to read" in captured.err


def test_min_confidence_decides_what_is_shown(words, capsys):
    path = str(words / "biển 60.png")
    assert main(["read", "--crop", "--min-confidence", "0.95", path]) == 0
    captured = capsys.readouterr()
    assert (captured.out, captured.err.count("\n")) == ("", 1)
    assert "1 line left out" in captured.err
    assert main(["read", "--crop", "--min-confidence", "0", path]) == 0
    assert capsys.readouterr() == ("60x30\n", "")
    for wrong in ("1.5", "-1", "nan", "nhiều"):
        assert main(["read", "--min-confidence", wrong, path]) == 2
    assert capsys.readouterr().out == ""
