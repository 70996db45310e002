"""An endless stream of rendered words and lines of signs and of print, each determined by seed and index.

``SyntheticSource(seed=7).sample(42)`` is the same picture at every call and in every process, given the
same fonts, word lists and library versions. Text is drawn first, then a font face that has its letters,
then what happens between a sign or a page and a picture of it: ``image.print`` for lines of print; here
perspective, shadows and noise for signs.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
from numpy.typing import NDArray

from nhin.data.images.line_text import LineTextGenerator
from nhin.data.images.text_generator import TextGenerator, read_words
from nhin.data.images.textless import KINDS, draw_kind
from nhin.errors import UnknownName
from nhin.image.augment import degrade, random_perspective, warp
from nhin.image.effects import draw_box, is_legible, paint_letters
from nhin.image.fonts import Face, find_faces, font_kind
from nhin.image.preprocess import HEIGHT as INPUT_HEIGHT
from nhin.image.preprocess import MAX_WIDTH, Pixels
from nhin.image.print import render_print
from nhin.image.render import (
    Mask,
    Rng,
    Style,
    draw_background,
    draw_glyphs,
    draw_stacked,
    paint,
    random_colors,
)
from nhin.ranges import SEED, Range
from nhin.text.charset import CHARSETS
from nhin.text.letters import nfc

# Raised with every change to the samples: cached pictures of another edition are not used.
EDITION = 5
_MAX_TRIES = 50
_MIN_HEIGHT, _MAX_HEIGHT = 6, 200
_MAX_ASPECT = MAX_WIDTH / INPUT_HEIGHT
_MAX_STACKED = 10
# Shares of the kinds of faces (``image.fonts.font_kind``).
_SIGN_KINDS = {"sign": 0.55, "text": 0.30, "official": 0.10, "script": 0.05}
_PRINT_KINDS = {"official": 0.45, "text": 0.42, "sign": 0.11, "script": 0.02}


@dataclass(frozen=True, slots=True)
class Sample:
    """A picture (height x width x 3, RGB) and its text (NFC, ``""`` if there is none)."""

    picture: Pixels
    text: str


def _draw_height(rng: Rng) -> int:
    """Draw the height of a crop: the half that was photographed far away or near spreads as real crops do."""
    if rng.random() < 0.5:
        return int(rng.uniform(12, 72))
    spread = rng.normal()
    height = 30 * np.exp(spread * (0.75 if spread < 0 else 1.0))
    return int(np.clip(height, _MIN_HEIGHT, _MAX_HEIGHT))


class SyntheticSource:
    """Renders pictures of text.

    Args:
        fonts: Folders with fonts; by default the fonts of the system.
        words: Word lists (one word per line, with or without counts), beside the bundled ones.
        seed: Determines the stream.
        lines: Share of the pictures of signs with a short line of 2 to 5 words.
        blanks: Share of pictures without text.
        longest: Maximum number of characters on a sign.
        prints: Share of pictures of print.
        longest_print: Maximum number of characters in a line of print.
        charset: Name of the characters that may occur, in ``text.charset.CHARSETS``.
        textless: Share of the pictures without text that are drawn by ``textless``: textures, bar codes, ...

    Raises:
        UnknownName: There is no such charset.
    """

    def __init__(  # noqa: PLR0913 - each is one setting of a recipe's [data.synth]
        self,
        fonts: Sequence[str | Path] = (),
        words: Sequence[str | Path] = (),
        seed: Annotated[int, SEED] = 0,
        lines: Annotated[float, Range(0, 1)] = 0.1,
        blanks: Annotated[float, Range(0, 1)] = 0.02,
        longest: Annotated[int, Range(1, 256)] = 32,
        prints: Annotated[float, Range(0, 1)] = 0.35,
        longest_print: Annotated[int, Range(1, 256)] = 72,
        charset: str = "vietnamese",
        textless: Annotated[float, Range(0, 1)] = 0.0,
    ) -> None:
        if charset not in CHARSETS:
            raise UnknownName("charset", charset, CHARSETS)
        self.seed, self.lines, self.blanks, self.longest = seed, lines, blanks, longest
        self.prints, self.longest_print, self.charset = prints, longest_print, charset
        self.textless = textless
        self.text_generator = TextGenerator([read_words(path) for path in words])
        self.line_generator = LineTextGenerator(self.text_generator)
        families: dict[str, list[Face]] = {}
        for face in find_faces(fonts):
            families.setdefault(face.family, []).append(face)
        self._families = [families[name] for name in sorted(families)]
        self._sign_shares, self._print_shares = (
            self._share_families(shares) for shares in (_SIGN_KINDS, _PRINT_KINDS)
        )
        self.fingerprint = self._make_fingerprint(words)

    def _share_families(self, shares: Mapping[str, float]) -> NDArray[np.float64]:
        """Return cumulative probabilities of the families: each kind's share, in equal parts."""
        kinds = [font_kind(family[0].family) for family in self._families]
        weights = np.array([shares[kind] / kinds.count(kind) for kind in kinds])
        return np.cumsum(weights / weights.sum())

    def _make_fingerprint(self, words: Sequence[str | Path]) -> str:
        """Hash everything that a sample depends on."""
        settings = (self.seed, self.lines, self.blanks, self.longest)
        settings += (self.prints, self.longest_print, self.charset)
        settings += (self.textless,) if self.textless else ()  # streams of before keep their fingerprint
        digest = hashlib.sha256(repr((EDITION, *settings)).encode())
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
        render = self._render_print if rng.random() < self.prints else self._render_sign
        for _ in range(_MAX_TRIES):
            if (sample := render(rng)) is not None:
                return sample
        return Sample(self._make_blank(rng), "")

    def _is_allowed(self, text: str, longest: int) -> bool:
        return bool(text) and len(text) <= longest and not CHARSETS[self.charset].missing_chars(text)

    def _render_print(self, rng: Rng) -> Sample | None:
        """Render a line of print; None where the draw was unlucky."""
        draw = rng.random()
        low, high = (1, 7) if draw < 0.22 else (6, 30) if draw < 0.68 else (25, self.longest_print + 1)
        length = min(int(rng.integers(low, max(low + 1, high))), self.longest_print)
        text = nfc(self.line_generator.draw(rng, length))
        label = " ".join(text.replace("\0", " ").split())
        face = self._draw_face(label, rng, self._print_shares)
        if not self._is_allowed(label, self.longest_print) or face is None:
            return None
        picture = render_print(
            text, face.path, rng, lambda: self.line_generator.draw(rng, 40).replace("\0", " ")
        )
        if picture is None or picture.shape[1] > _MAX_ASPECT * picture.shape[0]:
            return None
        return Sample(picture, label)

    def _draw_text(self, rng: Rng) -> str:
        if rng.random() < self.lines:
            return nfc(self.text_generator.draw_line(rng, int(rng.integers(2, 6))))
        return nfc(self.text_generator.draw_word(rng))

    def _draw_face(self, text: str, rng: Rng, shares: NDArray[np.float64]) -> Face | None:
        """Draw a family, then a face of it, bold ones more often; None if it cannot show this text."""
        family = self._families[min(int(np.searchsorted(shares, rng.random())), len(shares) - 1)]
        weights = np.array([0.15 if face.weight < 300 else 1.0 + (face.weight >= 600) for face in family])
        face = family[int(rng.choice(len(family), p=weights / weights.sum()))]
        if (face.unicase and text != text.upper()) or not face.chars.issuperset(text):
            return None
        return face

    def _render_sign(self, rng: Rng) -> Sample | None:
        """Render a word or a short line of a sign; None where the draw was unlucky."""
        text = self._draw_text(rng)
        if not self._is_allowed(text, self.longest):
            return None
        face = next((face for _ in range(4) if (face := self._draw_face(text, rng, self._sign_shares))), None)
        if face is None:
            return None
        tracking = float(rng.uniform(-0.02, 0.15)) if rng.random() < 0.25 else 0.0
        stroke = float(rng.uniform(0.02, 0.07)) if rng.random() < 0.18 else 0.0
        style = Style(face.path, 52, tracking, stroke)
        is_stacked = 2 <= len(text) <= _MAX_STACKED and " " not in text and rng.random() < 0.04
        letters, outline = (draw_stacked if is_stacked else draw_glyphs)(text, style)
        if letters.size == 0:
            return None
        if rng.random() < 0.08 and letters.shape[1] > letters.shape[0]:
            letters, outline = warp((letters, outline), rng)
        picture = self._make_photograph(letters, outline, style, rng)
        return None if picture is None else Sample(picture, text)

    def _make_photograph(self, letters: Mask, outline: Mask, style: Style, rng: Rng) -> Pixels | None:
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
        if rng.random() < 0.05:
            draw_box(canvas, mask, background, ink, rng)
        if style.stroke:
            paint(canvas, warp_mask(outline), random_colors(rng)[0] if rng.random() < 0.5 else 255 - ink)
            if rng.random() < 0.25:
                ink = background
        paint_letters(canvas, mask, ink, float(rng.uniform(0.75, 1.0)), rng)
        return degrade(canvas, _draw_height(rng), rng) if is_legible(canvas, mask) else None

    def _draw_margins(self, height: int, rng: Rng) -> NDArray[np.int64]:
        """Draw the margins of a crop around the ink (top, bottom, left, right); negative ones cut into it."""
        loose = 0.06 if rng.random() < 0.7 else 0.16
        margins = np.maximum(rng.normal(0.03, loose, 4), -0.06)
        if rng.random() < 0.25:  # boxes drawn or detected too wide
            margins[2:] += rng.exponential(0.25, 2)
        if rng.random() < 0.04:
            margins += rng.exponential(0.4, 4)
        return np.round(margins * height).astype(np.int64)

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
        """Render a picture without text: a background, sometimes with noise, or one of ``textless``."""
        if self.textless and rng.random() < self.textless:
            return draw_kind(list(KINDS)[int(rng.integers(len(KINDS)))], rng)
        shape = (int(rng.integers(16, 72)), int(rng.integers(16, 200)))
        canvas = draw_background(shape, random_colors(rng)[int(rng.integers(2))], rng)
        if rng.random() < 0.4:
            canvas = canvas + rng.normal(0, rng.uniform(2, 90), canvas.shape).astype(np.float32)
        return degrade(canvas, shape[0], rng)
