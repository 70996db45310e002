"""Read a picture: find its lines, read them, put them in order.

Loads once, reads many. PyTorch is never imported: the networks run in ONNX Runtime.
"""

from collections.abc import Sequence
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from nhin.image.contrast import is_blank
from nhin.image.load import Picture, PictureSource, open_picture
from nhin.reading.onnx_model import DEFAULT_MODEL, load_recognizer
from nhin.reading.result import Box, Char, Line, Reading, Recognition

if TYPE_CHECKING:
    from nhin.reading.line_crop import LineCrop

_MIN_SIDE = 5
_MAX_WORD_HEIGHT = 72


@runtime_checkable
class RecognizerProtocol(Protocol):
    """Anything that reads crops of one line each."""

    def read(self, crops: Sequence[NDArray[np.uint8]]) -> list[Recognition]:
        """Return one answer per RGB crop (H x W x 3)."""
        ...


@runtime_checkable
class DetectorProtocol(Protocol):
    """Anything that finds lines."""

    def find(self, picture: NDArray[np.uint8]) -> list[NDArray[np.float32]]:
        """Return corners (4 x 2, clockwise from top left) of the lines of an RGB picture."""
        ...


class Reader:
    """Reads pictures with one pair of networks, loaded at the first need and kept."""

    def __init__(
        self,
        weights: str | Path = DEFAULT_MODEL,
        *,
        recognizer: RecognizerProtocol | None = None,
        detector: DetectorProtocol | None = None,
    ) -> None:
        """Choose the weights: a shipped name or a folder; or bring a recogniser or detector of your own."""
        self.weights = weights
        if recognizer is not None:
            self.recognizer = recognizer
        if detector is not None:
            self.detector = detector

    @cached_property
    def recognizer(self) -> RecognizerProtocol:
        """The network that reads crops."""
        return load_recognizer(self.weights)

    @cached_property
    def detector(self) -> DetectorProtocol:
        """The network that finds lines; not loaded for crops."""
        from nhin.reading.detector import Detector

        return Detector()

    def load(self, crop: bool = False) -> "Reader":
        """Load the networks now instead of at the first picture; for crops, only the one that reads."""
        _ = self.recognizer, crop or self.detector
        return self

    def read(self, source: PictureSource, crop: bool = False, *, name: str | None = None) -> Reading:
        """Read a picture.

        Args:
            source: A path, the bytes of a file, an open binary file, an array (RGB), a Pillow image.
            crop: The picture is one word or line already; find nothing, read it whole.
            name: What errors call the picture; by default its path.

        Returns:
            The lines that have text, in reading order; none when the picture has nothing to read.

        Raises:
            PictureError: The picture cannot be opened.
            CheckpointError: The weights cannot be loaded.
        """
        picture = open_picture(source, name)
        pixels = picture.pixels
        if min(pixels.shape[:2]) < _MIN_SIDE or is_blank(pixels):
            return Reading((), picture.width, picture.height)
        lines = self._read_lines(self._crop_lines(pixels, crop))
        return Reading(_scale_to_picture(lines, picture), picture.width, picture.height)

    def _crop_lines(self, pixels: NDArray[np.uint8], crop: bool) -> "list[LineCrop]":
        """Cut out the lines in order; a small picture with at most one is a word, and stays whole."""
        from nhin.reading.line_crop import crop_line, whole_picture
        from nhin.reading.reading_order import reading_order

        if crop:
            return [whole_picture(pixels)]
        quads = self.detector.find(pixels)
        if len(quads) <= 1 and min(pixels.shape[:2]) <= _MAX_WORD_HEIGHT:
            return [whole_picture(pixels)]
        return [strip for i in reading_order(quads) if (strip := crop_line(pixels, quads[i])) is not None]

    def _read_lines(self, crops: "list[LineCrop]") -> list[Line]:
        """Read strips, put each answer in its place, and drop the empty ones."""
        from nhin.reading.line_crop import locate_line

        answers = self.recognizer.read([strip.pixels for strip in crops]) if crops else []
        placed = zip(crops, answers, strict=True)
        return [locate_line(strip, answer) for strip, answer in placed if answer.text.strip()]


@lru_cache(maxsize=2)
def default_reader(weights: str | Path = DEFAULT_MODEL) -> Reader:
    """Return the reader that ``nhin.read`` keeps between calls."""
    return Reader(weights)


def read(source: PictureSource, crop: bool = False, *, weights: str | Path = DEFAULT_MODEL) -> Reading:
    """Read a picture; the networks are loaded at the first call and kept. See ``Reader.read``."""
    return default_reader(weights).read(source, crop)


def _scale_to_picture(lines: list[Line], picture: Picture) -> tuple[Line, ...]:
    """Move boxes from the pixels worked on to the pixels of the picture itself."""
    height, width = picture.pixels.shape[:2]
    if (width, height) == (picture.width, picture.height):
        return tuple(lines)
    x, y = picture.width / width, picture.height / height

    def scaled(box: Box) -> Box:
        return tuple((round(px * x, 2), round(py * y, 2)) for px, py in box)  # pyright: ignore

    def moved(char: Char) -> Char:
        return Char(char.text, char.confidence, scaled(char.box))

    return tuple(
        Line(line.text, line.confidence, scaled(line.box), tuple(moved(char) for char in line.chars))
        for line in lines
    )
