"""``nhin read``: text in pictures."""

import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from nhin.cli.output import print_error
from nhin.cli.read_sources import FileOptions, Source, Stream, list_sources
from nhin.errors import CheckpointError, NhinError, PictureError, UnknownName, UsageError
from nhin.ranges import THREADS, Range
from nhin.reading.confidence import MIN_CONFIDENCE
from nhin.reading.onnx_model import DEFAULT_MODEL, MANIFEST, hash_model
from nhin.version import __version__

if TYPE_CHECKING:
    from nhin.reading.documents import ReadPage
    from nhin.reading.kept_pages import KeptPages
    from nhin.reading.reading import Reading

ERROR_CODES = ("page-skipped", "too-much-text")
"""Warnings that give the exit code of an error."""
OPTIONS = tuple(
    "--format --out --annotate --recursive --list --clipboard --fetch --crop --min-confidence --pages --ocr "
    "--weights --digest --example --workers --engine --address --help".split()
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
        engine: ray: read on a cluster with Ray Data (extra ray); --out gets Parquet, a row for each page. The
            input may be one Parquet file or folder with the columns path and bytes.
        address: The cluster: local for one on this machine, or what ray.init takes.
    """

    pages: str | None = None
    ocr: Literal["auto", "always", "never"] = "auto"
    workers: Annotated[int, THREADS] = 1
    engine: Literal["process", "ray"] = "process"
    address: str = "local"


_ALL_PAGES, _TO_OUTPUT = PageOptions(), FileOptions()


def read(
    *paths: Annotated[Path, Parameter(allow_leading_hyphen=True)],
    format: Literal["text", "markdown", "tsv", "json", "hocr", "alto", "page", "pdf"] = "text",
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
            hocr, alto, page (PAGE): XML, a document for each file. pdf: the pictures with the text over them,
            invisible.
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
    from nhin.cli.annotate_pages import PageAnnotator
    from nhin.cli.read_folder import FolderRun, find_base
    from nhin.cli.read_workers import open_reader, read_ahead
    from nhin.image.page_ranges import parse_pages
    from nhin.reading.documents import DocumentOptions, read_document

    ranges = None if part.pages is None else parse_pages(part.pages)
    options = DocumentOptions(crop, ranges, part.ocr)
    settings = {"weights": weights, "digest": digest, "min_confidence": min_confidence}
    if part.engine == "ray":
        from nhin.cli.read_ray import read_to_parquet
        from nhin.reading.ray_engine import ClusterOptions

        if format != "text" or files.annotate or part.workers > 1:
            raise UsageError("--engine ray writes Parquet; leave out --format, --annotate and --workers")
        cluster = ClusterOptions(settings, crop, part.pages, part.ocr, part.address)
        return read_to_parquet(paths, files, cluster)
    sources = list_sources(paths, files)
    _check_format(format, sources, files)
    base = find_base([path for path in (*paths, *sources) if isinstance(path, Path)])
    files_read = [source for source in sources if isinstance(source, Path)]
    annotate = None if files.annotate is None else PageAnnotator(files.annotate, files_read, base)
    with open_reader(settings, crop, part.workers) as reader:

        def read_pages(source: Path | Stream, kept: "KeptPages | None" = None) -> "Iterator[ReadPage]":
            file, name = (source.open(), source.name) if isinstance(source, Stream) else (source, str(source))
            pages = read_document(reader, file, name, replace(options, kept=kept))
            return pages if annotate is None or isinstance(source, Stream) else annotate.write(source, pages)

        if files.out is None:
            return _print_all(sources, format, read_ahead(read_pages, sources, part.workers))
        key = repr((__version__, _identify(weights), min_confidence, options))
        named = [source for source in sources if not isinstance(source, Stream)]
        run = FolderRun(files.out, format, read_pages, ERROR_CODES, settings=key, workers=part.workers)
        run.name_picture = annotate and annotate.name_picture
        return run.run(named, base)


def _identify(weights: str) -> str:
    """Return the digest of exported weights; the name of those that come with nhin."""
    is_folder = (Path(weights) / MANIFEST).is_file()
    return hash_model(Path(weights)) if is_folder else weights


def _print_all(
    sources: Sequence[Source], format: str, read_pages: "Callable[..., Iterator[ReadPage]]"
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
        name = source.name if isinstance(source, Stream) else str(source)
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


def _check_format(format: str, sources: Sequence[Source], files: FileOptions) -> None:
    """Refuse to write several documents into one, a PDF to a terminal, and standard input into a folder."""
    from nhin.reading.document_writer import WHOLE_FORMATS

    stream = next((source for source in sources if isinstance(source, Stream)), None)
    if stream and (files.out or files.annotate):
        option = "--out" if files.out else "--annotate"
        raise UsageError(f"{option} names files after those that are read; {stream.name} has no file name")
    if files.out is not None:
        return
    if format in WHOLE_FORMATS and len(sources) > 1:
        raise UsageError(f"--format {format} makes a document of each file: give --out FOLDER, or one file")
    if format == "pdf" and sys.stdout.isatty():
        raise UsageError(
            "a PDF is not for a terminal: give --out FOLDER, or send it to a file with > text.pdf"
        )


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
