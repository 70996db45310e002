"""Read a picture: detect its lines, recognize and arrange them. ONNX Runtime runs the networks, not torch."""

import threading
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, overload, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from nhin.errors import UnknownName
from nhin.image.contrast import is_blank
from nhin.image.decode import Picture
from nhin.image.load import open_picture
from nhin.image.page_ranges import parse_pages
from nhin.image.pdf import is_pdf
from nhin.image.source import PictureSource, read_source, source_name
from nhin.ranges import THREADS, check_range
from nhin.reading.confidence import MIN_CONFIDENCE
from nhin.reading.documents import DocumentOptions, OcrMode, read_document, read_first_page
from nhin.reading.layout import arrange_lines
from nhin.reading.line_shape import Detection, LineShape
from nhin.reading.load_once import LoadOnce
from nhin.reading.onnx_model import DEFAULT_MODEL, DEFAULT_THREADS, SMALL_MODEL, load_recognizer
from nhin.reading.read_many import NamedSource, iter_documents
from nhin.reading.reading import Document, Reading
from nhin.reading.recognizer import DEFAULT_MODE, MODES, Mode, Recognizer
from nhin.reading.result import Line, Recognition
from nhin.reading.scaling import scale_to_picture
from nhin.reading.text_limit import choose_within_limit
from nhin.reading.warning_log import WarningLog, count_lines

if TYPE_CHECKING:
    from nhin.reading.cells import Surroundings
    from nhin.reading.line_crop import LineCrop
    from nhin.reading.page_edges import PageEdges

_MIN_SIDE = 5
_DOTS = " .·•●…"  # a line of nothing else is a leader or a bullet
_MAX_WORD_HEIGHT = 72

_CROP_HEIGHT = 1.8  # of a crop, in heights of capitals
MIN_LINE = 6
"""Pixels below which the shorter side of a line is too small to read."""


@runtime_checkable
class RecognizerProtocol(Protocol):
    """Anything that reads crops of one line each."""

    def read(self, crops: Sequence[NDArray[np.uint8]]) -> list[Recognition]:
        """Return one answer per RGB crop (H x W x 3)."""
        ...


@runtime_checkable
class DetectorProtocol(Protocol):
    """Anything that detects lines."""

    def find(self, picture: NDArray[np.uint8]) -> Detection:
        """Return the lines of an RGB picture."""
        ...


