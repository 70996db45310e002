"""One reader serves many files and many threads, in order and within bounds."""

import re
import threading
import time
import warnings
from dataclasses import FrozenInstanceError
from io import BytesIO
from pathlib import Path
from types import GeneratorType

import numpy as np
import pytest
from pdfs import InProcess, PdfPage, TextAt, make_pdf
from PIL import Image

import nhin
from nhin.errors import CheckpointError, PictureError, UnknownName, UsageError
from nhin.image import pdf as pdf_module
from nhin.image.quiet import ignore_warnings
from nhin.reading import reader as reader_module
from nhin.reading.document_writer import DocumentWriter
from nhin.reading.documents import ReadPage
from nhin.reading.read_many import AHEAD, map_ordered
from nhin.reading.result import Recognition

DOCS = Path(__file__).parents[2] / "docs"
CONTRACT = make_pdf(*(PdfPage([TextAt(text, 60, 700)]) for text in ("Bên A", "Bên B", "Ký tên")))


@pytest.fixture(autouse=True)
def fakes(monkeypatch):
    """Let every network read the width of its crops, and PDFs be opened without a child process."""
    monkeypatch.setattr(pdf_module, "Sandbox", InProcess)
    monkeypatch.setattr(reader_module, "load_recognizer", lambda name, **settings: WidthRecognizer())
    reader_module.default_reader.cache_clear()
    yield
    reader_module.default_reader.cache_clear()


def make_png(width: int) -> bytes:
    pixels, file = np.random.default_rng(0).integers(0, 256, (30, width, 3), dtype=np.uint8), BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


class WidthRecognizer:
    """Reads the width of each crop."""

    def read(self, crops):
        return [Recognition(f"rộng {crop.shape[1]}", 0.9) for crop in crops]


@pytest.mark.parametrize("workers", [1, 3])
def test_documents_come_in_order_and_one_that_fails_gives_its_error(workers):
    reader = nhin.Reader(recognizer=WidthRecognizer())
    sources = [make_png(40), ("giữa", b"no picture"), make_png(50), "không có.png", make_png(60)]
    found = list(reader.read_many(sources, crop=True, workers=workers))
    assert [document.text for document in found] == ["rộng 40", "", "rộng 50", "", "rộng 60"]
    assert [type(document.error) for document in found[1::2]] == [PictureError] * 2
    assert [document.name for document in found[1::2]] == ["giữa", "không có.png"]
    assert all(document.name in str(document.error) for document in found[1::2])


@pytest.mark.parametrize("workers", [1, 2])
def test_no_more_is_begun_than_is_asked_for(workers):
    taken = []
    items = (taken.append(i) or i for i in range(100))
    found = map_ordered(lambda i: i, items, workers)
    assert isinstance(found, GeneratorType) and not taken
    for i in range(10):
        assert next(found) == i
        assert len(taken) <= i + AHEAD * workers
    found.close()


def test_weights_that_fail_end_it_all():
    class Torn:
        def read(self, crops):
            raise CheckpointError("the networks are torn")

    documents = nhin.Reader(recognizer=Torn()).read_many([make_png(40)] * 9, crop=True, workers=2)
    with pytest.raises(CheckpointError):
        next(documents)


def test_threads_that_begin_together_load_each_network_once(monkeypatch):
    loaded = []

    def load(name, **settings):
        loaded.append((name, settings["mode"], settings["threads"]))
        time.sleep(0.05)
        return WidthRecognizer()

    monkeypatch.setattr(reader_module, "load_recognizer", load)
    reader, start, texts = nhin.Reader(mode="exact", threads=1), threading.Barrier(4), []

    def read(width):
        start.wait()
        texts.append(reader.read(make_png(width), crop=True).text)

    threads = [threading.Thread(target=read, args=(40 + i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(texts) == [f"rộng {40 + i}" for i in range(4)]
    assert loaded == [("default", "exact", 1)]


def test_a_mode_is_that_of_pages_too_and_none_means_the_small_network_first(monkeypatch):
    loaded = []
    monkeypatch.setattr(
        reader_module,
        "load_recognizer",
        lambda name, **settings: loaded.append((name, settings["mode"])) or WidthRecognizer(),
    )
    for mode, want in (("fast", [("default", "fast")]), (None, [("slim", "both")])):
        loaded.clear()
        assert nhin.Reader(mode=mode).page_recognizer.read([np.zeros((9, 9, 3), np.uint8)])
        assert loaded == want


def test_settings_that_make_no_sense_are_refused():
    with pytest.raises(UnknownName, match="reading mode"):
        nhin.Reader(mode="fest")  # pyright: ignore
    for threads in (0, 1000):
        with pytest.raises(UsageError, match="threads"):
            nhin.Reader(threads=threads)
    with pytest.raises(UsageError, match="workers"):
        nhin.Reader().read_many([], workers=0)
    with pytest.raises(UsageError, match="pages"):
        nhin.Reader().read_many([], pages="first")


def test_filters_of_warnings_are_as_before_when_the_last_of_several_threads_leaves():
    before = list(warnings.filters)
    first, second = ignore_warnings(), ignore_warnings()
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    warnings.warn("is still ignored", stacklevel=1)
    second.__exit__(None, None, None)
    assert warnings.filters == before


@pytest.mark.parametrize("format", ["text", "markdown", "tsv", "json", "hocr", "alto"])
def test_results_are_formatted_as_the_files_that_nhin_read_writes(format):
    document = nhin.Reader().read_file(CONTRACT, name="a.pdf")
    for own, pages in ((document, document.pages), (document.pages[1], document.pages[1:2])):
        file = BytesIO()
        writer = DocumentWriter(file, format, "a.pdf")
        for page in pages:
            writer.add(ReadPage(page))
        writer.finish()
        name = () if format in ("text", "markdown") else ("a.pdf",)
        assert getattr(own, f"to_{format}")(*name) == file.getvalue().decode()
    assert nhin.Document("trống").format(format) == ""


def test_results_are_frozen():
    document = nhin.read(CONTRACT, pages="1")
    page = document.pages[0]
    for result, field in ((document, "name"), (page, "width"), (page.lines[0], "text")):
        with pytest.raises(FrozenInstanceError):
            setattr(result, field, "x")


def test_some_pages_of_a_file_are_a_document():
    document = nhin.read(CONTRACT, pages="2-")
    assert [page.page for page in document.pages] == [2, 3]
    assert document.text == "Bên B\fKý tên"


def test_the_examples_of_the_page_run_as_printed(monkeypatch, tmp_path, capsys):
    """Their files are drawn here, and what a network reads in them is their width."""
    monkeypatch.chdir(tmp_path)
    for name in ("photo.jpg", "word.png"):
        Image.open(BytesIO(make_png(60))).save(name)
    Path("contract.pdf").write_bytes(CONTRACT)
    blocks = re.findall(r"```python\n(.*?)```", (DOCS / "library.md").read_text("utf-8"), re.DOTALL)
    exec("\n".join(blocks), {})
    out = capsys.readouterr().out
    assert "contract.pdf [2, 3]" in out
    assert "word.png rộng 60" in out
    assert "from the web from the web is not a picture" in out
