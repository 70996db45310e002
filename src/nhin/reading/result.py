"""What a reader returns: plain, frozen values, from the whole picture down to the character."""

from dataclasses import dataclass

Point = tuple[float, float]
Box = tuple[Point, Point, Point, Point]


@dataclass(frozen=True, slots=True)
class Span:
    """One character of a crop: its confidence (0 to 1), and its left and right edge in crop pixels."""

    text: str
    confidence: float
    left: float
    right: float


@dataclass(frozen=True, slots=True)
class Recognition:
    """What stands in one crop. A blank crop has no text, no characters and confidence 0.

    ``rotation`` is how far the crop was turned clockwise to be read (0, 90 or -90 degrees). Spans are measured
    along the turned crop: with 90 they count from the bottom of the crop upwards, with -90 from its top down.
    """

    text: str
    confidence: float
    chars: tuple[Span, ...] = ()
    rotation: int = 0


@dataclass(frozen=True, slots=True)
class Char:
    """One character of a picture; ``box`` is its corners in picture pixels, clockwise from top left."""

    text: str
    confidence: float
    box: Box


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a picture; ``box`` is its corners in picture pixels, clockwise from top left."""

    text: str
    confidence: float
    box: Box
    chars: tuple[Char, ...] = ()


@dataclass(frozen=True, slots=True)
class Reading:
    """The text of one picture, in reading order; width and height in pixels, after EXIF rotation."""

    lines: tuple[Line, ...]
    width: int
    height: int

    @property
    def text(self) -> str:
        """The lines' texts, one a row; empty when nothing was found."""
        return "\n".join(line.text for line in self.lines)

    @property
    def confidence(self) -> float:
        """The mean confidence of the lines, weighted by their length; 0 when there are none."""
        letters = sum(len(line.text) for line in self.lines)
        return sum(line.confidence * len(line.text) for line in self.lines) / letters if letters else 0.0
