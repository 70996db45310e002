"""Read the pages of a file one by one: of a PDF by its text layer or as pictures, of others as pictures."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from os import PathLike
from typing import Literal, Protocol

from nhin.errors import PictureError
from nhin.image.decode import Picture
from nhin.image.load import MAX_FAILURES, Page, open_pages
from nhin.image.page_ranges import PageRanges
from nhin.image.pdf import MIN_DPI, PageText, PdfFile, is_pdf
from nhin.image.source import PictureSource, read_source
from nhin.image.tiff import MAX_PAGES
from nhin.reading.kept_pages import KeptPages
from nhin.reading.layout import arrange_lines
from nhin.reading.reading import Reading
from nhin.reading.result import ReadingWarning
from nhin.reading.text_layer import find_fault, make_lines
from nhin.sandbox import SandboxError

OcrMode = Literal["auto", "always", "never"]
_A4_INCHES = 11.69


class PictureReader(Protocol):
    """Reads a picture that is open."""

    def read_picture(self, picture: Picture, crop: bool, name: str) -> Reading:
        """Return the lines of a picture."""
        ...


@dataclass(frozen=True, slots=True)
class DocumentOptions:
    """What is read: ``pages`` (all, if None), and for PDFs when pages are read as pictures.

    ``auto``: where the text layer cannot be trusted. ``crop``: the pictures are single words or lines.
    ``kept``: pages of this file that were read before, and where those read now are kept.
    """

    crop: bool = False
    pages: PageRanges | None = None
    ocr: OcrMode = "auto"
    kept: KeptPages | None = None

    def read_once(self, number: int, read: Callable[[], tuple[Reading, float]]) -> tuple[Reading, float]:
        """Return a page that was kept, and its pixels per inch; or read it, and keep it."""
        found = self.kept and self.kept.find(number)
        if found:
            return found
        page = read()
        if self.kept:
            self.kept.add(*page)
        return page


@dataclass(frozen=True, slots=True)
class ReadPage:
    """A page that was read; ``open_picture`` gives its picture, until the next page is read.

    ``dpi`` is pixels per inch; where nothing tells it, a page is taken to be as long as A4.
    """

    reading: Reading
    dpi: float = 72.0
    open_picture: Callable[[], Picture] | None = None


def read_document(
    reader: PictureReader, source: PictureSource, name: str, options: DocumentOptions
) -> Iterator[ReadPage]:
    """Read the pages of a file, each only when it is asked for.

    A page that cannot be read, where the file has others, has no lines, no size and a warning.

    Raises:
        PictureError: The file cannot be opened, or has none of the pages.
        MissingExtra: It is a PDF, and pypdfium2 is not installed.
    """
    data = read_source(source, name)
    if isinstance(data, bytes) and is_pdf(data):
        pdf = PdfFile(data, name, _make_rereader(source, name))
        del data  # the child process has it
        with pdf:
            yield from _PdfReader(reader, pdf, options).read_pages()
        return
    found = 0
    for page in open_pages(data, name, options.pages):
        found += 1
        yield _read_picture_page(reader, page, name, options)
        del page  # no more than one page in memory
    if not found:
        raise PictureError(f"{name} has none of the pages that --pages names")


def _make_rereader(source: PictureSource, name: str) -> Callable[[], bytes] | None:
    """Return what reads a file again, if it has a path."""

    def read_again() -> bytes:
        data = read_source(source, name)
        assert isinstance(data, bytes)
        return data

    return read_again if isinstance(source, str | PathLike) else None


def read_first_page(reader: PictureReader, data: bytes, name: str, options: DocumentOptions) -> Reading:
    """Read the first page of a PDF; a warning says that others are left out."""
    with PdfFile(data, name) as pdf:
        reading = _PdfReader(reader, pdf, options).read_page(1).reading
        if pdf.count == 1:
            return reading
        message = f"{name} has {pdf.count:,} pages or frames; only the first was read"
        warning = ReadingWarning("others-ignored", message)
        return replace(reading, warnings=(warning, *reading.warnings))


def _skip(number: int, why: str) -> ReadPage:
    return ReadPage(Reading((), 0, 0, number, (ReadingWarning("page-skipped", why),)))


def _read_picture_page(reader: PictureReader, page: Page, name: str, options: DocumentOptions) -> ReadPage:
    picture = page.content
    if isinstance(picture, PictureError):
        return _skip(page.number, str(picture))
    name = name if page.count == 1 else f"{name}, page {page.number},"

    def read() -> tuple[Reading, float]:
        reading = replace(reader.read_picture(picture, options.crop, name), page=page.number)
        return reading, max(picture.width, picture.height) / _A4_INCHES

    return ReadPage(*options.read_once(page.number, read), lambda: picture)


@dataclass(slots=True)
class _PdfReader:
    reader: PictureReader
    pdf: PdfFile
    options: DocumentOptions

    def read_pages(self) -> Iterator[ReadPage]:
        """Read the pages that are wanted; go on after one that cannot be read."""
        pages, count, name = self.options.pages, self.pdf.count, self.pdf.name
        end = count if pages else min(count, MAX_PAGES)
        numbers = [number for number in range(1, end + 1) if pages is None or number in pages]
        if not numbers:
            raise PictureError(f"{name} has {count:,} pages, none of those that --pages names")
        failures = 0
        for number in numbers:
            try:
                page = self.read_page(number)
                yield self._warn_of_missing(page) if number == numbers[-1] else page
            except PictureError as why:
                if count == 1:
                    raise
                yield _skip(number, str(why))
                failures += isinstance(why.__cause__, SandboxError)
            if failures == MAX_FAILURES and number < numbers[-1]:
                reason = f"its pages from {number + 1} on are not read: {failures} took too much"
                yield _skip(number + 1, f"{name}: {reason}")
                return
        if end < count:
            reason = f"has {count:,} pages; those after page {end:,} are read with --pages {end + 1}-{count}"
            yield _skip(end + 1, f"{name} {reason}")

    def _warn_of_missing(self, page: ReadPage) -> ReadPage:
        """Add a warning to the last page where later ones are named that the file does not have."""
        pages, count = self.options.pages, self.pdf.count
        if pages is None or pages.last <= count:
            return page
        message = f"{self.pdf.name} has {count:,} pages; those after them that --pages names are not there"
        warnings = (*page.reading.warnings, ReadingWarning("pages-missing", message))
        return replace(page, reading=replace(page.reading, warnings=warnings))

    def read_page(self, number: int) -> ReadPage:
        """Read a page, counted from 1."""
        new: list[Picture] = []
        page = self.options.read_once(number, lambda: self._read_new(number, new))
        return ReadPage(*page, lambda: new[0] if new else self.pdf.render(number)[0])

    def _read_new(self, number: int, rendered: list[Picture]) -> tuple[Reading, float]:
        """Return a page and its pixels per inch; add its picture to a list if it was rendered."""
        name = f"{self.pdf.name}, page {number}," if self.pdf.count > 1 else self.pdf.name
        if self.options.ocr != "always":
            text = self.pdf.read_text(number)
            fault = find_fault(text)
            if not fault or self.options.ocr == "never":
                return _read_text(number, text, f"{name} {fault}" if fault else "")
        picture, dpi = self.pdf.render(number)
        if dpi < MIN_DPI:
            sides = " x ".join(f"{side / dpi * 0.0254:.2f}" for side in (picture.width, picture.height))
            raise PictureError(f"{name} is {sides} meters, too large to be read as a picture")
        rendered.append(picture)
        return replace(self.reader.read_picture(picture, self.options.crop, name), page=number), dpi


def _read_text(number: int, text: PageText, fault: str) -> tuple[Reading, float]:
    """Return a page by its text layer, with a warning of what is wrong with it."""
    layout = arrange_lines(make_lines(text))
    message = f"{fault}; it was not read as a picture, as --ocr never says"
    reading = Reading(
        layout.lines,
        text.width,
        text.height,
        number,
        (ReadingWarning("text-layer", message),) if fault else (),
        layout.turn,
        layout.blocks,
        "text",
    )
    return reading, text.dpi
