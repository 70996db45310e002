"""``nhin read``: text in pictures."""

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from nhin.cli.output import print_error
from nhin.errors import CheckpointError, NhinError, PictureError, UnknownName, UsageError
from nhin.files import read_bytes
from nhin.ranges import THREADS, Range
from nhin.reading.confidence import MIN_CONFIDENCE
from nhin.reading.onnx_model import DEFAULT_MODEL

if TYPE_CHECKING:
    from nhin.reading.documents import ReadPage
    from nhin.reading.reading import Reading

    Source = Path | NhinError | None

STDIN = "standard input"
_MAX_LIST = 64 * 2**20
ERROR_CODES = ("page-skipped", "too-much-text")
"""Warnings that give the exit code of an error."""
OPTIONS = tuple(
    "--format --out --recursive --list --crop --min-confidence --pages --ocr --weights --digest --example "
    "--workers --help".split()
)


@Parameter(name="*")
@dataclass(frozen=True)
class PageOptions:
    """Which pages of a file with several are read, how, and by how many processes.

    Args:
        pages: Pages of TIFFs and PDFs: 3-7,9 or 12-; all when not given.
        ocr: auto: a page of a PDF is read as a picture where its text layer cannot be trusted. always: as a
            picture. never: by its text layer alone.
        workers: Processes that read pictures at the same time, each on one processor; for many pictures. The
            texts are the same, in the same order.
    """

    pages: str | None = None
    ocr: Literal["auto", "always", "never"] = "auto"
    workers: Annotated[int, THREADS] = 1


@Parameter(name="*")
@dataclass(frozen=True)
class FileOptions:
    """Which files are read, and where their texts go.

    Args:
        out: Write a file for each input into this folder, in folders like those of the inputs. What is
            there already is not read again; nhin-read.json tells what failed and why.
        recursive: Read the folders in folders, too.
        list: A file with a path in each line, all to be read; - for standard input.
        example: Read the street sign that comes with nhin.
    """

    out: Path | None = None
    recursive: bool = False
    list: Annotated[Path | None, Parameter(allow_leading_hyphen=True)] = None
    example: bool = False


_ALL_PAGES, _TO_OUTPUT = PageOptions(), FileOptions()


def read(
    *paths: Annotated[Path, Parameter(allow_leading_hyphen=True)],
    format: Literal["text", "markdown", "tsv", "json", "hocr", "alto", "pdf"] = "text",
    crop: bool = False,
    min_confidence: Annotated[float, Range(0, 1)] = MIN_CONFIDENCE,
    weights: str = DEFAULT_MODEL,
    digest: str | None = None,
    part: PageOptions = _ALL_PAGES,
    files: FileOptions = _TO_OUTPUT,
) -> int:
    """Read the Vietnamese text in pictures and PDFs.

    A picture or a page that cannot be read does not stop the others: it is one line on standard error, and
    the exit code is that of the worst. What was found but not read is a line there, too.

    Args:
        paths: Pictures and PDFs, folders of them, or patterns in quotes; - reads one from standard input.
        format: text: the lines alone, tabs between the cells of a table, a form feed between pages. markdown:
            headings, paragraphs, tables. tsv: path, page, line, text, confidence (0 to 1), box. json: one
            object per page and line, with the position of every character, and the blocks of the page.
            hocr, alto: XML, one document per file. pdf: the pictures with the text over them, invisible.
        crop: The pictures are single words or lines already: detect no lines.
        min_confidence: Lines whose confidence, the geometric mean of their characters', is below this (0
            to 1) are left out and counted on standard error; 0 shows all.
        weights: The model: a name, or a folder with an ONNX pair.
        digest: The digest that these weights must have, as nhin inspect prints it; 16 digits are enough.
        part: Pages, how they are read, and by how many processes.
        files: Files, and where their texts go.
    """
    # A lone - must be allowed as a path, which also lets mistyped options through.
    for path in paths:
        if str(path).startswith("-") and str(path) != "-" and not path.exists():
            raise UnknownName("option", str(path), OPTIONS)
    if files.example:
        paths = (*paths, Path(__file__).parents[1] / "examples" / "street_sign.png")
    paths = (*paths, *_read_list(files.list))
    if not paths:
        raise UsageError("nothing to read: give pictures, folders, or - for standard input")
    from nhin.cli.read_workers import open_reader, read_ahead
    from nhin.image.page_ranges import parse_pages
    from nhin.reading.documents import DocumentOptions, read_document

    ranges = None if part.pages is None else parse_pages(part.pages)
    options = DocumentOptions(crop, ranges, part.ocr)
    sources = list(_iter_sources(paths, files))
    _check_format(format, sources, files)
    settings = {"weights": weights, "digest": digest, "min_confidence": min_confidence}
    with open_reader(settings, crop, part.workers) as reader:

        def read_pages(source: Path | None) -> "Iterator[ReadPage]":
            file, name = (sys.stdin.buffer, STDIN) if source is None else (source, str(source))
            return read_document(reader, file, name, options)

        if files.out is None:
            return _print_all(sources, format, read_ahead(read_pages, sources, part.workers))
        from nhin.cli.read_folder import FolderRun, find_base

        inputs = [source for source in sources if source is not None]
        run = FolderRun(files.out, format, read_pages, ERROR_CODES, workers=part.workers)
        return run.run(inputs, find_base(paths))


