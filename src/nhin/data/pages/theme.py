"""What the lines of a page have in common: faces, sizes and colors."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nhin.data.pages.page_writer import Color, TextStyle
from nhin.image.fonts import Face, font_kind
from nhin.image.render import Rng, random_colors

Family = Sequence[Face]
_REGULAR, _BOLD = (300, 500), 600


@dataclass(frozen=True, slots=True)
class Theme:
    """The styles of a page, and the color of its paper."""

    body: TextStyle
    bold: TextStyle
    italic: TextStyle
    title: TextStyle
    paper: Color
    accent: Color
    pitch: float
    """Distance of baselines, in ems of the body."""

    @property
    def size(self) -> int:
        """Pixels per em of the body."""
        return self.body.size


class FaceBook:
    """Families of faces by what they are used for."""

    def __init__(self, faces: Sequence[Face]) -> None:
        families: dict[str, list[Face]] = {}
        for face in faces:
            families.setdefault(face.family, []).append(face)
        kinds: dict[str, list[Family]] = {}
        for name in sorted(families):
            kinds.setdefault(font_kind(name), []).append(families[name])
        self._kinds = kinds
        self._all = [family for _, group in sorted(kinds.items()) for family in group]

    def draw(self, rng: Rng, *kinds: str) -> Family:
        """Draw a family of one of some kinds; of any kind where there is none of them."""
        groups = [self._kinds[kind] for kind in kinds if kind in self._kinds] or [self._all]
        group = groups[int(rng.integers(len(groups)))]
        return group[int(rng.integers(len(group)))]


def pick_face(family: Family, rng: Rng, bold: bool = False, italic: bool = False) -> Face:
    """Pick a face of a family: bold or not, slanted or not, as far as it has such."""
    slanted = [face for face in family if ("italic" in Path(face.path).stem.lower()) == italic] or list(
        family
    )
    if bold:
        fitting = [face for face in slanted if face.weight >= _BOLD]
    else:
        fitting = [face for face in slanted if _REGULAR[0] <= face.weight <= _REGULAR[1]]
    faces = fitting or slanted
    return faces[int(rng.integers(len(faces)))]


def draw_theme(book: FaceBook, size: int, rng: Rng, office: bool = True) -> Theme:
    """Draw a theme.

    Args:
        book: The faces there are.
        size: Pixels per em of the body.
        rng: Source of randomness.
        office: Black on white and faces of documents, mostly; else any colors and faces.
    """
    kinds = ("sign", "text") if office or rng.random() < 0.85 else ("script",)
    family = (
        book.draw(rng, "official", "text") if office or rng.random() < 0.6 else book.draw(rng, "sign", "text")
    )
    other = family if rng.random() < (0.75 if office else 0.4) else book.draw(rng, *kinds)
    if office and rng.random() < 0.9:
        paper = _gray(rng.uniform(235, 256))
        ink = _gray(rng.uniform(0, 70) if rng.random() < 0.85 else rng.uniform(70, 190))
    elif rng.random() < 0.4:
        paper, ink = _gray(rng.uniform(225, 256)), _gray(rng.uniform(0, 110))
    else:
        background, letters = random_colors(rng)
        paper, ink = _color(background), _color(letters)
    dark = sum(paper) < sum(ink)
    accent = ink
    if rng.random() < 0.3:
        accent = _color(np.array(ink, np.float32) + rng.uniform(0, 120, 3) * (-1 if dark else 1) * 0.6)
        if rng.random() < 0.6:
            tint = rng.uniform(0, 1, 3) ** 2
            accent = _color(255 - 130 * tint) if dark else _color(180 * tint)
    body = TextStyle(pick_face(family, rng), size, ink)
    return Theme(
        body,
        TextStyle(pick_face(family, rng, bold=True), size, ink),
        TextStyle(pick_face(family, rng, italic=True), size, ink),
        TextStyle(pick_face(other, rng, bold=True), size, accent),
        paper,
        accent,
        float(rng.uniform(1.12, 1.6) if rng.random() < 0.8 else rng.uniform(1.0, 2.4)),
    )


def _gray(value: float) -> Color:
    shade = min(255, int(value))
    return shade, shade, shade


def _color(values: np.ndarray) -> Color:
    red, green, blue = (int(value) for value in np.clip(values, 0, 255))
    return red, green, blue
