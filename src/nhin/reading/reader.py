"""Read a picture: detect its lines, recognize and arrange them. ONNX Runtime runs the networks, not torch."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Protocol, TypeVar, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from nhin.errors import PictureError
from nhin.image.contrast import is_blank
from nhin.image.load import Page, Picture, PictureSource, open_pages, open_picture, source_name
from nhin.image.preprocess import HEIGHT
from nhin.reading.layout import arrange_lines
from nhin.reading.onnx_model import DEFAULT_MODEL, load_recognizer
from nhin.reading.result import Char, Line, Reading, ReadingWarning, Recognition

_MIN_SIDE = 5
_MAX_WORD_HEIGHT = 72

MAX_COLUMNS = 120_000
"""Width of all lines of one picture at the recognizer's height: about 60 lines of a printed page."""
MAX_CROP_PIXELS = 64_000_000
"""Pixels of all lines of one picture: boxes may overlap, and each is cropped."""
_LEAST_ASPECT = 1.0

LineOrChar = TypeVar("LineOrChar", Line, Char)


@runtime_checkable
class RecognizerProtocol(Protocol):
    """Anything that reads crops of one line each."""

    def read(self, crops: Sequence[NDArray[np.uint8]]) -> list[Recognition]:
        """Return one answer per RGB crop (H x W x 3)."""
        ...


@runtime_checkable
class DetectorProtocol(Protocol):
    """Anything that detects lines."""

    def find(self, picture: NDArray[np.uint8]) -> list[NDArray[np.float32]]:
        """Return corners (4 x 2, clockwise from top left) of the lines of an RGB picture."""
        ...


class Reader:
    """Reads pictures with a recognizer and a detector, each loaded when first needed.

    Args:
        weights: A bundled name or a folder of exported weights.
        digest: The digest that they must have, or its first 16 digits; ``nhin inspect`` prints it.
        recognizer: Used instead of ``weights``.
        detector: Used instead of the bundled one.
    """

    def __init__(
        self,
        weights: str | Path = DEFAULT_MODEL,
        *,
        digest: str | None = None,
        recognizer: RecognizerProtocol | None = None,
        detector: DetectorProtocol | None = None,
    ) -> None:
        self.weights, self.digest = weights, digest
        if recognizer is not None:
            self.recognizer = recognizer
        if detector is not None:
            self.detector = detector

    @cached_property
    def recognizer(self) -> RecognizerProtocol:
        """The network that reads crops."""
        return load_recognizer(self.weights, digest=self.digest)

    @cached_property
    def detector(self) -> DetectorProtocol:
        """The network that detects lines; not loaded for crops."""
        from nhin.reading.detector import Detector

        return Detector()

    def load(self, crop: bool = False) -> "Reader":
        """Load the networks now; for crops, only the recognizer."""
        _ = self.recognizer, crop or self.detector
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
            PictureError: The picture cannot be opened, or has more text than is read at once.
            CheckpointError: The weights cannot be loaded.
        """
        name = name or source_name(source)
        return self._read_picture(open_picture(source, name), crop, name)

    def read_pages(
        self, source: PictureSource, crop: bool = False, *, name: str | None = None
    ) -> Iterator[Reading]:
        """Read the pages of a file one by one, each only when it is asked for; see ``read``.

        Yields:
            A reading per page. A page that cannot be opened or read, where the file has others, has no
            lines, no size and a warning ``page-skipped``.
        """
        name = name or source_name(source)
        for page in open_pages(source, name):
            yield self._read_page(page, crop, name)
            del page  # no more than one page in memory

    def _read_page(self, page: Page, crop: bool, name: str) -> Reading:
        if isinstance(page.content, PictureError):
            skipped = ReadingWarning("page-skipped", str(page.content))
            return Reading((), 0, 0, page.number, (skipped,))
        name = name if page.count == 1 else f"{name}, page {page.number},"
        return replace(self._read_picture(page.content, crop, name), page=page.number)

    def _read_picture(self, picture: Picture, crop: bool, name: str) -> Reading:
        pixels, warnings = picture.pixels, ()
        if picture.others:
            message = f"{name} has {picture.others + 1:,} pages or frames; only the first was read"
            warnings = (ReadingWarning("others-ignored", message),)
        if min(pixels.shape[:2]) < _MIN_SIDE or is_blank(pixels):
            return Reading((), picture.width, picture.height, warnings=warnings)
        layout = arrange_lines(_scale_to_picture(self._read_lines(pixels, crop, name), picture))
        size = picture.width, picture.height
        return Reading(layout.lines, *size, warnings=warnings, turn=layout.turn, blocks=layout.blocks)

    def _read_lines(self, pixels: NDArray[np.uint8], crop: bool, name: str) -> list[Line]:
        """Crop the lines and read them; a small picture with at most one is a word, not cropped."""
        from nhin.reading.line_crop import crop_line, locate_line, whole_picture

        quads = [] if crop else self.detector.find(pixels)
        if crop or (len(quads) <= 1 and min(pixels.shape[:2]) <= _MAX_WORD_HEIGHT):
            _check_length([pixels.shape[:2]], name)
            crops = [whole_picture(pixels)]
        else:
            _check_length([_box_sides(quad) for quad in quads], name)
            crops = [line for quad in quads if (line := crop_line(pixels, quad)) is not None]
        results = self.recognizer.read([line.pixels for line in crops]) if crops else []
        pairs = zip(crops, results, strict=True)
        return [locate_line(line, result) for line, result in pairs if result.text.strip()]


@lru_cache(maxsize=2)
def default_reader(weights: str | Path = DEFAULT_MODEL) -> Reader:
    """Return the reader that ``read`` keeps between calls."""
    return Reader(weights)


def read(source: PictureSource, crop: bool = False, *, weights: str | Path = DEFAULT_MODEL) -> Reading:
    """Read a picture with networks that stay loaded between calls; see ``Reader.read``."""
    return default_reader(weights).read(source, crop)


def _box_sides(quad: NDArray[np.float32]) -> tuple[float, float]:
    """Return the height and width of a detected line, at least 1."""
    width, height = (max(1.0, float(np.hypot(*(quad[i] - quad[0])))) for i in (1, 3))
    return height, width


def _check_length(sides: Sequence[tuple[float, float]], name: str) -> None:
    """Refuse a picture whose lines (height, width) would take many seconds or gigabytes.

    A line costs its columns at the recognizer's height, and a tall one is also read rotated, both ways.
    """
    columns = sum(
        HEIGHT * (max(width / height, _LEAST_ASPECT) + 2 * height / width * (height > width))
        for height, width in sides
    )
    area = sum(height * width for height, width in sides)
    if columns > MAX_COLUMNS or area > MAX_CROP_PIXELS:
        raise PictureError(
            f"{name} has too much text for one picture: {len(sides):,} lines, at {HEIGHT} pixels high "
            f"{columns:,.0f} wide; nhin reads {MAX_COLUMNS:,}: cut it into several pictures"
        )


def _scale_to_picture(lines: list[Line], picture: Picture) -> tuple[Line, ...]:
    """Scale boxes from the pixels of the reduced picture to those of the original."""
    height, width = picture.pixels.shape[:2]
    x, y = picture.width / width, picture.height / height
    if x == y == 1:
        return tuple(lines)

    def scale(part: LineOrChar) -> LineOrChar:
        box = tuple((round(px * x, 2), round(py * y, 2)) for px, py in part.box)
        return replace(part, box=box)

    return tuple(replace(scale(line), chars=tuple(map(scale, line.chars))) for line in lines)
