"""``nhin read --out`` and the formats of whole documents."""

import gc
import io
import json
import os
import sys
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pypdfium2
import pytest
from pdfs import ENCRYPTED, InProcess, PdfPage, TextAt, make_pdf
from PIL import Image

from nhin.cli import read_sources
from nhin.cli.app import main
from nhin.cli.read_folder import FolderRun, name_targets
from nhin.errors import CheckpointError
from nhin.image import clipboard
from nhin.image import fetch as fetch_module
from nhin.image import pdf as pdf_module
from nhin.reading import reader as reading
from nhin.reading.document_writer import SUFFIXES
from nhin.reading.documents import ReadPage
from nhin.reading.reading import Reading
from nhin.reading.result import ReadingWarning, Recognition


class Recognizer:
    """Reads every crop as two words, and counts the calls."""

    calls = 0

    def read(self, crops) -> list[Recognition]:
        type(self).calls += 1
        return [Recognition("biển số", 0.9) for _ in crops]


@pytest.fixture(autouse=True)
def networks(monkeypatch):
    Recognizer.calls = 0
    monkeypatch.setattr(pdf_module, "Sandbox", InProcess)
    monkeypatch.setattr(reading, "load_recognizer", lambda name, **settings: Recognizer())


@pytest.fixture
def inputs(tmp_path):
    """Return a folder with pictures, one in a folder of its own, and a PDF of two pages."""
    folder = tmp_path / "vào"
    (folder / "trong").mkdir(parents=True)
    grain = Image.fromarray(np.random.default_rng(0).integers(0, 256, (30, 60, 3), dtype=np.uint8))
    for name in ("a.png", "a.jpg", "trong/b.png"):
        grain.save(folder / name)
    (folder / "thư.pdf").write_bytes(make_pdf(PdfPage([TextAt("Kính gửi", 60, 700)]), PdfPage()))
    return folder


def run(*words: object) -> int:
    return main(["read", "--crop", *map(str, words)])


def list_files(folder) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.name[0] != ".")


def manifest(out) -> dict:
    return json.loads((out / "nhin-read.json").read_text("utf-8"))


def test_outputs_lie_as_the_inputs_do(inputs, tmp_path):
    out = tmp_path / "ra"
    assert run(inputs, "--out", out, "--recursive") == 0
    assert list_files(out) == ["a.jpg.txt", "a.png.txt", "nhin-read.json", "thư.txt", "trong", "trong/b.txt"]
    assert (out / "trong" / "b.txt").read_text("utf-8") == "biển số\n"
    assert (out / "thư.txt").read_text("utf-8") == "Kính gửi\n\f"
    assert manifest(out)["read"] == 4


@pytest.mark.parametrize("format, suffix", [("markdown", "md"), ("tsv", "tsv"), ("json", "json")])
def test_the_suffix_tells_the_format(inputs, tmp_path, format, suffix):
    assert run(inputs / "a.png", "--out", tmp_path / "ra", "--format", format) == 0
    assert list_files(tmp_path / "ra") == [f"a.{suffix}", "nhin-read.json"]


def test_what_is_done_is_not_read_again_unless_its_input_is_newer(inputs, tmp_path):
    out = tmp_path / "ra"
    run(inputs / "a.png", "--out", out)
    assert run(inputs / "a.png", inputs / "trong" / "b.png", "--out", out) == 0
    assert Recognizer.calls == 2
    assert (manifest(out)["read"], manifest(out)["read-before"]) == (1, 1)
    later = (out / "a.txt").stat().st_mtime + 10
    os.utime(inputs / "a.png", (later, later))
    assert run(inputs / "a.png", "--out", out) == 0
    assert Recognizer.calls == 3


def test_after_an_interruption_the_manifest_is_there_nothing_is_half_and_the_rest_is_read(
    inputs, tmp_path, monkeypatch
):
    out, read = tmp_path / "ra", Recognizer.read

    def stop_at_second(self, crops):
        if Recognizer.calls:
            raise KeyboardInterrupt
        return read(self, crops)

    monkeypatch.setattr(Recognizer, "read", stop_at_second)
    assert run(inputs, "--out", out) == 130
    assert list_files(out) == ["a.jpg.txt", "nhin-read.json"]
    monkeypatch.setattr(Recognizer, "read", read)
    assert run(inputs, "--out", out) == 0
    assert (manifest(out)["read"], manifest(out)["read-before"]) == (2, 1)


