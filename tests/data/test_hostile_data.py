"""Data sets of strangers are refused in one line, within bounds of memory and time."""

import io
import math
import os
import re
import struct
import zipfile
from pathlib import Path

import pytest
from PIL import Image

from nhin.cli.app import main
from nhin.data.images import datasets, vintext
from nhin.data.images.datasets import open_crops
from nhin.data.images.text_generator import read_words
from nhin.errors import DataError, NhinError
from nhin.image.fonts import find_faces, font_dirs, list_font_files, open_face


def png() -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (20, 10)).save(out, "PNG")
    return out.getvalue()


def write_zip(path: Path, labels: bytes = b"a.png\tx\n", method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        archive.writestr("labels.tsv", labels)
        archive.writestr("a.png", png())
    return path


def change(path: Path, old: bytes, new: bytes) -> Path:
    data = path.read_bytes()
    assert old in data
    path.write_bytes(data.replace(old, new))
    return path


def open_all(path: Path) -> None:
    for crop in open_crops(path):
        assert crop.picture.shape == (10, 20, 3)


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_methods_whose_memory_has_no_bound_are_refused_by_name(tmp_path, method):
    with pytest.raises(DataError, match=f"compressed by method {method}, which is not read"):
        open_all(write_zip(tmp_path / "a.zip", method=method))


def test_encrypted_torn_and_foreign_zips_are_one_line(tmp_path):
    whole = write_zip(tmp_path / "a.zip").read_bytes()
    local, central = struct.pack("<I", 0x04034B50), struct.pack("<I", 0x02014B50)
    encrypted = bytearray(whole)
    for signature, at in ((local, 6), (central, 8)):
        start = -1
        while (start := whole.find(signature, start + 1)) >= 0:
            encrypted[start + at] |= 1
    cases = [bytes(encrypted), whole.replace(b"labels.tsv", b"labels.txt"), whole[: len(whole) // 2]]
    cases += [whole[:at] + bytes([whole[at] ^ 0xFF]) + whole[at + 1 :] for at in range(0, len(whole), 7)]
    refused = 0
    for number, data in enumerate(cases):
        path = tmp_path / f"{number}.zip"
        path.write_bytes(data)
        try:
            open_all(path)
        except NhinError as why:
            refused += 1
            assert "\n" not in str(why)
            assert len(str(why)) < 500
    assert refused > 10


def test_a_directory_that_claims_to_be_huge_is_not_read(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets, "_MAX_DIRECTORY_BYTES", 64)
    with pytest.raises(DataError, match="its directory would take"):
        open_crops(write_zip(tmp_path / "a.zip"))


def test_a_table_of_labels_that_unpacks_to_more_than_is_read_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets, "_MAX_LABEL_BYTES", 1000)
    bomb = write_zip(tmp_path / "a.zip", b"\n" * 10**6)
    with pytest.raises(DataError, match=r"labels\.tsv is larger than"):
        open_crops(bomb)
    (tmp_path / "labels.tsv").write_bytes(b"\n" * 1001)
    with pytest.raises(DataError, match="larger than 1,000 bytes"):
        open_crops(tmp_path / "labels.tsv")


def test_a_picture_in_a_zip_that_unpacks_to_more_than_is_read_is_one_line(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(datasets, "_MAX_PICTURE_BYTES", 1000)
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("labels.tsv", "a.png\tx\n")
        archive.writestr("a.png", png() + bytes(10**6))
    assert main(["evaluate", "slim", str(tmp_path / "a.zip")]) == DataError.exit_code
    assert re.fullmatch(r"nhin: \S+a\.zip: a\.png is larger than .*\n", capsys.readouterr().err)


@pytest.mark.parametrize(
    ("row", "words"),
    [
        (b"a.png\t" + b"x" * 2000, "line 1: a label of 2,000 characters"),
        (b"a.png\tx\x1b[31mred", "line 1: a label with a control character"),
        (b"a\x00.png\tx", "expected name<TAB>text"),
        (b"a" * 3000 + b"\tx", "expected name<TAB>text"),
        (b"\xff\tx", "not UTF-8 text: invalid start byte at byte 0"),
    ],
)
def test_labels_no_line_can_have_are_refused(tmp_path, row, words):
    with pytest.raises(DataError, match=words):
        open_crops(write_zip(tmp_path / "a.zip", row + b"\n"))


def test_the_number_of_labels_is_bounded(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets, "MAX_WORDS", 2)
    with pytest.raises(DataError, match="has over 2 labels"):
        open_crops(write_zip(tmp_path / "a.zip", b"a.png\tx\n" * 3))


def test_a_name_in_a_zip_may_be_written_in_other_words(tmp_path):
    open_all(write_zip(tmp_path / "a.zip", b"./a.png\tx\n.//a.png\ty\n"))


def test_a_pipe_and_a_folder_are_no_table_and_nothing_waits_for_them(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(DataError, match="is not a file"):
        open_crops(tmp_path / "pipe")
    (tmp_path / "labels.tsv").write_text("pipe\tx\n")
    with pytest.raises(DataError, match="pipe is not a file"):
        open_all(tmp_path)
    with pytest.raises(DataError, match="it is not a file"):
        read_words(tmp_path / "pipe")


@pytest.mark.parametrize("corner", ["nan", "inf", "1e300", "-1e9"])
def test_corners_outside_every_picture_are_refused(tmp_path, corner):
    for name in ("train_images", "labels"):
        (tmp_path / name).mkdir()
    (tmp_path / "train_images" / "im1.jpg").write_bytes(png())
    (tmp_path / "labels" / "gt_1.txt").write_text(f"0,0,{corner},0,9,9,0,9,x\n")
    with pytest.raises(DataError, match="expected x1,y1"):
        open_crops(tmp_path)


def test_a_word_that_cannot_be_cropped_is_said(tmp_path, monkeypatch):
    import cv2

    def fail(*_: object) -> None:
        raise cv2.error("too\nwide")

    monkeypatch.setattr(vintext, "rectify", fail)
    monkeypatch.setattr(vintext, "_open_photograph", lambda path: None)
    with pytest.raises(DataError, match="cannot crop a word: too wide"):
        vintext._crop_word(tmp_path, ())


@pytest.mark.parametrize("count", ["²", "1" * 500, "१२"])
def test_a_count_of_a_word_that_python_cannot_read_is_part_of_the_word(tmp_path, count):
    path = tmp_path / "words.txt"
    path.write_text(f"phở {count}\nbún 3\n", encoding="utf-8")
    assert math.isfinite(read_words(path).edges[-1])


def test_a_font_that_maps_more_characters_than_there_are_is_left_out(tmp_path):
    font = next(path for path in list_font_files(font_dirs()) if open_face(str(path)))
    data = font.read_bytes()
    at = data.index(b"cmap")
    table = struct.unpack(">L", data[at + 8 : at + 12])[0]
    bomb = struct.pack(">HH HHL HHLLL", 0, 1, 3, 10, 12, 12, 0, 28, 0, 1) + struct.pack(
        ">LLL", 0, 2**32 - 1, 1
    )
    (tmp_path / "bomb.ttf").write_bytes(data[:table] + bomb + data[table + len(bomb) :])
    assert open_face(str(tmp_path / "bomb.ttf")) is None
    (tmp_path / "good.ttf").write_bytes(data)
    assert len(find_faces([tmp_path])) == 1
