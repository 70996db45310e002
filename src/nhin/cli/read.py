"""``nhin read``: text in pictures."""

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from nhin.cli.output import print_error
from nhin.errors import CheckpointError, NhinError, PictureError, UnknownName, UsageError
from nhin.ranges import Range
from nhin.reading.confidence import MIN_CONFIDENCE
from nhin.reading.onnx_model import DEFAULT_MODEL

if TYPE_CHECKING:
    from nhin.reading.result import Reading

STDIN = "standard input"
ERROR_CODES = ("page-skipped", "too-much-text")
"""Warnings that give the exit code of an error."""
OPTIONS = tuple("--format --crop --min-confidence --pages --ocr --weights --digest --example --help".split())


@Parameter(name="*")
@dataclass(frozen=True)
class PageOptions:
    """Which pages of a file with several are read, and how.

    Args:
        pages: Pages of TIFFs and PDFs: 3-7,9 or 12-; all when not given.
        ocr: auto: a page of a PDF is read as a picture where its text layer cannot be trusted. always: as a
            picture. never: by its text layer alone.
    """

    pages: str | None = None
    ocr: Literal["auto", "always", "never"] = "auto"


_ALL_PAGES = PageOptions()


def read(
    *paths: Annotated[Path, Parameter(allow_leading_hyphen=True)],
    format: Literal["text", "markdown", "tsv", "json"] = "text",
    crop: bool = False,
    min_confidence: Annotated[float, Range(0, 1)] = MIN_CONFIDENCE,
    weights: str = DEFAULT_MODEL,
    digest: str | None = None,
    example: bool = False,
    part: PageOptions = _ALL_PAGES,
) -> int:
    """Read the Vietnamese text in pictures and PDFs.

    A picture or a page that cannot be read does not stop the others: it is one line on standard error, and
    the exit code is that of the worst. What was found but not read is a line there, too.

    Args:
        paths: Pictures and PDFs, or folders of them; - reads one from standard input.
        format: text: the lines alone, tabs between the cells of a table, a form feed between pages. markdown:
            headings, paragraphs, tables. tsv: path, page, line, text, confidence (0 to 1), box. json: one
            object per page and line, with the position of every character, and the blocks of the page.
        crop: The pictures are single words or lines already: detect no lines.
        min_confidence: Lines whose confidence, the geometric mean of their characters', is below this (0
            to 1) are left out and counted on standard error; 0 shows all.
        weights: The model: a name, or a folder with an ONNX pair.
        digest: The digest that these weights must have, as nhin inspect prints it; 16 digits are enough.
        example: Read the street sign that comes with nhin.
        part: Pages, and how they are read.
    """
    # A lone - must be allowed as a path, which also lets mistyped options through.
    for path in paths:
        if str(path).startswith("-") and str(path) != "-" and not path.exists():
            raise UnknownName("option", str(path), OPTIONS)
    if example:
        paths = (*paths, Path(__file__).parents[1] / "examples" / "street_sign.png")
    if not paths:
        raise UsageError("nothing to read: give pictures, folders, or - for standard input")
    from nhin.image.page_ranges import parse_pages
    from nhin.reading.reader import Reader
    from nhin.reading.writers import TSV_HEAD

    if part.pages is not None:
        parse_pages(part.pages)  # refused once, not for each file
    # Weights that cannot be loaded fail every picture alike: report it once.
    reader = Reader(weights, digest=digest, min_confidence=min_confidence).load(crop)
    if format == "tsv":
        sys.stdout.write(TSV_HEAD)
    exit_code, sources = 0, list(_iter_sources(paths))
    for number, (name, source) in enumerate(sources):
        if isinstance(source, NhinError):
            exit_code = max(exit_code, _report_failure(source))
            continue
        title = _format_title(name, format, number) if len(sources) > 1 else ""
        file = sys.stdin.buffer if source is None else source
        try:
            readings = reader.read_pages(file, crop, name=name, pages=part.pages, ocr=part.ocr)
            exit_code = max(exit_code, _print_pages(readings, name, format, title))
        except CheckpointError:
            raise  # it would fail every picture alike
        except NhinError as why:
            exit_code = max(exit_code, _report_failure(why))
    return exit_code


def _print_pages(readings: "Iterator[Reading]", name: str, format: str, title: str) -> int:
    """Print each page as soon as it is read; return the exit code."""
    from nhin.reading.markdown import MARKDOWN_PAGE_BREAK
    from nhin.reading.writers import PAGE_BREAK, WRITERS

    page_breaks = {"text": PAGE_BREAK, "markdown": MARKDOWN_PAGE_BREAK}
    exit_code = 0
    for reading in readings:
        if format in page_breaks:
            sys.stdout.write(title)
            title = page_breaks[format]
        sys.stdout.write(WRITERS[format](reading, name))
        sys.stdout.flush()
        exit_code = max(exit_code, _report_warnings(reading))
    return exit_code


def _iter_sources(paths: tuple[Path, ...]) -> Iterator[tuple[str, Path | NhinError | None]]:
    """Yield the name of each picture and its path, None for standard input, or an error."""
    from nhin.image.load import expand_paths

    for path in paths:
        if str(path) == "-":
            yield STDIN, None
            continue
        yield from ((str(item), item) for item in expand_paths([path]))


def _format_title(name: str, format: str, number: int) -> str:
    """Return what stands above the text of one picture of several, after an empty line."""
    from nhin.reading.markdown import escape_markdown

    title = f"==> {name} <==\n"
    return "\n" * (number > 0) + (f"{escape_markdown(title)}\n\n" if format == "markdown" else title)


def _report_failure(why: NhinError) -> int:
    sys.stdout.flush()
    print_error(str(why))
    return why.exit_code


def _report_warnings(reading: "Reading") -> int:
    """Print each warning; return the exit code, that of an error for what could not be opened."""
    for warning in reading.warnings:
        print_error(warning.message)
    skipped = any(warning.code in ERROR_CODES for warning in reading.warnings)
    return PictureError.exit_code if skipped else 0