def test_what_fails_is_in_the_manifest_and_the_others_are_read(inputs, tmp_path, capsys):
    (inputs / "khóa.pdf").write_bytes(ENCRYPTED)
    (inputs / "rách.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    out = tmp_path / "ra"
    assert run(inputs, inputs / "không có.png", "--out", out) == 3
    tree = manifest(out)
    assert (tree["read"], tree["failed"]) == (3, 3)
    names = [Path(failure["path"]).name for failure in tree["failures"]]
    assert names == ["khóa.pdf", "rách.png", "không có.png"]
    assert "password" in tree["failures"][0]["reason"]
    assert not (out / "khóa.txt").exists()
    assert capsys.readouterr().err.count("\n") == 3


def test_weights_that_fail_stop_the_run(inputs, tmp_path, monkeypatch):
    def fail(self, crops):
        raise CheckpointError("the networks are torn")

    monkeypatch.setattr(Recognizer, "read", fail)
    assert run(inputs, "--out", tmp_path / "ra") == 4


def test_an_input_is_never_replaced_and_outputs_are_not_inputs(inputs, tmp_path, capsys):
    before = (inputs / "thư.pdf").read_bytes()
    assert run(inputs / "thư.pdf", "--out", inputs, "--format", "pdf") == 2
    assert (inputs / "thư.pdf").read_bytes() == before
    assert "would be replaced" in capsys.readouterr().err
    out = inputs / "ra"
    for _ in range(2):
        assert run(inputs, "--recursive", "--out", out, "--format", "pdf") == 0
    assert (manifest(out)["read"], manifest(out)["read-before"]) == (0, 4)


def test_paths_come_from_a_list_and_from_patterns(inputs, tmp_path, monkeypatch, capsys):
    lines = f"{inputs / 'a.png'}\n\n{inputs / 'trong' / 'b.png'}\n"
    (tmp_path / "danh sách.txt").write_text(lines, "utf-8")
    assert run("--list", tmp_path / "danh sách.txt") == 0
    first = capsys.readouterr().out
    assert first.count("biển số") == 2
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(lines.encode())))
    assert run("--list", "-") == 0
    assert capsys.readouterr().out == first
    assert run(inputs / "**" / "*.png") == 0
    assert capsys.readouterr().out.count("biển số") == 2
    assert run(inputs / "*.heic") == 3
    assert "names no file" in capsys.readouterr().err


def test_a_list_that_is_too_long_is_refused_and_not_cut(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(read_sources, "_MAX_LIST", 10)
    (tmp_path / "danh sách.txt").write_bytes(b"a.png\n" * 2)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"a.png\n" * 2)))
    for name in (tmp_path / "danh sách.txt", "-"):
        assert run("--list", name) == 2
        assert "larger than 10 bytes" in capsys.readouterr().err


def test_a_path_that_no_system_has_fails_alone(inputs, tmp_path, capsys):
    (tmp_path / "danh sách.txt").write_bytes(b"x\0/[a].png\nx\0.png\n" + str(inputs / "a.png").encode())
    assert run("--list", tmp_path / "danh sách.txt", "--out", tmp_path / "ra") == 3
    assert (manifest(tmp_path / "ra")["read"], manifest(tmp_path / "ra")["failed"]) == (1, 2)
    assert capsys.readouterr().err.count("it has a zero byte") == 2


def test_hidden_folders_and_links_in_a_circle_are_not_followed(inputs, tmp_path):
    (inputs / ".ẩn").mkdir()
    (inputs / ".ẩn" / "c.png").write_bytes(b"x")
    (inputs / "trong" / "vòng").symlink_to(inputs)
    assert run(inputs, "--recursive", "--out", tmp_path / "ra") == 0
    assert manifest(tmp_path / "ra")["read"] == 4


def test_a_pattern_follows_no_links_that_lead_in_circles(inputs, capsys):
    """Two such links have a path for each number of 40 binary digits."""
    for name in ("vòng", "vòng nữa"):
        (inputs / "trong" / name).symlink_to(inputs / "trong")
    (inputs / "[1]").mkdir()
    (inputs / "a.png").rename(inputs / "[1]" / "a.png")
    for pattern, count in (("**/*.png", 2), ("**/b.png", 1), ("**/**/b.*", 1), ("*/*.png", 2)):
        assert run(inputs / pattern, "--format", "tsv") == 0
        assert capsys.readouterr().out.count("biển số") == count


