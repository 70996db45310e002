"""A file that is read, as a file of any format: its pages one after the other, with head and foot."""

from typing import IO

from nhin.reading.documents import ReadPage
from nhin.reading.searchable_pdf import SearchablePdf
from nhin.reading.writers import FEET, HEADS, PAGE_BREAKS, WRITERS, check_page_count

SUFFIXES = {
    "text": ".txt",
    "markdown": ".md",
    "tsv": ".tsv",
    "json": ".json",
    "hocr": ".hocr",
    "alto": ".xml",
    "page": ".page.xml",
    "pdf": ".pdf",
}
"""The suffix of a file in each format."""
WHOLE_FORMATS = ("hocr", "alto", "page", "pdf")
"""Formats in which one file holds one document."""


class DocumentWriter:
    """Writes pages into a file; nothing before the first, and all that belongs after the last at ``finish``.

    Args:
        file: Open for writing bytes.
        format: A key of ``SUFFIXES``.
        path: The name of what is read, which most formats hold.
    """

    def __init__(self, file: IO[bytes], format: str, path: str) -> None:
        self._file, self._format, self._path, self._count = file, format, path, 0
        self._pdf: SearchablePdf | None = None
        self._only_page = b""

    def add(self, page: ReadPage) -> None:
        """Write a page.

        Raises:
            PictureError: It is the second one of a format whose files hold one.
        """
        self._count += 1
        check_page_count(self._count, self._format, self._path)
        if self._format == "pdf":
            self._pdf = self._pdf or SearchablePdf(self._file)
            picture = page.open_picture() if page.open_picture else None
            self._pdf.add_page(page.reading, None if picture is None else picture.pixels, page.dpi)
            return
        before = PAGE_BREAKS.get(self._format, "")
        if self._count == 1:
            before = HEADS[self._format](self._path) if self._format in HEADS else ""
        text = before + WRITERS[self._format](page.reading, self._path)
        if self._format == "page":  # written when there is no second one
            self._only_page = text.encode("utf-8", "surrogateescape")
        else:
            self._write(text)

    def finish(self) -> None:
        """Write what follows the last page."""
        if self._pdf:
            self._pdf.finish()
        elif self._count:
            self._file.write(self._only_page)
            self._write(FEET.get(self._format, ""))

    def _write(self, text: str) -> None:
        self._file.write(text.encode("utf-8", "surrogateescape"))
