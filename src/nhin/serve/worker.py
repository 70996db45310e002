"""The worker process of a service: reads one file at a time with a reader of its own.

Requests: ``{"open": settings}``, once, then ``{"job": "read"}``, ``"picture"`` or ``"look"`` with the bytes
of the file and the values of the query. What the file is to blame for is answered as ``refused``.
"""

import io
from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from nhin.errors import CheckpointError, MissingExtra, NhinError, PictureError, UsageError
from nhin.image.decode import Picture
from nhin.image.load import open_pages, open_picture
from nhin.image.page_ranges import PageRanges, parse_pages
from nhin.image.pdf import PdfFile, is_pdf
from nhin.image.tiff import list_tiff_pages
from nhin.reading.decoder_attention import OnnxAttention, load_attention
from nhin.reading.document_writer import DocumentWriter
from nhin.reading.documents import DocumentOptions, read_document
from nhin.reading.reader import Reader
from nhin.reading.reading import Reading
from nhin.reading.recognizer import Recognizer
from nhin.sandbox import Message, serve
from nhin.serve.log import describe_error
from nhin.serve.look import trace_picture

FILE = "the file"
"""What a file is called in messages: its own name may be anything."""
REFUSALS = {PictureError: 422, UsageError: 422, MissingExtra: 501}
MAX_SIDE = 2400
"""The longest side of a page that is sent as a picture, in pixels."""
MAX_ANSWER = 64 * 2**20
"""Bytes of an answer."""


@dataclass(frozen=True, slots=True)
class CountedPages(PageRanges):
    """Ranges of pages that remember which pages of a file are in them."""

    found: set[int] = field(default_factory=set)

    def __contains__(self, number: object) -> bool:
        if not PageRanges.__contains__(self, number):
            return False
        self.found.add(number)  # pyright: ignore[reportArgumentType]  # it is an int
        return True


@dataclass(slots=True)
class LimitedReader:
    """A reader that refuses pictures of more pixels than are allowed."""

    reader: Reader
    max_pixels: int

    def read_picture(self, picture: Picture, crop: bool, name: str) -> Reading:
        """Read a picture that is open.

        Raises:
            PictureError: It has too many pixels.
        """
        check_pixels(picture, self.max_pixels, name)
        return self.reader.read_picture(picture, crop, name)


def check_pixels(picture: Picture, max_pixels: int, name: str) -> None:
    """Refuse a picture of too many pixels."""
    if picture.width * picture.height > max_pixels:
        size = f"{picture.width} x {picture.height}"
        raise PictureError(f"{name} is {size} pixels; at most {max_pixels / 1e6:g} megapixels are read")


class ServiceWorker:
    """Answers the requests of one worker process."""

    def handle(self, values: dict[str, Any], arrays: list[NDArray]) -> Message:
        """Answer one request."""
        try:
            if "open" in values:
                self._open(**values["open"])
                return {"is_ready": True}, []
            jobs = {"read": self._read, "picture": self._draw, "look": self._look}
            numbers, result = jobs[values["job"]](arrays[0].tobytes(), values["query"])
        except NhinError as why:
            statuses = (status for kind, status in REFUSALS.items() if isinstance(why, kind))
            return {"refused": str(why)[:1000], "status": next(statuses, 500)}, []
        except Exception as why:  # noqa: BLE001  # a fault of ours: the service goes on, and logs where
            if isinstance(why, MemoryError) or "alloc" in str(why):
                return {"refused": f"{FILE} needs more memory than a worker may take", "status": 422}, []
            return {"failed": describe_error(why)}, []
        return numbers, [np.frombuffer(result, np.uint8)]

    def use(self, reader: Reader, max_pixels: int, max_pages: int) -> None:
        """Read with a reader, within limits from now on."""
        self._reader, self._max_pixels, self._max_pages = reader, max_pixels, max_pages
        self._attention: OnnxAttention | None = None

    def _open(self, weights: str, digest: str | None, max_pixels: int, max_pages: int) -> None:
        cv2.setNumThreads(1)
        reader = Reader(weights, threads=1, digest=digest).load()
        _ = reader.recognizer  # for the first doubt of a page
        self.use(reader, max_pixels, max_pages)

    def _read(self, data: bytes, query: dict[str, Any]) -> tuple[dict[str, Any], bytes]:
        """Read the pages of a file; return numbers about them, and the text of all in one format."""
        ranges = ((1, None),) if query["pages"] is None else parse_pages(query["pages"]).ranges
        pages = CountedPages(ranges)
        tiff = list_tiff_pages(data)
        for number in range(1, len(tiff.offsets) + 1 if tiff else 1):
            _ = number in pages
        self._check_count(pages)
        self._reader.min_confidence = query["min_confidence"]
        file, codes, count, format = io.BytesIO(), [], 0, query["format"]
        is_json = format == "json"
        writer = DocumentWriter(file, "json" if format == "jsonl" else format, query["path"])
        reader = LimitedReader(self._reader, self._max_pixels)
        for page in read_document(reader, data, FILE, DocumentOptions(query["crop"], pages, query["ocr"])):
            self._check_count(pages)
            file.write(b"" if not is_json else b"," if count else b'{"pages":[')
            writer.add(page)
            codes += [warning.code for warning in page.reading.warnings]
            count += 1
            if file.tell() > MAX_ANSWER:
                raise PictureError(
                    f"{FILE} gives more than {MAX_ANSWER >> 20} MiB; ask for fewer --pages at once"
                )
        writer.finish()
        file.write(b"]}\n" if is_json else b"")
        return {"pages": count, "warnings": sorted(set(codes))}, file.getvalue()

    def _check_count(self, pages: CountedPages) -> None:
        if len(pages.found) > self._max_pages:
            count = f"{len(pages.found):,} pages"
            raise PictureError(
                f"{FILE} has {count} to read; ask for at most {self._max_pages} --pages at once"
            )

    def _draw(self, data: bytes, query: dict[str, Any]) -> tuple[dict[str, Any], bytes]:
        """Draw a page as it is read, and return its size in pixels, and a PNG, which may be smaller."""
        number = query["page"]
        if is_pdf(data):
            with PdfFile(data, FILE) as pdf:
                count = pdf.count
                picture = pdf.render(number)[0] if number <= count else None
        else:
            page = next(open_pages(data, FILE, {number}), None)
            count, picture = (1, None) if page is None else (page.count, page.content)
        if picture is None:
            raise UsageError(f"{FILE} has no page {number}")
        if isinstance(picture, PictureError):
            raise picture
        check_pixels(picture, self._max_pixels, FILE)
        image = Image.fromarray(picture.pixels)
        image.thumbnail((MAX_SIDE, MAX_SIDE), Image.Resampling.BOX, reducing_gap=None)
        file = io.BytesIO()
        image.save(file, "PNG", compress_level=1)
        return {"width": picture.width, "height": picture.height, "pages": count}, file.getvalue()

    def _look(self, data: bytes, query: dict[str, Any]) -> tuple[dict[str, Any], bytes]:
        """Return where the decoder looked in the picture of a line; see ``trace_picture``."""
        picture = open_picture(data, FILE)
        check_pixels(picture, self._max_pixels, FILE)
        reader, recognizer = self._reader, self._reader.recognizer
        assert isinstance(recognizer, Recognizer)
        self._attention = self._attention or load_attention(reader.weights, reader.digest)
        try:
            return {"pages": 1}, trace_picture(recognizer, self._attention, picture.pixels, query["text"])
        except CheckpointError:
            self._attention = None  # its process may have ended; the next request starts another
            raise


if __name__ == "__main__":
    worker = ServiceWorker()
    serve(worker.handle)