NAMES = (
    "a.png",
    "../a.png",
    "/etc/passwd",
    "/",
    "..",
    "x/../../../b",
    "./c",
    "d/" * 50,
    "\\\\máy\\e.png",
    "f\n.png",
)


def test_no_output_lies_outside_the_folder_for_it(tmp_path):
    out = tmp_path / "ra"
    for base in (tmp_path, Path("/"), Path("/usr/lib")):
        targets = name_targets([Path(name) for name in NAMES], base, out, ".txt")
        for target in targets.values():
            assert Path(os.path.normpath(target)).parent.is_relative_to(out)
    assert len({str(target) for target in targets.values()}) == len(targets)


def test_a_document_on_standard_output_is_whole(inputs, capfdbinary):
    for format in ("hocr", "alto"):
        assert run(inputs / "thư.pdf", "--format", format) == 0
        tree = ElementTree.fromstring(capfdbinary.readouterr().out)
        assert "Kính" in "".join(tree.itertext()) + str([item.attrib for item in tree.iter()])
    assert run(inputs / "thư.pdf", "--format", "pdf") == 0
    pdf = pypdfium2.PdfDocument(capfdbinary.readouterr().out)
    assert [page.get_textpage().get_text_range() for page in pdf] == ["Kính gửi", ""]
    assert pdf[0].get_size() == pytest.approx((595, 842), abs=0.5)


@pytest.mark.parametrize("options", [["--format", "hocr"], ["--format", "pdf"]])
def test_several_documents_are_not_written_into_one(inputs, capsys, options):
    assert run(inputs, *options) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "--out" in captured.err
    assert run("-", "--out", inputs) == 2


def test_a_searchable_pdf_of_a_picture_has_its_words_over_the_picture(inputs, tmp_path):
    assert run(inputs / "a.png", "--out", tmp_path / "ra", "--format", "pdf") == 0
    page = pypdfium2.PdfDocument((tmp_path / "ra" / "a.pdf").read_bytes())[0]
    assert page.get_textpage().get_text_range() == "biển số"
    assert max(page.get_size()) == pytest.approx(842, abs=1)  # as long as A4


@pytest.mark.parametrize("format", ["text", "json", "pdf"])
def test_a_pdf_goes_on_at_the_page_where_it_was_interrupted(tmp_path, monkeypatch, format):
    """What comes out is what an uninterrupted run writes, and no page is read twice."""
    source, out = tmp_path / "dài.pdf", tmp_path / "ra"
    source.write_bytes(make_pdf(*[PdfPage(picture=(0, 0, 595, 842))] * 5))
    read = Recognizer.read

    def stop_at_fourth(self, crops):
        if Recognizer.calls == 3:
            raise KeyboardInterrupt
        return read(self, crops)

    words = (source, "--format", format, "--ocr", "always", "--out")
    monkeypatch.setattr(Recognizer, "read", stop_at_fourth)
    assert run(*words, out) == 130
    assert [path.name for path in out.iterdir() if path.name.startswith(".dài")] == [
        f".dài{SUFFIXES[format]}.pages"
    ]
    monkeypatch.setattr(Recognizer, "read", read)
    assert run(*words, out) == 0
    assert Recognizer.calls == 5
    assert not list(out.glob(".dài*"))
    assert run(*words, tmp_path / "một mạch") == 0
    name = f"dài{SUFFIXES[format]}"
    assert (out / name).read_bytes() == (tmp_path / "một mạch" / name).read_bytes()


def test_pages_read_with_other_options_are_read_again(tmp_path, monkeypatch):
    source, out = tmp_path / "dài.pdf", tmp_path / "ra"
    source.write_bytes(make_pdf(*[PdfPage(picture=(0, 0, 595, 842))] * 3))
    read = Recognizer.read

    def stop_at_third(self, crops):
        if Recognizer.calls == 2:
            raise KeyboardInterrupt
        return read(self, crops)

    monkeypatch.setattr(Recognizer, "read", stop_at_third)
    assert run(source, "--out", out) == 130
    monkeypatch.setattr(Recognizer, "read", read)
    assert run(source, "--out", out, "--min-confidence", "0.1") == 0
    assert Recognizer.calls == 5