def _print_all(
    sources: "Sequence[Source]", format: str, read_pages: "Callable[..., Iterator[ReadPage]]"
) -> int:
    """Print every source that can be read; return the worst exit code."""
    from nhin.reading.document_writer import WHOLE_FORMATS, DocumentWriter
    from nhin.reading.writers import TSV_HEAD

    if format == "tsv":
        sys.stdout.write(TSV_HEAD)
    exit_code = 0
    for number, source in enumerate(sources):
        if isinstance(source, NhinError):
            exit_code = max(exit_code, _report_failure(source))
            continue
        name = STDIN if source is None else str(source)
        title = _format_title(name, format, number) if len(sources) > 1 else ""
        writer = DocumentWriter(sys.stdout.buffer, format, name) if format in WHOLE_FORMATS else None
        try:
            for page in read_pages(source):
                if writer:
                    writer.add(page)
                else:
                    title = _print_page(page.reading, name, format, title)
                sys.stdout.flush()
                exit_code = max(exit_code, _report_warnings(page.reading))
            if writer:
                writer.finish()
        except CheckpointError:
            raise  # it would fail every picture alike
        except NhinError as why:
            exit_code = max(exit_code, _report_failure(why))
    return exit_code


def _print_page(reading: "Reading", name: str, format: str, before: str) -> str:
    """Print a page; return what stands before the next one."""
    from nhin.reading.writers import PAGE_BREAKS, WRITERS

    is_plain = format in PAGE_BREAKS
    sys.stdout.write((before if is_plain else "") + WRITERS[format](reading, name))
    return PAGE_BREAKS.get(format, "")


def _check_format(format: str, sources: "Sequence[Source]", files: FileOptions) -> None:
    """Refuse to write several documents into one, a PDF to a terminal, and standard input into a folder."""
    from nhin.reading.document_writer import WHOLE_FORMATS

    if files.out is not None:
        if None in sources:
            raise UsageError("--out names files after those that are read; standard input has no name")
    elif format in WHOLE_FORMATS and len(sources) > 1:
        raise UsageError(f"--format {format} makes a document of each file: give --out FOLDER, or one file")
    elif format == "pdf" and sys.stdout.isatty():
        raise UsageError(
            "a PDF is not for a terminal: give --out FOLDER, or send it to a file with > text.pdf"
        )


def _read_list(file: Path | None) -> Sequence[Path]:
    """Return the paths in the lines of a file, of standard input for -."""
    if file is None:
        return []
    if str(file) == "-":
        data = sys.stdin.buffer.read(_MAX_LIST + 1)[:_MAX_LIST]
    else:
        data = read_bytes(file, _MAX_LIST, UsageError)
    return [Path(os.fsdecode(line)) for line in data.splitlines() if line.strip()]


def _iter_sources(paths: tuple[Path, ...], files: FileOptions) -> "Iterator[Source]":
    """Yield the path of each file, None for standard input, or an error; each once, none in ``--out``."""
    from nhin.image.inputs import expand_paths

    out = None if files.out is None else Path(os.path.normpath(files.out.absolute()))
    done: set[Path] = set()
    for path in paths:
        if str(path) == "-":
            yield None
            continue
        for item in expand_paths([path], files.recursive):
            if isinstance(item, Path):
                is_output = item != path and out in Path(os.path.normpath(item.absolute())).parents
                if out is not None and (is_output or item in done):
                    continue
                done.add(item)
            yield item


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
