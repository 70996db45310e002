"""What a reader returns: a page, or a whole file, that can be formatted as every kind of text."""

from collections.abc import Sequence
from dataclasses import dataclass

from nhin.errors import NhinError
from nhin.reading.result import PageResult
from nhin.reading.writers import PAGE_BREAK, format_pages


class Formats:
    """Formats pages as whole files of text; ``name`` is what they call the picture or the PDF."""

    __slots__ = ()

    def format(self, format: str, name: str = "") -> str:
        """Return the text of a file in a format: a key of ``writers.WRITERS``."""
        raise NotImplementedError

    def to_text(self) -> str:
        """Return the lines, tabs between the cells of a table, a form feed between pages."""
        return self.format("text")

    def to_markdown(self) -> str:
        """Return headings, paragraphs and tables."""
        return self.format("markdown")

    def to_tsv(self, name: str = "") -> str:
        """Return a row for each line: path, page, line, text, confidence, box."""
        return self.format("tsv", name)

    def to_json(self, name: str = "") -> str:
        """Return an object for each page, each in a line; see ``reading.schema.json``."""
        return self.format("json", name)

    def to_hocr(self, name: str = "") -> str:
        """Return an hOCR file."""
        return self.format("hocr", name)

    def to_alto(self, name: str = "") -> str:
        """Return an ALTO file."""
        return self.format("alto", name)

    def to_page_xml(self, name: str = "") -> str:
        """Return a file of PAGE XML, which holds one page.

        Raises:
            PictureError: It has several pages.
        """
        return self.format("page", name)


@dataclass(frozen=True, slots=True)
class Reading(PageResult, Formats):
    """The text of one page: what ``PageResult`` holds, in any of ``Formats``."""

    def format(self, format: str, name: str = "") -> str:
        """Return the page as a file in a format."""
        return format_pages([self], format, name)


@dataclass(frozen=True, slots=True)
class Document(Formats):
    """The pages of one file, or why it could not be read; ``name`` is what errors and formats call it."""

    name: str
    pages: Sequence[Reading] = ()
    error: NhinError | None = None

    @property
    def text(self) -> str:
        """The texts of the pages, a form feed between two."""
        return PAGE_BREAK.join(page.text for page in self.pages)

    def format(self, format: str, name: str = "") -> str:
        """Return all pages as one file in a format."""
        return format_pages(self.pages, format, name or self.name)