class Reader:
    """Reads pictures and PDFs; its networks are loaded when first needed, and kept.

    One reader serves any number of pictures and of threads.

    Args:
        weights: A bundled name or a folder of exported weights.
        threads: Processors that one call of a network may use; by default 2 for the recognizer and up to 4
            for the detector.
        mode: How crops and lines are read, see ``Recognizer``. By default ``beam``; but the lines of pages,
            with the default weights, first by a small network and then, in doubt, in mode ``beam``.
        digest: The digest that they must have, or its first 16 digits; ``nhin inspect`` prints it.
        recognizer: Used instead of ``weights``.
        detector: Used instead of the bundled one.
        min_confidence: A line is left out, with a warning, if the geometric mean of the confidences of its
            characters (0 to 1) is below this, or below 0.9 where it is far fainter than the page's other
            lines, as print from the other side of a sheet is; or if it is below 0.9 of this once it is
            multiplied with the detector's certainty that there is text. 0 keeps all.

    Raises:
        UsageError: ``min_confidence`` is not from 0 to 1, or ``threads`` not from 1 to 256.
        UnknownName: There is no such mode.
    """

    def __init__(
        self,
        weights: str | Path = DEFAULT_MODEL,
        *,
        threads: int | None = None,
        mode: Mode | None = None,
        digest: str | None = None,
        recognizer: RecognizerProtocol | None = None,
        detector: DetectorProtocol | None = None,
        min_confidence: float = MIN_CONFIDENCE,
    ) -> None:
        if mode is not None and mode not in MODES:
            raise UnknownName("reading mode", mode, MODES)
        self.weights, self.digest = weights, digest
        self.mode: Mode | None = mode
        self.threads = threads if threads is None else THREADS.check("threads", threads)
        self.min_confidence = check_range("min-confidence", min_confidence, 0, 1)
        self._is_default = str(weights) == DEFAULT_MODEL and (digest, recognizer, mode) == (None, None, None)
        self.loading = threading.RLock()
        if recognizer is not None:
            self.recognizer = recognizer
        if detector is not None:
            self.detector = detector

    @LoadOnce
    def recognizer(self) -> RecognizerProtocol:
        """The network that reads crops."""
        return self._load_recognizer(self.weights, self.mode or DEFAULT_MODE)

    def _load_recognizer(self, weights: str | Path, mode: Mode) -> RecognizerProtocol:
        threads = self.threads or DEFAULT_THREADS
        return load_recognizer(weights, mode=mode, threads=threads, digest=self.digest)

    @LoadOnce
    def page_recognizer(self) -> RecognizerProtocol:
        """What reads the lines of pages: with the default weights, a small network before the large one."""
        if not self._is_default:
            return self.recognizer
        from nhin.reading.cascade import CascadeRecognizer

        small = self._load_recognizer(SMALL_MODEL, "both")
        # The large one is loaded when the first doubt comes up.
        return CascadeRecognizer(
            small.read,
            lambda crops: self.recognizer.read(crops),
            lambda crops: self._word_recognizer.read(crops),
        )

    @LoadOnce
    def _word_recognizer(self) -> RecognizerProtocol:
        """The large network for words of lines: several views, which help with signs, do not there."""
        large = self.recognizer
        return large.use_mode("both") if isinstance(large, Recognizer) else large

    @LoadOnce
    def detector(self) -> DetectorProtocol:
        """The network that detects lines; not loaded for crops."""
        from nhin.reading.detector import Detector

        return Detector(threads=self.threads)

    def load(self, crop: bool = False) -> "Reader":
        """Load the networks now; for crops, only the recognizer."""
        _ = self.recognizer if crop else (self.page_recognizer, self.detector)
        return self

    def read(self, source: PictureSource, crop: bool = False, *, name: str | None = None) -> Reading:
        """Read a picture; of a file with several pages, the first.

        Args:
            source: A path, the bytes of a file, an open binary file, an array (RGB), a Pillow image.
            crop: The picture is a single word or line: skip the detector.
            name: The picture's name in errors; by default its path.

        Returns:
            The lines that have text, in reading order, and warnings of what was not read.

        Raises:
            PictureError: The picture cannot be opened.
            CheckpointError: The weights cannot be loaded.
        """
        name = name or source_name(source)
        source = read_source(source, name)
        if isinstance(source, bytes) and is_pdf(source):
            return read_first_page(self, source, name, DocumentOptions(crop))
        return self.read_picture(open_picture(source, name), crop, name)

    def read_pages(
        self,
        source: PictureSource,
        crop: bool = False,
        *,
        name: str | None = None,
        pages: str | None = None,
        ocr: OcrMode = "auto",
    ) -> Iterator[Reading]:
        """Read the pages of a file one by one, each only when it is asked for; see ``read``.

        Args:
            source: As for ``read``; pages are those of a TIFF or a PDF.
            crop: As for ``read``.
            name: As for ``read``.
            pages: Which pages, as in ``3-7,9``; all by default.
            ocr: When a page of a PDF is read as a picture: where its text layer cannot be trusted
                (``auto``), ``always`` or ``never``.

        Yields:
            A reading per page. A page that cannot be opened or read, where the file has others, has no
            lines, no size and a warning ``page-skipped``.

        Raises:
            UsageError: ``pages`` is not a list of pages.
            MissingExtra: It is a PDF, and pypdfium2 is not installed.
        """
        ranges = None if pages is None else parse_pages(pages)
        options = DocumentOptions(crop, ranges, ocr)
        for page in read_document(self, source, name or source_name(source), options):
            yield page.reading

    def read_file(
        self,
        source: PictureSource,
        crop: bool = False,
        *,
        name: str | None = None,
        pages: str | None = None,
        ocr: OcrMode = "auto",
    ) -> Document:
        """Read a file, all its pages or some; see ``read_pages``."""
        name = name or source_name(source)
        return Document(name, tuple(self.read_pages(source, crop, name=name, pages=pages, ocr=ocr)))

    def read_many(
        self,
        sources: Iterable[PictureSource | NamedSource],
        crop: bool = False,
        *,
        pages: str | None = None,
        ocr: OcrMode = "auto",
        workers: int = 1,
    ) -> Iterator[Document]:
        """Read many files, in their order; one that cannot be read gives its error, and the others are read.

        Args:
            sources: As for ``read``; or pairs of a name and such a source. They are taken one by one, at
                most two for each worker before their documents are.
            crop: As for ``read``.
            pages: As for ``read_pages``.
            ocr: As for ``read_pages``.
            workers: Threads that read files at the same time. With several, ``threads=1`` suits the reader.

        Yields:
            A document for each source, with the pages that were read, and the ``error`` of one that could
            not be read to its end.

        Raises:
            UsageError: ``pages`` is not a list of pages, or ``workers`` not from 1 to 256.
            CheckpointError: The weights cannot be loaded, which no file could be read with.
        """
        ranges = None if pages is None else parse_pages(pages)
        options = DocumentOptions(crop, ranges, ocr)
        workers = THREADS.check("workers", workers)
        return iter_documents(lambda *file: read_document(self, *file, options=options), sources, workers)

    def read_picture(self, picture: Picture, crop: bool, name: str) -> Reading:
        """Read a picture that is open; see ``read``."""
        pixels, log = picture.pixels, WarningLog(name)
        if picture.others:
            log.add("others-ignored", f"has {picture.others + 1:,} pages or frames; only the first was read")
        lines: tuple[Line, ...] = ()
        around: list[Surroundings] = []
        if not is_blank(pixels):
            if min(pixels.shape[:2]) < _MIN_SIDE:
                log.add("too-small", f"is {picture.width} x {picture.height} pixels, too small to read")
            else:
                found, around, log = self._read_again_if_dotted(pixels, crop, log)
                lines = scale_to_picture(found, picture)
        layout, size = arrange_lines(lines, around), (picture.width, picture.height)
        return Reading(layout.lines, *size, warnings=log.warnings, turn=layout.turn, blocks=layout.blocks)

    def _read_again_if_dotted(
        self, pixels: NDArray[np.uint8], crop: bool, log: WarningLog
    ) -> tuple[list[Line], list["Surroundings"], WarningLog]:
        """Read the lines of a picture; if they are doubtful and made of dots, with the dots joined."""
        from nhin.reading.dotted_print import DOUBT, join_dots, mean_confidence

        other = log.copy()
        found, around = self._read_lines(pixels, crop, log)
        if not found or mean_confidence(found) >= DOUBT or (smooth := join_dots(pixels)) is None:
            return found, around, log
        again, others = self._read_lines(smooth, crop, other)
        if mean_confidence(again) <= mean_confidence(found):
            return found, around, log
        return again, others, other

    def _read_lines(
        self, pixels: NDArray[np.uint8], crop: bool, log: WarningLog
    ) -> tuple[list[Line], list["Surroundings"]]:
        """Read the lines of a picture, and what is around them; a small picture with one line is a crop."""
        from nhin.reading.cells import find_surroundings
        from nhin.reading.doubtful_lines import drop_doubtful
        from nhin.reading.line_crop import locate_line
        from nhin.reading.stacked_letters import join_stacked
        from nhin.reading.unread_ink import count_unread_lines

        found = Detection(()) if crop else self.detector.find(pixels)
        if found.is_partial:
            log.add("small-text", "has more small text than is searched for; cut it into several pictures")
        if crop or (len(found.lines) <= 1 and min(pixels.shape[:2]) <= _MAX_WORD_HEIGHT):
            pairs, edges = self._read_crop(pixels, log), None
        else:
            pairs, edges = self._read_shapes(pixels, found.lines, log)
        read = [(line, result) for line, result in pairs if result.text.strip(_DOTS)]
        stacked, rest = join_stacked(read)
        sure = drop_doubtful(rest, self.min_confidence)
        if len(sure) < len(rest):
            count = count_lines(len(rest) - len(sure))
            log.add(
                "low-confidence",
                f"has {count} left out for a confidence below {self.min_confidence:g}, or for being faint "
                "or hardly like text and doubtful; --min-confidence 0 shows all",
            )
        if unread := count_unread_lines(pixels, [line.box() for line, _ in read]):
            log.add("ink-unread", f"has ink that looks like {count_lines(unread)} of text but was not read")
        lines = stacked + [locate_line(line, result) for line, result in sure]
        return lines, find_surroundings(edges, [line.box for line in lines])

    def _read_crop(self, pixels: NDArray[np.uint8], log: WarningLog) -> list[tuple["LineCrop", Recognition]]:
        """Read a picture that is one line, or a few below each other."""
        from nhin.reading.crop_lines import split_crop

        found = split_crop(pixels) if _within_limit([pixels.shape[:2]], log) else []
        crops = [line for line in found if min(line.pixels.shape[:2]) >= MIN_LINE]
        _log_small(len(found) - len(crops), log)
        results = self.recognizer.read([line.pixels for line in crops]) if crops else []
        return list(zip(crops, results, strict=True))

    def _read_shapes(
        self, pixels: NDArray[np.uint8], lines: Sequence[LineShape], log: WarningLog
    ) -> tuple[list[tuple["LineCrop", Recognition]], "PageEdges | None"]:
        """Read the lines of a page, of too many those at the top, and find its edges."""
        from nhin.reading.line_reader import LineReader

        lines = sorted(lines, key=lambda line: float(line.center[:, 1].min()))
        within = _within_limit([(_CROP_HEIGHT * line.height, line.length) for line in lines], log)
        reader = LineReader(pixels, self.page_recognizer.read, MIN_LINE)
        found = reader.read_page([lines[i] for i in within])
        pairs = [(crop, result) for crop, result in found if crop is not None]
        _log_small(len(found) - len(pairs), log)
        return pairs, reader.edges


