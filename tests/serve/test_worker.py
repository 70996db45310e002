"""A worker process reads as ``nhin read`` does, refuses what that refuses, and dies alone."""

import io
import json
import os
import signal
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import nhin
from nhin.cli.app import main
from nhin.reading.reader import Reader
from nhin.reading.result import Recognition
from nhin.serve.service import start_process
from nhin.serve.settings import ServiceSettings
from nhin.serve.worker import ServiceWorker
from nhin.serve.worker_process import WorkerDied

SIGN = Path(nhin.__file__).parent / "examples" / "street_sign.png"
QUERY = {
    "path": "a.png",
    "format": "json",
    "pages": None,
    "ocr": "auto",
    "crop": False,
    "min_confidence": 0.5,
}


class WholeLine:
    """Reads each crop as one word, and counts the crops."""

    count = 0

    def read(self, crops):
        self.count += len(crops)
        return [Recognition("chữ", 0.9) for _ in crops]


@pytest.fixture
def worker():
    """Return a worker in this process, with a reader that needs no network."""
    worker = ServiceWorker()
    worker.use(Reader(recognizer=WholeLine(), detector=None), max_pixels=10_000, max_pages=2)
    return worker


def encode(*sizes, format="PNG", **options):
    pages = [Image.fromarray(np.uint8(np.arange(h * w * 3).reshape(h, w, 3) % 251)) for w, h in sizes]
    file = io.BytesIO()
    pages[0].save(
        file, format, **options, **({"save_all": True, "append_images": pages[1:]} if pages[1:] else {})
    )
    return file.getvalue()


def ask(worker, data, job="read", **query):
    values = {"job": job, "query": ({"page": 1} if job == "picture" else {**QUERY, "crop": True}) | query}
    answer, arrays = worker.handle(values, [np.frombuffer(data, np.uint8)])
    return answer, arrays[0].tobytes() if arrays else b""


def test_json_is_one_value_and_json_lines_are_a_page_each(worker):
    data = encode((60, 30), (60, 30), format="TIFF")
    answer, text = ask(worker, data)
    assert answer == {"pages": 2, "warnings": []}
    answer, lines = ask(worker, data, format="jsonl")
    assert json.loads(text)["pages"] == [json.loads(line) for line in lines.decode().splitlines()]
    assert [page["page"] for page in json.loads(text)["pages"]] == [1, 2]


@pytest.mark.parametrize("format", ["text", "markdown", "tsv", "hocr", "alto", "page", "pdf"])
def test_a_document_in_any_format_holds_the_pages_that_were_asked_for(worker, format):
    answer, result = ask(worker, encode((60, 30), (60, 30), format="TIFF"), format=format, pages="2")
    assert answer["pages"] == 1
    assert result.startswith(b"%PDF") if format == "pdf" else "chữ" in result.decode()


@pytest.mark.parametrize(
    ("sizes", "format", "query", "words"),
    [
        ([(60, 30)] * 3, "TIFF", {}, "at most 2 --pages"),
        ([(60, 30)] * 3, "TIFF", {"pages": "1-"}, "at most 2 --pages"),
        ([(60, 30)], "PNG", {"pages": "2"}, "none of the pages"),
        ([(60, 30)], "PNG", {"pages": "x"}, "is no page"),
        ([(101, 100)], "PNG", {}, "0.01 megapixels"),
        ([(60, 30)], "PNG", {"job": "picture", "page": 2}, "no page 2"),
        ([(101, 100)], "PNG", {"job": "picture"}, "0.01 megapixels"),
    ],
)
def test_what_exceeds_a_limit_or_is_not_there_is_refused_before_anything_is_read(
    worker, sizes, format, query, words
):
    answer, result = ask(worker, encode(*sizes, format=format), **query)
    assert answer["status"] == 422
    assert words in answer["refused"]
    assert not result
    assert worker._reader.recognizer.count == 0


def test_a_picture_stands_upright_with_the_size_in_which_boxes_count(worker):
    exif = Image.Exif()
    exif[0x0112] = 6  # turned a quarter
    answer, png = ask(worker, encode((60, 30), format="JPEG", exif=exif), "picture")
    assert answer == {"width": 30, "height": 60, "pages": 1}
    assert Image.open(io.BytesIO(png)).size == (30, 60)
    answer, png = ask(worker, encode((4800, 2)), "picture")
    assert (answer["width"], Image.open(io.BytesIO(png)).width) == (4800, 2400)


def test_a_fault_of_ours_says_where_but_not_what_it_read(worker):
    worker.use(None, 1, 1)
    answer, _ = ask(worker, encode((60, 30)))
    assert set(answer) == {"failed"}
    assert set(answer["failed"]) == {"error", "trace"}


def test_a_process_reads_as_the_library_does_and_can_be_killed():
    process = start_process(ServiceSettings(weights="slim"))
    process.open()
    try:
        answer, text = process.call({"job": "read", "query": QUERY}, SIGN.read_bytes)
        reading = Reader("slim").read(SIGN)
        assert answer["pages"] == 1
        assert [line["text"] for line in json.loads(text)["pages"][0]["lines"]] == [
            line.text for line in reading.lines
        ]
        refused, _ = process.call({"job": "read", "query": QUERY}, lambda: b"no picture")
        assert refused["status"] == 422
        assert process.is_open
        os.kill(process._process.pid, signal.SIGKILL)
        with pytest.raises(WorkerDied):
            process.call({"job": "read", "query": QUERY}, SIGN.read_bytes)
    finally:
        process.close()


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        (["--workers", "0"], 2, "workers"),
        (["--port", "70000"], 2, "port"),
        (["--host", "no-such-host.invalid"], 2, "no-such-host.invalid"),
        (["--grace", "nan"], 2, "grace"),
        (["--port", "0", "--weights", "no-such-model"], 4, "no-such-model"),
    ],
)
def test_a_service_that_cannot_start_says_so_in_one_line(capsys, options, code, words):
    assert main(["serve", *options]) == code
    error = capsys.readouterr().err
    assert words in error
    assert error.count("\n") == 1
