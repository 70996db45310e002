"""``nhin read``: text in pictures."""

import sys
from collections.abc import Iterator
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
OPTIONS = ("--format", "--crop", "--min-confidence", "--weights", "--digest", "--example", "--help")


def read(
    *paths: Annotated[Path, Parameter(allow_leading_hyphen=True)],
    format: Literal["text", "markdown", "tsv", "json"] = "text",
    crop: bool = False,
    min_confidence: Annotated[float, Range(0, 1)] = MIN_CONFIDENCE,
    weights: str = DEFAULT_MODEL,
    digest: str | None = None,
    example: bool = False,
) -> int:
    """Read the Vietnamese text in pictures.

    A picture or a page that cannot be read does not stop the others: it is one line on standard error, and
    the exit code is that of the worst. What was found but not read is a line there, too.

    Args:
        paths: Pictures, or folders of pictures; - reads one picture from standard input.
        format: text: the lines alone, tabs between the cells of a table, a form feed between pages. markdown:
            headings, paragraphs, tables. tsv: path, page, line, text, confidence (0 to 1), box. json: one
            object per page and line, with the position of every character, and the blocks of the page.
        crop: The pictures are single words or lines already: detect no lines.
        min_confidence: Lines whose confidence, the geometric mean of their characters', is below this (0
            to 1) are left out and counted on standard error; 0 shows all.
        weights: The model: a name, or a folder with an ONNX pair.
        digest: The digest that these weights must have, as nhin inspect prints it; 16 digits are enough.
        example: Read the street sign that comes with nhin.
    """
    # A lone - must be allowed as a path, which also lets mistyped options through.
    for path in paths:
        if str(path).startswith("-") and str(path) != "-" and not path.exists():
            raise UnknownName("option", str(path), OPTIONS)
    if example:
        paths = (*paths, Path(__file__).parents[1] / "examples" / "street_sign.png")
    if not paths:
        raise UsageError("nothing to read: give pictures, folders, or - for standard input")
    from nhin.reading.markdown import MARKDOWN_PAGE_BREAK
    from nhin.reading.reader import Reader
    from nhin.reading.writers import PAGE_BREAK, TSV_HEAD, WRITERS

    page_breaks = {"text": PAGE_BREAK, "markdown": MARKDOWN_PAGE_BREAK}
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
        try:
            for reading in reader.read_pages(sys.stdin.buffer if source is None else source, crop, name=name):
                if format in page_breaks:
                    sys.stdout.write(title)
                    title = page_breaks[format]
                sys.stdout.write(WRITERS[format](reading, name))
                sys.stdout.flush()
                exit_code = max(exit_code, _report_warnings(reading))
        except CheckpointError:
            raise  # it would fail every picture alike
        except NhinError as why:
            exit_code = max(exit_code, _report_failure(why))
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
