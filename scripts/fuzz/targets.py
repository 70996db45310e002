"""Functions that a fuzzer calls with any bytes: one for each way in which a stranger's data comes.

A target returns, or raises an NhinError of one line; everything else is a finding. The tests call each with
some mutants of its seeds, ``atheris_run.py`` for as long as it is told.
"""

import asyncio
import io
import json
import os
import tempfile
import zipfile
from collections.abc import Callable, Sequence
from contextlib import redirect_stderr
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import unquote
from xml.etree import ElementTree

import numpy as np
from PIL import Image

from nhin.cli.read_folder import name_targets
from nhin.cli.read_sources import FileOptions, list_sources
from nhin.data.images.datasets import open_crops
from nhin.errors import NhinError, UsageError
from nhin.files import parse_json
from nhin.image.decode import decode_file
from nhin.image.page_ranges import parse_pages
from nhin.image.tiff import list_tiff_pages, point_to_page
from nhin.reading.document_writer import SUFFIXES, DocumentWriter
from nhin.reading.documents import ReadPage
from nhin.reading.kept_pages import KeptPages
from nhin.reading.layout import arrange_lines
from nhin.reading.reading import Reading
from nhin.reading.result import Line, ReadingWarning
from nhin.reading.text_layer import find_fault, make_lines
from nhin.reading.writers import to_json_line

_PAGES = 2


@dataclass(frozen=True)
class Target:
    """What is called, and bytes to begin with."""

    call: Callable[[bytes], object]
    seeds: Callable[[], Sequence[bytes]]

    def __call__(self, data: bytes) -> None:
        """Call it; an error of one line is no finding.

        Raises:
            AssertionError: An error that is not one line.
            Exception: Any other finding.
        """
        try:
            self.call(data)
        except NhinError as why:
            text = str(why)
            assert text and "\n" not in text, f"not one line: {text!r}"


def _decode_picture(data: bytes) -> None:
    picture = decode_file(data, "x")
    assert picture.pixels.ndim == 3 and picture.pixels.dtype == np.uint8


def _draw_pictures() -> list[bytes]:
    files = []
    for kind in ("PNG", "JPEG", "GIF", "BMP", "WEBP", "TGA", "PPM", "TIFF"):
        file = io.BytesIO()
        Image.linear_gradient("L").resize((24, 16)).convert("RGB").save(file, kind)
        files.append(file.getvalue())
    return files


def _list_tiff(data: bytes) -> None:
    pages = list_tiff_pages(data)
    for offset in pages.offsets[:_PAGES] if pages else ():
        assert len(point_to_page(data, offset)) == len(data)


def _draw_tiffs() -> list[bytes]:
    images = [Image.new("L", (3, 2), shade) for shade in (0, 99, 255)]
    files = []
    for options in ({}, {"big_tiff": True}):
        file = io.BytesIO()
        images[0].save(file, "TIFF", save_all=True, append_images=images[1:], **options)
        files.append(file.getvalue())
    return files


def _read_pdf(data: bytes) -> None:
    """Do in this process what the child process of a PDF does, and read the text layers."""
    from nhin.image.pdf import PageText
    from nhin.image.pdf_worker import PdfWorker

    worker = PdfWorker()
    values, _ = worker.handle({"open": True}, [np.frombuffer(data, np.uint8)])
    for number in range(min(_PAGES, values.get("count", 0))):
        found, arrays = worker.handle({"text": number}, [])
        if "refused" not in found:
            text = PageText(found["width"], found["height"], found["dpi"], *arrays)
            find_fault(text)
            layout = arrange_lines(make_lines(text))
            reading = Reading(
                layout.lines, text.width, text.height, number + 1, (), layout.turn, layout.blocks
            )
            json.loads(to_json_line(reading, "x"))


def _write_pdfs() -> list[bytes]:
    file = io.BytesIO()
    writer = DocumentWriter(file, "pdf", "x")
    for text in ("Kính gửi 😀", "phở"):
        writer.add(ReadPage(_make_reading([text, "12.000đ"])))
    writer.finish()
    return [file.getvalue(), b"%PDF-1.7\n1 0 obj\n<< /Type /Catalog >>\nendobj\ntrailer << /Root 1 0 R >>"]


def _parse_ranges(data: bytes) -> None:
    pages = parse_pages(data.decode("utf-8", "replace"))
    assert pages.last >= 1
    assert all(isinstance(number in pages, bool) for number in (0, 1, pages.last, 10**9))
    assert pages.last in pages


