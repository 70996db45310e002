"""The results of reading, from the picture down to the character; frozen dataclasses."""

import math
from dataclasses import dataclass
from itertools import groupby, pairwise
from typing import Literal

Point = tuple[float, float]
Box = tuple[Point, Point, Point, Point]


@dataclass(frozen=True, slots=True)
class Span:
    """One character of a crop: its confidence (0 to 1), and its left and right edge in crop pixels.

    ``others`` are letters that differ from a doubtful one in their marks alone, each with its share of what
    the confidence leaves.
    """

    text: str
    confidence: float
    left: float
    right: float
    others: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True, slots=True)
class Recognition:
    """The text of one crop. A blank crop has no text, no characters and confidence 0.

    ``rotation`` is the clockwise rotation of the crop when it was read (0, 90 or -90 degrees). Spans are
    measured along the rotated crop: with 90 from the bottom of the crop upwards, with -90 from its top down.
    ``alternatives`` are texts with their probabilities, best first, where several were considered.
    """

    text: str
    confidence: float
    chars: tuple[Span, ...] = ()
    rotation: int = 0
    alternatives: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True, slots=True)
class Char:
    """One character of a picture; ``box`` is its corners in picture pixels, clockwise from top left."""

    text: str
    confidence: float
    box: Box


@dataclass(frozen=True, slots=True)
class Word:
    """Characters of a line between spaces; ``confidence`` is the geometric mean of theirs."""

    text: str
    confidence: float
    box: Box


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a picture; ``box`` is its corners in picture pixels, clockwise from top left.

    ``alternatives`` are those of its ``Recognition``.
    """

    text: str
    confidence: float
    box: Box
    chars: tuple[Char, ...] = ()
    alternatives: tuple[tuple[str, float], ...] = ()

    @property
    def is_stacked(self) -> bool:
        """Whether its letters stand below each other."""
        return len(self.chars) > 1 and _are_stacked(self.chars)

    @property
    def words(self) -> tuple[Word, ...]:
        """The words, from left to right; without characters their widths follow the number of letters."""
        chars = self.chars
        if "".join(char.text for char in chars) != self.text:
            chars = _spread_chars(self)
        groups = (
            tuple(own) for is_space, own in groupby(chars, lambda char: char.text.isspace()) if not is_space
        )
        return tuple(map(_join_chars, groups))


def _join_chars(chars: tuple[Char, ...]) -> Word:
    """Return the word that some characters of a line are."""
    logs = sum(math.log(max(char.confidence, 1e-9)) for char in chars)
    text, confidence = "".join(char.text for char in chars), math.exp(logs / len(chars))
    if not _are_stacked(chars):
        (start, _, _, low), (_, end, far, _) = chars[0].box, chars[-1].box
        return Word(text, confidence, (start, end, far, low))
    xs, ys = zip(*(point for char in chars for point in char.box), strict=True)
    return Word(
        text, confidence, ((min(xs), min(ys)), (max(xs), min(ys)), (max(xs), max(ys)), (min(xs), max(ys)))
    )


def _are_stacked(chars: tuple[Char, ...]) -> bool:
    """Return whether each character stands below the one before rather than beside it."""
    (start, right, _, low), (first, *_) = chars[0].box, chars[-1].box
    down = _project(start, first, low)
    least = math.dist(start, low) * (len(chars) - 1) / 2
    return down >= max(least, 1e-9) and down > abs(_project(start, first, right))


def _project(origin: Point, point: Point, end: Point) -> float:
    """Return how far a point lies from the origin in the direction of an end; 0 if they are one."""
    x, y = end[0] - origin[0], end[1] - origin[1]
    length = math.hypot(x, y)
    return ((point[0] - origin[0]) * x + (point[1] - origin[1]) * y) / length if length else 0.0


def _spread_chars(line: Line) -> tuple[Char, ...]:
    """Return characters of equal width for a line."""
    a, b, c, d = line.box

    def between(start: Point, end: Point, share: float) -> Point:
        return start[0] + (end[0] - start[0]) * share, start[1] + (end[1] - start[1]) * share

    edges = [
        (between(a, b, i / len(line.text)), between(d, c, i / len(line.text)))
        for i in range(len(line.text) + 1)
    ]
    boxes = [(upper, right, low, lower) for (upper, lower), (right, low) in pairwise(edges)]
    return tuple(Char(char, line.confidence, box) for char, box in zip(line.text, boxes, strict=True))


@dataclass(frozen=True, slots=True)
class ReadingWarning:
    """What a reading may lack: one of ``WARNING_CODES``, and a sentence that names the picture."""

    code: str
    message: str


WARNING_CODES = {
    "page-skipped": "a page could not be opened",
    "pages-missing": "the file has fewer pages than were asked for",
    "text-layer": "the text layer of a page of a PDF may be wrong",
    "others-ignored": "the file has more pages or frames than were read",
    "small-text": "the picture has more small text than is searched for",
    "too-small": "the picture, or some of its lines, are too small to read",
    "too-much-text": "the picture has more text than is read at once",
    "low-confidence": "lines were left out because they are probably invented or misread",
    "ink-unread": "some ink looks like text but could not be read",
}
"""What each code of a ``ReadingWarning`` means."""


Cell = tuple[Line, ...]


@dataclass(frozen=True, slots=True)
class TextBlock:
    """Part of a page: rows of cells, each cell with its lines.

    ``kind`` is ``heading``, ``paragraph``, ``caption`` or ``table``. The rows of a table have equally many
    cells, some of them without lines; other blocks have a row a line, mostly of one cell. ``level`` is that
    of a heading: 1 or 2.
    """

    kind: Literal["heading", "paragraph", "caption", "table"]
    rows: tuple[tuple[Cell, ...], ...]
    level: int = 0

    @property
    def lines(self) -> tuple[Line, ...]:
        """The lines, row by row."""
        return tuple(line for row in self.rows for cell in row for line in cell)

    @property
    def texts(self) -> tuple[tuple[str, ...], ...]:
        """The text of each cell, by rows; the lines of a cell are joined by spaces."""
        return tuple(tuple(" ".join(line.text for line in cell) for cell in row) for row in self.rows)

    @property
    def text(self) -> str:
        """A text line for each row, its cells joined by tabs."""
        return "\n".join("\t".join(row).rstrip("\t") for row in self.texts)


@dataclass(frozen=True, slots=True)
class PageResult:
    """What is read of one page, in reading order; width and height in pixels, after EXIF rotation.

    ``page`` counts from 1. ``warnings`` tell what was not read. ``turn`` is how far the text stands turned
    clockwise: 0, 90, 180 or 270 degrees. ``blocks`` hold the lines again, as headings, paragraphs and tables.
    ``source`` is ``text`` where the lines are those of a PDF's text layer; its width and height are then
    those of the page as it would be rendered.
    """

    lines: tuple[Line, ...]
    width: int
    height: int
    page: int = 1
    warnings: tuple[ReadingWarning, ...] = ()
    turn: int = 0
    blocks: tuple[TextBlock, ...] = ()
    source: Literal["picture", "text"] = "picture"

    @property
    def text(self) -> str:
        """The texts of the lines, joined by newlines; the cells of a row are joined by tabs."""
        return "\n".join(part.text for part in self.blocks or self.lines)

    @property
    def confidence(self) -> float:
        """The mean confidence of the lines, weighted by length; 0 without lines."""
        letters = sum(len(line.text) for line in self.lines)
        return sum(line.confidence * len(line.text) for line in self.lines) / letters if letters else 0.0
