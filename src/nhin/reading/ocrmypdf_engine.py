"""nhin as the OCR engine of OCRmyPDF 17: the text layer that it lays over the pages of a PDF.

OCRmyPDF draws a line as one text object: its baseline begins at the lower left corner of the line's box, and
its font is as high as that box. So the box of a slanted line is given as it would be if the line were level,
beginning where the line begins; the slope of the baseline says the rest.
"""

import logging
import math
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from threading import Lock
from typing import Any

from ocrmypdf.exceptions import (  # pyright: ignore[reportMissingImports]
    InputFileError,
    MissingDependencyError,
)
from ocrmypdf.hocrtransform import (  # pyright: ignore[reportMissingImports]
    Baseline,
    BoundingBox,
    OcrClass,
    OcrElement,
)
from ocrmypdf.pluginspec import OcrEngine, OrientationConfidence  # pyright: ignore[reportMissingImports]
from PIL import Image

from nhin.errors import NhinError, PictureError
from nhin.image.decode import decode_file
from nhin.image.load import open_picture
from nhin.reading.document_writer import DocumentWriter
from nhin.reading.documents import ReadPage
from nhin.reading.glyphless_font import ASCENT, DESCENT
from nhin.reading.line_cleanup import measure_skew
from nhin.reading.line_reader import LineReader
from nhin.reading.markup import find_bounds, list_line_groups, measure_angle
from nhin.reading.ocrmypdf_scan import take_scan
from nhin.reading.orientation import align_directions, settle_orientation
from nhin.reading.reader import Reader
from nhin.reading.reading import Reading
from nhin.reading.result import Box, Line, Point, Word
from nhin.version import __version__

LANGUAGES = frozenset({"vie", "eng"})
"""Of OCRmyPDF's ``-l``; English is there because it is the default, and within Vietnamese text."""
_BELOW = -DESCENT / (ASCENT - DESCENT)
_MOST_SURE = 15.0  # of an orientation, in OCRmyPDF's units
_DPI = 72.0
_log = logging.getLogger(__name__)
_lock = Lock()


class NhinOcrEngine(OcrEngine):
    """Reads the pages that OCRmyPDF renders; may be called from several threads."""

    @staticmethod
    def version() -> str:
        """Return the version of nhin."""
        return __version__

    @staticmethod
    def creator_tag(options: Any) -> str:
        """Return what the PDF's metadata name as its creator."""
        return f"nhin {__version__}"

    def __str__(self) -> str:
        """Return the name and the version."""
        return f"nhin {__version__}"

    @staticmethod
    def languages(options: Any) -> frozenset[str]:
        """Return the languages that may be asked for."""
        return LANGUAGES

    @staticmethod
    def get_orientation(input_file: Path, options: Any) -> OrientationConfidence:
        """Return how far a page must be turned clockwise, and how sure that is: 0 to 15."""
        with _explain_errors():
            reader, pixels = _load_reader(), open_picture(input_file).pixels
            lines = reader.detector.find(pixels).lines
            read = LineReader(pixels, reader.page_recognizer.read).read
            votes: Counter[int] = Counter()
            for line in settle_orientation(align_directions(lines), read):
                votes[line.turn] += round(line.length)
        if not votes:
            return OrientationConfidence(0, 0.0)
        turn, length = votes.most_common(1)[0]
        return OrientationConfidence(-turn % 360, _MOST_SURE * length / votes.total())

    @staticmethod
    def get_deskew(input_file: Path, options: Any) -> float:
        """Return by how many degrees a page must be turned against the clock to be level."""
        with _explain_errors():
            return measure_skew(_load_reader().detector.find(open_picture(input_file).pixels).lines)

    @staticmethod
    def supports_generate_ocr() -> bool:
        """Return True: there is no need of files between."""
        return True

    @staticmethod
    def generate_ocr(input_file: Path, options: Any, page_number: int = 0) -> tuple[OcrElement, str]:
        """Return the elements and the text of a page, which is counted from 0."""
        reading, dpi = _read_page(input_file, page_number)
        return make_elements(reading, dpi), _format_text(reading)

    @staticmethod
    def generate_hocr(input_file: Path, output_hocr: Path, output_text: Path, options: Any) -> None:
        """Write a page as hOCR, and its text."""
        _write_page(input_file, output_hocr, output_text, "hocr")

    @staticmethod
    def generate_pdf(input_file: Path, output_pdf: Path, output_text: Path, options: Any) -> None:
        """Write the text of a page as a PDF without its picture, and as a text file."""
        _write_page(input_file, output_pdf, output_text, "pdf")


