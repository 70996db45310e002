"""Boxes in the pixels of the picture as it was opened, where it was reduced to be read."""

from collections.abc import Sequence
from dataclasses import replace
from typing import TypeVar

from nhin.image.decode import Picture
from nhin.reading.result import Char, Line

LineOrChar = TypeVar("LineOrChar", Line, Char)


def scale_to_picture(lines: Sequence[Line], picture: Picture) -> tuple[Line, ...]:
    """Scale boxes from the pixels of the reduced picture to those of the original."""
    height, width = picture.pixels.shape[:2]
    x, y = picture.width / width, picture.height / height
    if x == y == 1:
        return tuple(lines)

    def scale(part: LineOrChar) -> LineOrChar:
        box = tuple((round(px * x, 2), round(py * y, 2)) for px, py in part.box)
        return replace(part, box=box)

    return tuple(replace(scale(line), chars=tuple(map(scale, line.chars))) for line in lines)