@lru_cache(maxsize=2)
def default_reader(weights: str | Path = DEFAULT_MODEL) -> Reader:
    """Return the reader that ``read`` keeps between calls."""
    return Reader(weights)


@overload
def read(
    source: PictureSource, crop: bool = False, *, weights: str | Path = DEFAULT_MODEL, pages: None = None
) -> Reading: ...
@overload
def read(
    source: PictureSource, crop: bool = False, *, weights: str | Path = DEFAULT_MODEL, pages: str
) -> Document: ...
def read(
    source: PictureSource,
    crop: bool = False,
    *,
    weights: str | Path = DEFAULT_MODEL,
    pages: str | None = None,
) -> Reading | Document:
    """Read a picture with networks that stay loaded between calls; see ``Reader.read``.

    Args:
        source: As for ``Reader.read``.
        crop: As for ``Reader.read``.
        weights: As for ``Reader``.
        pages: Which pages of a PDF or a TIFF, as in ``3-7,9`` or ``1-``: gives a document of them. Without it
            the first page is read.
    """
    reader = default_reader(weights)
    return reader.read(source, crop) if pages is None else reader.read_file(source, crop, pages=pages)


def _log_small(count: int, log: WarningLog) -> None:
    if count:
        log.add("too-small", f"has {count_lines(count)} under {MIN_LINE} pixels high, not read")


def _within_limit(sides: Sequence[tuple[float, float]], log: WarningLog) -> list[int]:
    """Return the indices of the lines (height, width) that are read, and log how many are not."""
    within = choose_within_limit(sides)
    if len(within) < len(sides):
        count = f"{len(sides) - len(within):,} of {count_lines(len(sides))} not read"
        log.add("too-much-text", f"has too much text for one picture: {count}; cut it into several pictures")
    return within
