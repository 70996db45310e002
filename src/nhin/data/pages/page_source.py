"""An endless stream of pictures of pages, each determined by seed and index, and the maps to learn."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Annotated

import numpy as np
from numpy.typing import NDArray

from nhin.data.images.line_text import LineTextGenerator
from nhin.data.images.text_generator import TextGenerator, read_words
from nhin.data.images.textless import KINDS, draw_kind
from nhin.data.pages.capture import PROCESSES, capture_page, expose, take_picture
from nhin.data.pages.page_kinds import PAGE_KINDS
from nhin.data.pages.page_writer import DrawnPage, PageLine
from nhin.data.pages.theme import FaceBook
from nhin.image.detector_maps import CORE_SHARE, END_SHARE, UNIT_HEIGHT
from nhin.image.fonts import find_faces
from nhin.image.render import Rng
from nhin.ranges import SEED, Range

# Raised with every change to the pages: those of another edition are not used.
PAGE_EDITION = 2
SIDE = 640
"""Height and width of a picture, in pixels."""
LOWEST, HIGHEST = 6.0, 80.0
"""Heights of capitals, in pixels, that the detector finds at one scale."""
_SMALLEST, _LARGEST = 7.0, 44.0
_TINY = 4.5
POINTS = 11.0
"""Size of the body of a whole page."""


@dataclass(frozen=True, slots=True)
class PageTargets:
    """What the maps of the detector should be for one picture; see ``models.detector``."""

    cores: NDArray[np.int8]
    fields: NDArray[np.float16]
    weights: NDArray[np.int8]


class PageSource:
    """Draws pictures of pages.

    Args:
        fonts: Folders with fonts; by default the fonts of the system.
        words: Word lists, beside the bundled ones.
        seed: Determines the stream.
        textless: Share of the pictures without any text.
    """

    def __init__(
        self,
        fonts: Sequence[str | Path] = (),
        words: Sequence[str | Path] = (),
        seed: Annotated[int, SEED] = 0,
        textless: Annotated[float, Range(0, 1)] = 0.06,
    ) -> None:
        faces = find_faces(fonts)
        self.seed, self.textless = seed, textless
        self.book = FaceBook(faces)
        self.texts = LineTextGenerator(TextGenerator([read_words(path) for path in words]))
        digest = hashlib.sha256(repr((PAGE_EDITION, seed, textless)).encode())
        digest.update(repr([(Path(face.path).name, face.weight) for face in faces]).encode())
        for path in words:
            digest.update(Path(path).read_bytes())
        self.fingerprint = digest.hexdigest()[:16]

    def sample(self, index: int, views: int = 1) -> list[DrawnPage]:
        """Draw the page at a position of the stream, and take pictures of it: ``SIDE`` x ``SIDE``."""
        rng = np.random.default_rng((self.seed, index))
        if rng.random() < self.textless:
            return [_draw_without_text(rng) for _ in range(views)]
        size, scale = _draw_size(rng)
        page = self.draw_page(size / scale, rng)
        return [take_picture(page, (SIDE, SIDE), rng, scale=scale) for _ in range(views)]

    def sample_whole(self, index: int) -> DrawnPage:
        """Draw the whole page at a position of the stream: 150 to 300 dpi, clean, scanned or photographed."""
        rng = np.random.default_rng((self.seed, index, 1))
        page = self.draw_page(POINTS / 72 * float(rng.choice((150, 200, 300))), rng)
        return capture_page(page, PROCESSES[int(rng.integers(len(PROCESSES)))], rng)

    def draw_page(self, size: float, rng: Rng, kind: str | None = None) -> DrawnPage:
        """Draw a whole page of a kind, or of any, whose body has ``size`` pixels per em."""
        names = list(PAGE_KINDS)
        shares = np.array([PAGE_KINDS[name][0] for name in names])
        kind = kind or names[int(rng.choice(len(names), p=shares / shares.sum()))]
        return PAGE_KINDS[kind][1](max(5, round(size)), self.book, self.texts, rng)


def _draw_size(rng: Rng) -> tuple[float, float]:
    """Draw the pixels per em of the body, and by how much the page is reduced for it."""
    size = float(np.exp(rng.uniform(np.log(_SMALLEST), np.log(_LARGEST))))
    scale = 1.0 if rng.random() < 0.4 else float(rng.uniform(0.45, 1.0))
    return size, max(scale, size / 60)


def _draw_without_text(rng: Rng) -> DrawnPage:
    """Draw a texture, a noise, bar codes, or several of them beside each other."""
    import cv2

    picture = np.empty((SIDE, SIDE, 3), np.uint8)
    parts = int(rng.integers(1, 4))
    edges = np.linspace(0, SIDE, parts + 1).astype(int)
    for top, bottom in pairwise(edges.tolist()):
        for left, right in pairwise(edges.tolist()):
            zoom = float(rng.choice((1.0, 1.0, 2.0, 4.0)))
            shape = max(8, int((bottom - top) / zoom)), max(8, int((right - left) / zoom))
            drawn = draw_kind(list(KINDS)[int(rng.integers(len(KINDS)))], rng, shape)
            picture[top:bottom, left:right] = cv2.resize(drawn, (right - left, bottom - top))
    return DrawnPage(expose(picture, rng, bool(rng.random() < 0.4)), (), "textless")


def draw_targets(page: DrawnPage) -> PageTargets:
    """Draw the maps that the detector should give for a picture whose sides are multiples of 4."""
    import cv2

    height, width = page.picture.shape[:2]
    cores = np.zeros((height // 2, width // 2), np.int8)
    fields = np.zeros((4, height // 4, width // 4), np.float32)
    weights = np.zeros((height // 4, width // 4), np.int8)
    for line in sorted(page.lines, key=lambda line: -line.height):
        tall = line.height
        band = _outline(line, 1.0, 0.0) / 4
        if not LOWEST <= tall <= HIGHEST:
            # Nothing can be wrong where text is too large, or almost too small; far too small, it is no line.
            if tall >= _TINY:
                _fill(cores, _outline(line, 1.0, 0.0) / 2, -1)
            if tall < LOWEST:
                _fill(fields[3], band, 1 if tall < _TINY else -1)
            continue
        _fill(cores, _outline(line, CORE_SHARE, END_SHARE) / 2, 1)
        steps = np.diff(line.center, axis=0)
        direction = steps / np.maximum(np.hypot(*steps.T), 1e-6)[:, None]
        ring, count = _outline(line, 1.0, 0.0) / 4, len(line.center)
        for i, (x, y) in enumerate(direction):  # one piece of a curved line after the other
            piece = ring[[i, i + 1, 2 * count - 2 - i, 2 * count - 1 - i]]
            for field, value in zip(fields[:3], (np.log2(tall / UNIT_HEIGHT), x, y), strict=True):
                _fill(field, piece, float(value))
            _fill(weights, piece, 1)
    weights[cv2.resize(cores, weights.shape[::-1], interpolation=cv2.INTER_NEAREST) <= 0] = 0
    return PageTargets(cores, fields.astype(np.float16), weights)


def _outline(line: PageLine, share: float, ends: float) -> NDArray[np.floating]:
    """Return the outline of ``share`` of a line's height, shortened at both ends by ``ends`` heights."""
    center = line.center.copy()
    along = center[-1] - center[0]
    length = max(float(np.hypot(*along)), 1e-6)
    cut = min(ends * line.height, 0.3 * length) / length
    if cut:
        center[0] += along * cut
        center[-1] -= along * cut
        inner = ((center - center[0]) @ along >= 0) & ((center - center[-1]) @ along <= 0)
        inner[[0, -1]] = True
        center, up = center[inner], line.up[inner] * share
    else:
        up = line.up * share
    return np.concatenate([center + up, (center - up)[::-1]])


def _fill(canvas: NDArray, outline: NDArray[np.floating], value: float) -> None:
    import cv2

    points = np.rint((outline - 0.5 + 1e-3) * 16).astype(np.int32)
    cv2.fillPoly(
        canvas.view(np.uint8) if canvas.dtype == np.int8 else canvas,
        [points],
        value % 256 if canvas.dtype == np.int8 else value,
        shift=4,
    )
