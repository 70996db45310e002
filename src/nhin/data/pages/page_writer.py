"""Write text on a page and keep where each line stands."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from nhin.image.fonts import Face, load_font
from nhin.image.preprocess import Pixels
from nhin.image.render import Rng

Color = tuple[int, int, int]
Points = NDArray[np.float32]
"""n x 2, x and y in pixels."""
Align = Literal["left", "middle", "right"]

MIN_SIZE = 5
_CONTRAST = 24  # values of a color, of 256
_RULED = 0.03  # of the lines are underlined, or struck out
_LONGEST_STEP = 2.0  # capitals between two points of a center line


@dataclass(frozen=True, slots=True)
class PageLine:
    """One line of text.

    Args:
        text: What it says.
        center: Points along the middle of its capitals, n x 2, in the direction of reading.
        up: From each point to the top of the capitals, n x 2.
        block: Number of the paragraph, cell, or other block that it belongs to, in reading order.
    """

    text: str
    center: Points
    up: Points
    block: int = 0

    @property
    def height(self) -> float:
        """The height of capitals, in pixels."""
        return 2 * float(np.median(np.hypot(*self.up.T)))


@dataclass(frozen=True, slots=True)
class DrawnPage:
    """A picture (height x width x 3, RGB) and its lines, in reading order."""

    picture: Pixels
    lines: tuple[PageLine, ...]
    kind: str = ""


@dataclass(frozen=True, slots=True)
class TextStyle:
    """A face, pixels per em, and a color."""

    face: Face
    size: int
    color: Color = (0, 0, 0)

    def scale(self, factor: float) -> "TextStyle":
        """Return the style at another size."""
        return replace(self, size=max(MIN_SIZE, round(self.size * factor)))


@lru_cache(maxsize=8192)
def capital_height(path: str, size: int) -> float:
    """Return the height of a capital, in pixels."""
    box = load_font(path, size).getbbox("H", anchor="ls")
    return float(max(1, box[3] - box[1]))


@lru_cache(maxsize=512)
def _advances(path: str, size: int) -> dict[str, float]:
    """Return the widths of characters that were measured before; a long text takes a millisecond else."""
    return {}


def _is_legible(picture: Pixels, line: PageLine) -> bool:
    """Return whether there is any contrast where a line stands."""
    reach = np.abs(line.up).max(0)
    left, top = np.maximum(line.center.min(0) - reach, 0).astype(int)
    right, bottom = np.ceil(line.center.max(0) + reach).astype(int)
    window = picture[top : bottom + 1, left : right + 1].reshape(-1, 3)
    return bool(window.size and (window.max(0).astype(int) - window.min(0)).max() >= _CONTRAST)


class PageWriter:
    """A page that is being written.

    Args:
        width: In pixels.
        height: In pixels.
        paper: Its color.
        rng: Source of randomness for whoever writes.
    """

    def __init__(self, width: int, height: int, paper: Color, rng: Rng) -> None:
        self.image = Image.new("RGB", (width, height), paper)
        self.draw = ImageDraw.Draw(self.image)
        self.width, self.height, self.paper, self.rng = width, height, paper, rng
        self.lines: list[PageLine] = []
        self.block = 0

    def begin_block(self) -> None:
        """Count the following lines to a new block."""
        self.block += 1

    def measure(self, text: str, style: TextStyle) -> float:
        """Return the width of a text, in pixels, without kerning."""
        known, font = _advances(style.face.path, style.size), load_font(style.face.path, style.size)
        for char in set(text).difference(known):
            known[char] = font.getlength(char)
        return sum(map(known.__getitem__, text))

    def write(self, x: float, y: float, text: str, style: TextStyle, align: Align = "left") -> float:
        """Write a line on the baseline y; return where it ends. Letters that the face lacks are left out."""
        text = self._keep_known(text, style)
        width = self.measure(text, style)
        x -= {"left": 0.0, "middle": width / 2, "right": width}[align]
        self._put(x, y, text, style)
        if width and self.rng.random() < _RULED:
            low = y + style.size * (float(self.rng.uniform(0.05, 0.2)) if self.rng.random() < 0.8 else -0.25)
            self.rule(x, low, x + width, low, style.color, style.size // 14)
        self._record([(x, text)], y, style)
        return x + width

    def write_justified(self, x: float, y: float, text: str, style: TextStyle, width: float) -> None:
        """Write a line whose words are spread over a width; a short one is not spread."""
        words = self._keep_known(text, style).split()
        lengths = [self.measure(word, style) for word in words]
        space = self.measure(" ", style)
        gap = (width - sum(lengths)) / max(1, len(words) - 1)
        gap = gap if 0.6 * space < gap < 3.5 * space else space
        places = []
        for word, length in zip(words, lengths, strict=True):
            places.append((x, word))
            self._put(x, y, word, style)
            x += length + gap
        self._record(places, y, style)

    def fill(
        self, box: Sequence[float], color: Color | None, outline: Color | None = None, round: float = 0
    ) -> None:
        """Draw a box (left, top, right, bottom)."""
        if box[2] > box[0] and box[3] > box[1]:
            self.draw.rounded_rectangle(tuple(box), round, color, outline)

    def rule(self, x1: float, y1: float, x2: float, y2: float, color: Color, thick: int = 1) -> None:
        """Draw a straight stroke."""
        self.draw.line((x1, y1, x2, y2), color, max(1, thick))

    def paste(self, picture: Pixels, x: float, y: float) -> None:
        """Put a picture on the page."""
        self.image.paste(Image.fromarray(picture), (round(x), round(y)))

    def finish(self, kind: str) -> DrawnPage:
        """Return the page, without lines that do not stand out from what is behind them, or over them."""
        picture = np.asarray(self.image)
        return DrawnPage(picture, tuple(line for line in self.lines if _is_legible(picture, line)), kind)

    @staticmethod
    def _keep_known(text: str, style: TextStyle) -> str:
        text = text.upper() if style.face.unicase else text
        if style.face.chars.issuperset(text):
            return text
        return " ".join("".join(char for char in text if char in style.face.chars or char == " ").split())

    def _put(self, x: float, y: float, text: str, style: TextStyle) -> None:
        self.draw.text((x, y), text, style.color, load_font(style.face.path, style.size), anchor="ls")

    def _record(self, places: Sequence[tuple[float, str]], y: float, style: TextStyle) -> None:
        """Keep a line by where the ink of its first and of its last word ends, if on the page."""
        font = load_font(style.face.path, style.size)
        places = [(x, word) for x, word in places if word.strip()]
        if not places:
            return
        boxes = [font.getbbox(word, anchor="ls") for _, word in (places[0], places[-1])]
        height = capital_height(style.face.path, style.size)
        left, right = max(0, places[0][0] + boxes[0][0]), min(self.width, places[-1][0] + boxes[1][2])
        if right - left < 1 or not height <= y <= self.height:  # over the edge
            return
        count = 2 + int((right - left) / (_LONGEST_STEP * height))
        center = np.stack([np.linspace(left, right, count), np.full(count, y - height / 2)], 1)
        up = np.tile(np.array([0, -height / 2], np.float32), (count, 1))
        text = " ".join(word for _, word in places)
        self.lines.append(PageLine(" ".join(text.split()), center.astype(np.float32), up, self.block))
