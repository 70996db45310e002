"""The text layer of a PDF page: whether it can be trusted, and its characters as lines."""

import unicodedata
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from nhin.image.pdf import PageText
from nhin.reading.result import Box, Char, Line
from nhin.text.letters import nfc
from nhin.text.old_fonts import is_old_font_text

MAX_UNREADABLE = 0.1
"""Share of characters without a meaning in Unicode above which a text layer is not trusted."""
MAX_OLD_FONT = 0.02
LARGE_PICTURE = 0.1
"""Share of the page from which on a picture must have text over it."""
CHARS_ON_PICTURE = 200
"""Characters over a picture as large as the page, fewer over smaller ones, with which its text is taken to be
in the text layer."""

_HYPHEN = 0x02  # where pdfium joins the two parts of a word
_MAX_ANGLE = np.radians(5)
_MAX_GAP, _MAX_BACK, _MIN_SHARED = 1.5, 1.0, 0.3
_HEIGHT_SHARE = 0.62


def find_fault(text: PageText) -> str:
    """Return why the text layer of a page cannot be trusted; empty if it can be."""
    chars = [char for char in map(_to_char, text.codes.tolist()) if not char.isspace()]
    unreadable = sum(
        unicodedata.category(char) in ("Co", "Cn", "Cc", "Cs") or char == "\ufffd" for char in chars
    )
    if not any(map(str.isalnum, chars)):
        return "has no text layer"
    if unreadable > MAX_UNREADABLE * len(chars):
        return "has a text layer of characters without a meaning"
    old = text.codes[text.is_old_font > 0]
    is_latin = ((old >= 0x80) & (old < 0x100)).sum() > MAX_OLD_FONT * len(chars) and not (old >= 0x100).any()
    if is_latin or is_old_font_text("".join(map(_to_char, text.codes.tolist()))):
        return "has a text layer in a Vietnamese font from before Unicode"
    if _has_picture_without_text(text):
        return "has a large picture without text over it"
    return ""


def make_lines(text: PageText) -> list[Line]:
    """Return the lines of a text layer, in any order, with confidence 1; what is off the page is left out."""
    runs: list[_Run] = []
    run, has_space = None, False
    for code, box, angle in zip(text.codes.tolist(), text.boxes, text.angles.tolist(), strict=True):
        char = _to_char(code)
        if char.isspace() or not char.isprintable():
            run, has_space = (None if char in "\r\n" else run), True
            continue
        if not _is_on_page(box, text):
            continue
        if run is None or not run.takes(box, angle):
            run = _Run(angle)
            runs.append(run)
        elif has_space:
            run.add_space(box)
        run.add(char, box)
        has_space = False
    return [run.to_line() for run in runs]


@dataclass(slots=True)
class _Run:
    """Characters of one line; positions are along it, across it downwards."""

    angle: float
    chars: list[str] = field(default_factory=list)
    extents: list[tuple[float, float, float, float]] = field(default_factory=list)

    def takes(self, box: NDArray[np.float32], angle: float) -> bool:
        """Return whether a character follows on the same line."""
        if abs((angle - self.angle + np.pi) % (2 * np.pi) - np.pi) > _MAX_ANGLE:
            return False
        left, top, _, bottom = self.locate(box)
        _, above, end, below = self.extents[-1]
        height = max(bottom - top, below - above)
        shared = min(bottom, below) - max(top, above)
        is_level = shared >= _MIN_SHARED * min(bottom - top, below - above)
        return is_level and -_MAX_BACK * height <= left - end <= _MAX_GAP * height

    def add(self, char: str, box: NDArray[np.float32]) -> None:
        """Add a character; a mark of its own belongs to the letter before it."""
        extent = self.locate(box)
        if unicodedata.combining(char) and self.chars:
            self.chars[-1] = nfc(self.chars[-1] + char)
            return
        self.chars.append(char)
        self.extents.append(extent)

    def add_space(self, box: NDArray[np.float32]) -> None:
        """Add the space before the character with this box."""
        _, top, end, bottom = self.extents[-1]
        self.chars.append(" ")
        self.extents.append((end, top, max(end, self.locate(box)[0]), bottom))

    def locate(self, box: NDArray[np.float32]) -> tuple[float, float, float, float]:
        """Return left, top, right and bottom along and across the line."""
        left, top, right, bottom = box.tolist()
        cos, sin = np.cos(self.angle), np.sin(self.angle)
        x, y = (left + right) / 2, (top + bottom) / 2
        wide, high = _upright_sides(right - left, bottom - top, abs(cos), abs(sin))
        along, across = x * cos + y * sin, y * cos - x * sin
        return along - wide / 2, across - high / 2, along + wide / 2, across + high / 2

    def to_line(self) -> Line:
        """Return the line with its box, and each character as high as the line."""
        edges = np.array(self.extents)
        top, bottom = float(edges[:, 1].min()), float(edges[:, 3].max())
        chars = tuple(
            Char(nfc(char), 1.0, self._corners(left, top, right, bottom))
            for char, (left, _, right, _) in zip(self.chars, self.extents, strict=True)
        )
        box = self._corners(float(edges[:, 0].min()), top, float(edges[:, 2].max()), bottom)
        return Line("".join(char.text for char in chars), 1.0, box, chars)

    def _corners(self, left: float, top: float, right: float, bottom: float) -> Box:
        cos, sin = float(np.cos(self.angle)), float(np.sin(self.angle))
        a, b, c, d = (
            (round(u * cos - v * sin, 2), round(u * sin + v * cos, 2))
            for u, v in ((left, top), (right, top), (right, bottom), (left, bottom))
        )
        return a, b, c, d


def _upright_sides(width: float, height: float, cos: float, sin: float) -> tuple[float, float]:
    """Return the sides of a character along and across its line, from those of its upright box."""
    spread = cos * cos - sin * sin
    if abs(spread) > 0.5:
        along, across = (width * cos - height * sin) / spread, (height * cos - width * sin) / spread
        if along >= 0 and across > 0:
            return along, across
    both = (width + height) / (cos + sin)  # near 45 degrees the box tells no more than their sum
    return (1 - _HEIGHT_SHARE) * both, _HEIGHT_SHARE * both


def _to_char(code: int) -> str:
    if code == _HYPHEN:
        return "-"
    return chr(code) if 0 < code < 0x110000 and not 0xD800 <= code < 0xE000 else "\ufffd" if code else " "


def _is_on_page(box: NDArray[np.float32], text: PageText) -> bool:
    x, y = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
    return bool(0 <= x <= text.width and 0 <= y <= text.height)


def _has_picture_without_text(text: PageText) -> bool:
    """Return whether one of the large pictures on the page has next to no text over it."""
    page, size = text.width * text.height, (text.width, text.height)
    x, y = (text.boxes[:, 0] + text.boxes[:, 2]) / 2, (text.boxes[:, 1] + text.boxes[:, 3]) / 2
    for left, top, right, bottom in np.clip(text.pictures, 0, [*size, *size]).tolist():
        share = (right - left) * (bottom - top) / page
        inside = ((x >= left) & (x <= right) & (y >= top) & (y <= bottom)).sum()
        if share >= LARGE_PICTURE and inside < CHARS_ON_PICTURE * share:
            return True
    return False