def _make_reading(texts: Sequence[str]) -> Reading:
    boxes = [((0.0, y), (9.5, y), (9.5, y + 4), (0.0, y + 4)) for y in range(0, 5 * len(texts), 5)]
    lines = [Line(text, 0.5, box, (), ((text, 0.5),)) for text, box in zip(texts, boxes, strict=True)]
    layout = arrange_lines(lines)
    warnings = tuple(ReadingWarning("ink-unread", text) for text in texts[:1])
    return Reading(layout.lines, 10, 5 * len(texts) + 5, 1, warnings, layout.turn, layout.blocks)


def _write_documents(data: bytes) -> None:
    """Write hostile lines of a file with a hostile name in every format, and parse what comes out."""
    name, *texts = data.split(b"\n")[:20]
    page = ReadPage(_make_reading([text.decode("utf-8", "replace") for text in texts if text]))
    for format in SUFFIXES:
        file = io.BytesIO()
        writer = DocumentWriter(file, format, os.fsdecode(name))
        writer.add(page)
        writer.finish()
        out = file.getvalue()
        if format in ("hocr", "alto", "page"):
            ElementTree.fromstring(out)  # noqa: S314  # what nhin wrote itself
        elif format == "json":
            tree = json.loads(out.decode())
            assert len(tree["lines"]) == len(page.reading.lines)
        elif format == "tsv":
            rows = out.split(b"\n")[1:-1]
            assert [row.count(b"\t") for row in rows] == [5] * len(page.reading.lines)
        elif format == "pdf":
            assert out.startswith(b"%PDF-") and out.endswith(b"%%EOF\n")


def _list_files(data: bytes) -> None:
    """Take the paths of a list; none of their outputs lies outside the folder for them."""
    with tempfile.TemporaryDirectory() as home:
        folder = Path(home).resolve()
        (folder / "list").write_bytes(data.replace(b"*", b"?"))  # no walk over this machine's disks
        try:
            sources = list_sources((), FileOptions(list=folder / "list"))
        except UsageError as why:
            assert "\n" not in str(why)
            return
        paths = [path for path in sources if isinstance(path, Path)]
        out = folder / "ra"
        for target in name_targets(paths, folder, out, ".txt").values():
            assert Path(os.path.normpath(target)).is_relative_to(out), f"{target} is outside"


def _find_kept_pages(data: bytes) -> None:
    for body in (data, b'{"version": 1, "key": "k"}\n' + data):
        kept = KeptPages(io.BytesIO(body), "k")
        for number in (1, 2):
            found = kept.find(number)
            assert found is None or isinstance(found[0], Reading)


def _open_data_set(data: bytes) -> None:
    with tempfile.TemporaryDirectory() as home:
        path = Path(home) / "a.zip"
        path.write_bytes(data)
        for crop in open_crops(path)[:3]:
            _ = crop.picture


def _zip_data_sets() -> list[bytes]:
    files = []
    for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w", method) as archive:
            archive.writestr("labels.tsv", "a.png\tphở\n")
            archive.writestr("a.png", _draw_pictures()[0])
        files.append(file.getvalue())
    return files


class _EchoWorker:
    """A worker of the service that answers with the file."""

    is_open = True

    def open(self) -> None:
        pass

    def call(self, values: dict[str, Any], load: Callable[[], bytes]) -> tuple[dict[str, Any], bytes]:
        json.dumps(values)  # as the pipe to a process has it
        return {"pages": 1, "warnings": [], "width": 1, "height": 1}, load()

    def kill(self) -> None:
        pass

    close = kill


def _answer_request(data: bytes) -> None:
    """Send one request of HTTP: its head is parsed as uvicorn does, its body comes in two parts."""
    import h11

    head, _, body = data.partition(b"\r\n\r\n")
    connection = h11.Connection(h11.SERVER)
    connection.receive_data(head + b"\r\n\r\n")
    try:
        event = connection.next_event()
    except h11.RemoteProtocolError:  # answered with 400
        return
    if not isinstance(event, h11.Request):
        return
    path, _, query = event.target.partition(b"?")
    scope = {
        "type": "http",
        "method": event.method.decode(),
        "path": unquote(path.decode()),
        "raw_path": path,
        "query_string": query,
        "root_path": "",
        "headers": list(event.headers),
        "http_version": "1.1",
        "scheme": "http",
        "server": ("127.0.0.1", 8000),
        "client": ("127.0.0.1", 9),
    }
    with redirect_stderr(io.StringIO()) as log:
        sent = asyncio.run(_run_app(scope, body))
    assert "request-failed" not in log.getvalue(), log.getvalue()[-2000:]
    starts = [message for message in sent if message["type"] == "http.response.start"]
    assert len(starts) == 1, sent
    status = starts[0]["status"]
    assert status < 500 or status == 503, f"{status} {log.getvalue()[-2000:]}"
    for name, value in starts[0]["headers"]:
        assert not {10, 13, 0} & {*name, *value}, f"{name!r}: {value!r}"