def test_annotated_pictures_lie_as_the_inputs_do(inputs, tmp_path):
    out = tmp_path / "vẽ"
    words = (inputs / "a.png", inputs / "trong", inputs / "thư.pdf", "--annotate", out)
    assert run(*words) == 0
    assert list_files(out) == ["a.jpg", "thư.jpg", "thư.page-2.jpg", "trong", "trong/b.jpg"]
    with Image.open(out / "a.jpg") as drawn:
        assert drawn.size == (60, 30)
    assert run(inputs, "--recursive", "--annotate", inputs / "vẽ", "--out", inputs / "ra") == 0
    assert run(inputs, "--recursive", "--annotate", inputs / "vẽ", "--out", inputs / "ra") == 0
    assert manifest(inputs / "ra")["read-before"] == 4


def test_an_input_that_was_read_without_annotated_pictures_is_read_again_for_them(inputs, tmp_path):
    out, drawn = tmp_path / "ra", tmp_path / "vẽ"
    assert run(inputs / "thư.pdf", "--out", out) == 0
    for counts in ((1, 0), (0, 1)):
        assert run(inputs / "thư.pdf", "--out", out, "--annotate", drawn) == 0
        assert (manifest(out)["read"], manifest(out)["read-before"]) == counts
        assert list_files(drawn) == ["thư.jpg", "thư.page-2.jpg"]
    later = (out / "thư.txt").stat().st_mtime + 10
    os.utime(drawn / "thư.jpg", (later, later))  # as a kill before the last page leaves it
    (drawn / "thư.page-2.jpg").unlink()
    run(inputs / "thư.pdf", "--out", out, "--annotate", drawn)
    assert list_files(drawn) == ["thư.jpg", "thư.page-2.jpg"]


def test_page_xml_is_a_file_for_a_picture_and_refused_for_several_pages(inputs, tmp_path, capsys):
    out = tmp_path / "ra"
    assert run(inputs / "a.png", inputs / "thư.pdf", "--format", "page", "--out", out) == 3
    assert list_files(out) == ["a.page.xml", "nhin-read.json"]
    assert "a file of PAGE XML holds one" in capsys.readouterr().err
    assert run(inputs / "thư.pdf", "--pages", "1", "--format", "page", "--out", out) == 0
    assert ElementTree.parse(out / "thư.page.xml").getroot().tag.endswith("PcGts")


def test_the_clipboard_and_addresses_are_read_like_files(inputs, monkeypatch, capsys):
    picture = Image.new("RGB", (60, 30), "white")
    picture.paste("black", (10, 10, 30, 20))
    monkeypatch.setattr(clipboard, "read_clipboard", lambda: picture)
    monkeypatch.setattr(fetch_module, "fetch", lambda url: (inputs / "thư.pdf").read_bytes())
    assert run("--clipboard", "--fetch", "https://example.org//a.pdf") == 0
    text = capsys.readouterr().out
    assert "==> the clipboard <==\nbiển số\n" in text
    assert "==> https://example.org//a.pdf <==\nKính gửi\n" in text
    monkeypatch.setattr(clipboard, "read_clipboard", lambda: [inputs / "a.png", inputs / "trong" / "b.png"])
    assert run("--clipboard", "--format", "tsv") == 0
    assert capsys.readouterr().out.count("biển số") == 2


@pytest.mark.parametrize("words", [["--clipboard"], ["--fetch", "https://example.org/a.png"], ["-"]])
@pytest.mark.parametrize("option", ["--out", "--annotate"])
def test_what_has_no_file_name_goes_to_no_folder(tmp_path, monkeypatch, capsys, words, option):
    monkeypatch.setattr(clipboard, "read_clipboard", lambda: Image.new("RGB", (9, 9)))
    assert run(*words, option, tmp_path / "ra") == 2
    assert f"{option} names files after those that are read" in capsys.readouterr().err


def test_an_address_is_read_only_with_fetch(capsys):
    assert run("https://example.org/a.png") == 2
    assert "--fetch" in capsys.readouterr().err
    assert run("--fetch", "http://127.0.0.1/a.png") == 3
    assert "127.0.0.1, which is not on the public internet" in capsys.readouterr().err


def test_the_memory_does_not_grow_with_the_pages(tmp_path):
    source, alive = tmp_path / "dài.tif", []
    source.touch()

    def read(path, kept):
        for number in range(1, 21):
            yield ReadPage(Reading((), 9, 9, number, (ReadingWarning("too-small", "is small"),)))
            alive.append(sum(type(thing) is Reading for thing in gc.get_objects()))

    run = FolderRun(tmp_path / "ra", "text", read, ())
    run.run([source], tmp_path)
    assert [warning["page"] for warning in run.warnings] == list(range(1, 21))
    assert alive[-1] - alive[0] <= 1
