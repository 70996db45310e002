"""An endless stream of rendered words and short lines, each determined by seed and index.

``SyntheticSource(seed=7).sample(42)`` is the same picture at every call and in every process, given the
same fonts, word lists and library versions. Text is drawn first, then a font face that has its letters,
then what happens between a sign and a photograph of it: perspective, shadows, noise.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
from numpy.typing import NDArray

from nhin.data.images.text_generator import TextGenerator, read_words
from nhin.image.augment import degrade, random_perspective, warp
from nhin.image.fonts import Face, find_faces
from nhin.image.preprocess import Pixels
from nhin.image.render import Mask, Rng, Style, draw_background, draw_glyphs, paint, random_colors
from nhin.ranges import SEED, Range
from nhin.text.charset import VIETNAMESE
from nhin.text.letters import nfc

# Raised with every change to the samples: cached pictures of another edition are not used.
EDITION = 2
_MAX_TRIES = 50
_MIN_HEIGHT, _MAX_HEIGHT = 9, 72


@dataclass(frozen=True, slots=True)
class Sample:
    """A picture (height x width x 3, RGB) and its text (NFC, ``""`` if there is none)."""

    picture: Pixels
    text: str


class SyntheticSource:
    """Renders pictures of text.

    Args:
        fonts: Folders with fonts; by default the fonts of the system.
        words: Word lists (one word per line, with or without counts), beside the bundled ones.
        seed: Determines the stream.
        lines: Share of pictures with a short line of 2 to 5 words.
        blanks: Share of pictures without text.
        longest: Maximum number of characters in a picture.
    """

    def __init__(
        self,
        fonts: Sequence[str | Path] = (),
        words: Sequence[str | Path] = (),
        seed: Annotated[int, SEED] = 0,
        lines: Annotated[float, Range(0, 1)] = 0.1,
        blanks: Annotated[float, Range(0, 1)] = 0.02,
        longest: Annotated[int, Range(1, 256)] = 32,
    ) -> None:
        self.seed, self.lines, self.blanks, self.longest = seed, lines, blanks, longest
        self.text_generator = TextGenerator([read_words(path) for path in words])
        families: dict[str, list[Face]] = {}
        for face in find_faces(fonts):
            families.setdefault(face.family, []).append(face)
        self._families = [families[name] for name in sorted(families)]
        self.fingerprint = self._make_fingerprint(words)

    def _make_fingerprint(self, words: Sequence[str | Path]) -> str:
        """Hash everything that a sample depends on."""
        digest = hashlib.sha256(repr((EDITION, self.seed, self.lines, self.blanks, self.longest)).encode())
        for family in self._families:
            digest.update(repr([(Path(face.path).name, face.weight) for face in family]).encode())
        for path in words:
            digest.update(Path(path).read_bytes())
        return digest.hexdigest()[:16]

    def sample(self, index: int) -> Sample:
        """Render the picture at a position of the stream."""
        rng = np.random.default_rng((self.seed, index))
        if rng.random() < self.blanks:
            return Sample(self._make_blank(rng), "")
        for _ in range(_MAX_TRIES):
            text = self._draw_text(rng)
            if not text or len(text) > self.longest or VIETNAMESE.missing_chars(text):
                continue
            if (picture := self._render(text, rng)) is not None:
                return Sample(picture, text)
        return Sample(self._make_blank(rng), "")

    def _draw_text(self, rng: Rng) -> str:
        if rng.random() < self.lines:
            return nfc(self.text_generator.draw_line(rng, int(rng.integers(2, 6))))
        return nfc(self.text_generator.draw_word(rng))

    def _draw_face(self, text: str, rng: Rng) -> Face | None:
        """Draw a family, then a face of it, bold ones more often; None if it cannot show this text."""
        family = self._families[int(rng.integers(len(self._families)))]
        weights = np.array([0.15 if face.weight < 300 else 1.0 + (face.weight >= 600) for face in family])
        face = family[int(rng.choice(len(family), p=weights / weights.sum()))]
        if (face.unicase and text != text.upper()) or not face.chars.issuperset(text):
            return None
        return face

    def _render(self, text: str, rng: Rng) -> Pixels | None:
        face = next((face for _ in range(4) if (face := self._draw_face(text, rng))), None)
        if face is None:
            return None
        tracking = float(rng.uniform(-0.02, 0.15)) if rng.random() < 0.25 else 0.0
        stroke = float(rng.uniform(0.02, 0.07)) if rng.random() < 0.18 else 0.0
        style = Style(face.path, 52, tracking, stroke)
        letters, outline = draw_glyphs(text, style)
        if letters.size == 0:
            return None
        if rng.random() < 0.06 and letters.shape[1] > letters.shape[0]:
            letters, outline = warp((letters, outline), rng)
        return self._make_photograph(letters, outline, style, rng)

    def _make_photograph(self, letters: Mask, outline: Mask, style: Style, rng: Rng) -> Pixels:
        """Warp the masks, paint them on a background with neighbors, crop as a person would, degrade."""
        import cv2

        view, (high, wide) = random_perspective(letters.shape, rng)
        pad = self._draw_margins(high, rng)
        shift = np.array([[1, 0, pad[2]], [0, 1, pad[0]], [0, 0, 1]], np.float64) @ view
        shape = (max(4, high + pad[0] + pad[1]), max(4, wide + pad[2] + pad[3]))

        def warp_mask(mask: Mask, transform: NDArray[np.float64] = shift) -> Mask:
            view = cv2.warpPerspective(mask, transform, (shape[1], shape[0]), flags=cv2.INTER_LINEAR)
            return np.asarray(view, np.float32)

        background, ink = random_colors(rng)
        canvas = draw_background(shape, background, rng)
        if rng.random() < 0.38:
            for mask, offset in self._draw_neighbors(letters.shape, style, rng):
                color = ink if rng.random() < 0.8 else random_colors(rng)[1]
                paint(canvas, warp_mask(mask, shift @ offset), color)
        mask = warp_mask(letters)
        if rng.random() < 0.15:
            step = (rng.uniform(-0.08, 0.08, 2) * letters.shape[0]).round()
            offset = np.array([[1, 0, step[0]], [0, 1, step[1]]])
            shadow = np.asarray(cv2.warpAffine(warp_mask(outline), offset, (shape[1], shape[0])), np.float32)
            color = ink * 0.2 if rng.random() < 0.7 else random_colors(rng)[1]
            paint(canvas, shadow, color, float(rng.uniform(0.4, 1)))
        if style.stroke:
            paint(canvas, warp_mask(outline), random_colors(rng)[0] if rng.random() < 0.5 else 255 - ink)
            if rng.random() < 0.25:
                ink = background
        paint(canvas, mask, ink, float(rng.uniform(0.75, 1.0)))
        geometric = np.exp(rng.uniform(np.log(_MIN_HEIGHT), np.log(_MAX_HEIGHT)))
        height = int(geometric * 0.5 + rng.uniform(_MIN_HEIGHT, _MAX_HEIGHT) * 0.5)
        return degrade(canvas, height, rng)

    def _draw_margins(self, height: int, rng: Rng) -> NDArray[np.int64]:
        """Draw the margins of a crop around the ink (top, bottom, left, right); negative ones cut into it."""
        loose = 0.06 if rng.random() < 0.7 else 0.16
        return np.round(np.maximum(rng.normal(0.03, loose, 4), -0.06) * height).astype(np.int64)

    def _draw_neighbors(
        self, shape: tuple[int, ...], style: Style, rng: Rng
    ) -> list[tuple[Mask, NDArray[np.float64]]]:
        """Draw words beside, above or below, parts of which appear in the crop."""
        rows, columns = shape[:2]
        out = []
        for _ in range(int(rng.integers(1, 3))):
            word = self.text_generator.draw_word(rng)[:12] or "A"
            mask, _ = draw_glyphs(word, Style(style.path, style.size))
            if mask.size == 0:
                continue
            gap = rows * rng.uniform(0.08, 0.35)
            x, y = rng.uniform(-0.5, 0.5) * columns, rng.uniform(-0.05, 0.05) * rows
            side = int(rng.integers(4))
            x = (-mask.shape[1] - gap, columns + gap, x, x)[side]
            y = (y, y, -mask.shape[0] - gap * 0.6, rows + gap * 0.6)[side]
            out.append((mask, np.array([[1, 0, x], [0, 1, y], [0, 0, 1]], np.float64)))
        return out

    def _make_blank(self, rng: Rng) -> Pixels:
        """Render a picture without text: a background, sometimes with noise."""
        shape = (int(rng.integers(16, 72)), int(rng.integers(16, 200)))
        canvas = draw_background(shape, random_colors(rng)[int(rng.integers(2))], rng)
        if rng.random() < 0.4:
            canvas = canvas + rng.normal(0, rng.uniform(2, 90), canvas.shape).astype(np.float32)
        return degrade(canvas, shape[0], rng)
