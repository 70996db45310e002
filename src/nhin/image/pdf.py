"""Open a PDF in a child process with limits: its pages as pictures, one at a time, and their text layers."""

import re
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nhin.errors import MissingExtra, PictureError, explain_install
from nhin.image.decode import Picture
from nhin.sandbox import Message, Sandbox, SandboxError

DPI = 200
"""Pixels per inch that a page is rendered with, unless it is large."""
MIN_DPI = 100
"""Below this a page is too large to be read as a picture."""
POINTS_PER_INCH = 72
MAX_SIDE = 30_000
"""The longest side of a rendered page, in pixels."""
MAX_CHARS = 200_000
"""Characters of the text layer of a page that are looked at."""
MAX_PICTURES = 1_000
MAX_MEMORY = 768 * 2**20
MAX_SECONDS = 8.0
"""CPU time for opening the file, and for each of its pages."""

_HEADER = re.compile(rb"(?s)^[\0\s\xef\xbb\xbf]{0,64}%PDF-")


@dataclass(frozen=True, slots=True)
class PageText:
    """The text layer of a page, in the pixels of its rendering (``width`` x ``height`` at ``dpi``).

    ``codes`` (N) are code points in the order of the file, with the line ends and spaces that pdfium
    concludes from the positions. ``boxes`` (N x 4: left, top, right, bottom) are as high as the font.
    ``angles`` (N) are radians, clockwise. ``is_old_font`` (N) marks Vietnamese fonts from before Unicode.
    ``pictures`` (M x 4) are the boxes of the pictures on the page.
    """

    width: int
    height: int
    dpi: float
    codes: NDArray[np.int64]
    boxes: NDArray[np.float32]
    angles: NDArray[np.float32]
    is_old_font: NDArray[np.uint8]
    pictures: NDArray[np.float32]


def is_pdf(data: bytes) -> bool:
    """Return whether the bytes of a file begin as a PDF does."""
    return _HEADER.match(data) is not None


class PdfFile:
    """An open PDF with ``count`` pages; close it, or use it in a ``with`` block.

    Args:
        data: The bytes of the file.
        name: Its name in errors.
        read_again: Gives the bytes again, should the child process have to be replaced; without it they
            are kept.

    Raises:
        MissingExtra: pypdfium2 is not installed.
        PictureError: Torn, encrypted, without pages, or it takes too much to open; it has changed since.
    """

    def __init__(self, data: bytes, name: str, read_again: Callable[[], bytes] | None = None) -> None:
        if find_spec("pypdfium2") is None:
            install = explain_install("pdf")
            raise MissingExtra(f"{name} is a PDF, which needs pypdfium2, and that is missing: {install}")
        self.name, self._checksum = name, zlib.crc32(data)
        self._read_again = read_again or (lambda: data)
        self._sandbox: Sandbox | None = None
        self.count = self._open(data)

    def read_text(self, number: int) -> PageText:
        """Read the text layer of a page, counted from 1.

        Raises:
            PictureError: The page is torn or takes too much.
        """
        values, arrays = self._ask(number, "text")
        return PageText(values["width"], values["height"], values["dpi"], *arrays)

    def render(self, number: int) -> tuple[Picture, float]:
        """Return a page, counted from 1, as a picture, and its pixels per inch; see ``read_text``."""
        values, (pixels,) = self._ask(number, "render")
        return Picture(pixels, pixels.shape[1], pixels.shape[0]), values["dpi"]

    def close(self) -> None:
        """End the child process."""
        if self._sandbox is not None:
            self._sandbox.close()

    def __enter__(self) -> "PdfFile":
        return self

    def __exit__(self, kind: type | None, why: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def _open(self, data: bytes) -> int:
        self._sandbox, self._seconds = None, 0.0
        values, _ = self._call({"open": True}, [np.frombuffer(data, np.uint8)], self.name)
        return int(values["count"])

    def _ask(self, number: int, what: str) -> Message:
        name = f"{self.name}, page {number}," if self.count > 1 else self.name
        if self._sandbox is None or not self._sandbox.is_open:  # the page before took too much
            data = self._read_again()
            if zlib.crc32(data) != self._checksum:
                raise PictureError(f"{self.name} was changed while it was read")
            self._open(data)
        return self._call({what: number - 1}, [], name)

    def _call(self, request: dict[str, Any], arrays: list[NDArray], name: str) -> Message:
        try:
            if self._sandbox is None:
                self._sandbox = Sandbox("nhin.image.pdf_worker", MAX_MEMORY)
            values, results = self._sandbox.call(request, arrays, self._seconds + MAX_SECONDS)
        except SandboxError as why:
            raise PictureError(f"{name} cannot be opened: its process {why.reason}") from why
        self._seconds = float(values["used"])
        if "refused" in values:
            raise PictureError(f"{name} {values['refused']}")
        return values, results