def make_elements(reading: Reading, dpi: float) -> OcrElement:
    """Return a page as OCRmyPDF's tree: its blocks as paragraphs, their lines and words.

    Args:
        reading: Boxes are in pixels.
        dpi: Pixels per inch.
    """
    paragraphs = [
        OcrElement(
            OcrClass.PARAGRAPH,
            BoundingBox(*find_bounds(*(line.box for line in lines))),
            language="vie",
            children=[_make_line(line) for line in lines if line.words],
        )
        for lines in list_line_groups(reading)
    ]
    page = BoundingBox(0, 0, reading.width, reading.height)
    return OcrElement(OcrClass.PAGE, page, children=paragraphs, dpi=dpi, page_number=reading.page - 1)


def _make_line(line: Line) -> OcrElement:
    angle = measure_angle(line.box)
    quarters = round(angle / 90)
    slope = math.tan(math.radians(angle - 90 * quarters))
    (_, top), (end, _), _, (start, bottom) = _turn(line.box, -quarters)
    level = ((start, top), (end, top), (end, bottom), (start, bottom))
    return OcrElement(
        OcrClass.LINE,
        _bound(_turn(level, quarters)),
        poly=list(line.box),
        confidence=line.confidence,
        children=[_make_word(word) for word in line.words],
        direction="ltr",
        language="vie",
        baseline=Baseline(slope, -_BELOW * (bottom - top)),
        textangle=float(-90 * quarters % 360),
    )


def _make_word(word: Word) -> OcrElement:
    return OcrElement(OcrClass.WORD, _bound(word.box), text=word.text, confidence=word.confidence)


def _turn(points: Iterable[Point], quarters: int) -> Box:
    """Turn four points clockwise about the origin, by quarter turns."""
    turned = [((x, y), (-y, x), (-x, -y), (y, -x))[quarters % 4] for x, y in points]
    return turned[0], turned[1], turned[2], turned[3]


def _bound(box: Box) -> BoundingBox:
    """Return the smallest upright box around four corners."""
    x, y = zip(*box, strict=True)
    return BoundingBox(min(x), min(y), max(x), max(y))


def _write_page(input_file: Path, output: Path, output_text: Path, format: str) -> None:
    reading, dpi = _read_page(input_file, 0)
    with output.open("wb") as file:
        writer = DocumentWriter(file, format, str(input_file))
        writer.add(ReadPage(reading, dpi))
        writer.finish()
    output_text.write_text(_format_text(reading), encoding="utf-8")


def _format_text(reading: Reading) -> str:
    return f"{reading.text}\n" if reading.lines else ""


def _read_page(input_file: Path, page_number: int) -> tuple[Reading, float]:
    """Return what a page says, and its pixels per inch; warnings go to OCRmyPDF's log."""
    name = f"page {page_number + 1}"
    with _explain_errors():
        scan = take_scan(input_file)
        # The file is OCRmyPDF's own, so that a large one needs no process of its own.
        picture = decode_file(input_file.read_bytes(), name) if scan is None else open_picture(scan, name)
        reading = _load_reader().read_picture(picture, crop=False, name=name)
        with Image.open(input_file) as image:
            dpi = float(image.info.get("dpi", (_DPI,))[0])
    for warning in reading.warnings:
        _log.warning(warning.message)
    return replace(reading, page=page_number + 1), dpi


def _load_reader() -> Reader:
    """Return the reader that all threads share, with its networks."""
    with _lock:
        return _make_reader().load()


@lru_cache(maxsize=1)
def _make_reader() -> Reader:
    return Reader(threads=1)


@contextmanager
def _explain_errors() -> Iterator[None]:
    """Turn errors of nhin into those that OCRmyPDF reports in a line."""
    try:
        yield
    except PictureError as why:
        raise InputFileError(str(why)) from why
    except NhinError as why:
        raise MissingDependencyError(str(why)) from why