async def _run_app(scope: dict[str, Any], body: bytes) -> list[Any]:
    from nhin.serve.app import make_app
    from nhin.serve.service import Service
    from nhin.serve.settings import ServiceSettings

    service = Service(ServiceSettings(max_bytes=10_000), _EchoWorker)
    parts = [body[: len(body) // 2], body[len(body) // 2 :]]
    incoming = [
        {"type": "http.request", "body": part, "more_body": number == 0} for number, part in enumerate(parts)
    ]
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        if incoming:
            return incoming.pop(0)
        await asyncio.sleep(60)
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message)

    async with service.run():
        await make_app(service)(scope, receive, send)
    return sent


def _write_requests() -> list[bytes]:
    form = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.png"\r\n\r\nabc\r\n--x--\r\n'
    query = b"format=text&pages=1-3,9-&ocr=auto&crop=true&min_confidence=0.5"
    heads = [
        b"POST /v1/read?" + query + b"\nContent-Type: image/png\nX-Request-ID: a-1\nContent-Length: 3\n\nabc",
        b"POST /v1/read?format=json\nContent-Type: multipart/form-data; boundary=x\n\n" + form,
        b"POST /v1/picture?page=2\nContent-Type: application/pdf\nTransfer-Encoding: chunked\n\n%PDF-1.7",
        b"POST /v1/look?text=ph%E1%BB%9F\nContent-Type: image/png\n\nabc",
        b"GET /metrics\nAccept: */*\n\n",
        b"GET /main.js\nIf-None-Match: x\nRange: bytes=0-9\nIf-Modified-Since: Mon, 01 Jan 2024 00:00:00\n\n",
        b"GET /%2e%2e/%00a%5c..%2fb\n\n",
    ]
    return [_write_head(*data.partition(b"\n\n")) for data in heads]


def _write_head(head: bytes, _: bytes, body: bytes) -> bytes:
    first, *rows = head.split(b"\n")
    return b"\r\n".join((first + b" HTTP/1.1", b"Host: x", *rows, b"", body))


_KEPT = (
    b'{"page":1,"size":[9,9,0],"source":"picture","lines":[["a",0.5,[[0,0],[9,0],[9,9],[0,9]],[],[["a",0.5]]]],'
    b'"blocks":[["paragraph",0,[[1]]]],"warnings":[],"dpi":72.0}\n'
)

TARGETS = {
    "pictures": Target(_decode_picture, _draw_pictures),
    "tiff-pages": Target(_list_tiff, _draw_tiffs),
    "pdf": Target(_read_pdf, _write_pdfs),
    "page-ranges": Target(_parse_ranges, lambda: [b"3-7,9", b"12-", b" 1 , -4,2-2"]),
    "documents": Target(
        _write_documents,
        lambda: ["ảnh.png\nphở & <b>\n\t12.000đ\x00\x1b[0m\n| a | b |".encode(), b"\xff.png\n]]>\n-- \\(x"],
    ),
    "file-lists": Target(
        _list_files, lambda: [b"a.png\nx/..\nb/c.png\n../../d.pdf\n", b"/e/./f.png\n-\nhttp://x/y\n"]
    ),
    "kept-pages": Target(_find_kept_pages, lambda: [_KEPT, _KEPT + _KEPT[:40]]),
    "json": Target(lambda data: parse_json(data, "x"), lambda: [_KEPT, b'[1e5, "\\ud800", {"a": null}]']),
    "data-sets": Target(_open_data_set, _zip_data_sets),
    "requests": Target(_answer_request, _write_requests),
}


@cache
def make_seeds(name: str) -> tuple[bytes, ...]:
    """Return the bytes that a target begins with."""
    return tuple(TARGETS[name].seeds())
