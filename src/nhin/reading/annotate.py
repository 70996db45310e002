"""A picture of a page with what was read drawn over it: each line outlined and numbered in reading order."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from nhin.reading.result import Box, PageResult

COLORS = {
    "heading": (190, 30, 45),
    "paragraph": (20, 90, 200),
    "caption": (150, 60, 170),
    "table": (0, 120, 80),
}
"""Of the outlines, by the kind of block."""
_WORD = (150, 150, 150)
_NUMBER = 0.012  # of the picture's longer side
_MIN_NUMBER = 11


def annotate_picture(pixels: NDArray[np.uint8], reading: PageResult) -> Image.Image:
    """Draw the outlines of lines and words, and the number of each line where it begins.

    Args:
        pixels: The page (H x W x 3, RGB), of any size.
        reading: What was read; its boxes are in pixels of ``reading.width`` x ``reading.height``.
    """
    image = Image.fromarray(pixels)
    draw = ImageDraw.Draw(image)
    size = max(_MIN_NUMBER, round(_NUMBER * max(image.size)))
    font, stroke = ImageFont.load_default(size), max(1, size // 8)
    scale = image.width / max(1, reading.width), image.height / max(1, reading.height)
    kinds = {id(line): block.kind for block in reading.blocks for line in block.lines}
    for line in reading.lines:
        for word in line.words:
            draw.polygon(_scale(word.box, scale), outline=_WORD)
    for number, line in enumerate(reading.lines, start=1):
        color, corners = COLORS[kinds.get(id(line), "paragraph")], _scale(line.box, scale)
        draw.polygon(corners, outline=color, width=stroke)
        left, top, right, bottom = draw.textbbox(corners[0], str(number), font, anchor="rt")
        draw.rectangle((left - stroke, top - stroke, right + stroke, bottom + stroke), fill=color)
        draw.text(corners[0], str(number), (255, 255, 255), font, anchor="rt")
    return image


def _scale(box: Box, scale: tuple[float, float]) -> list[tuple[float, float]]:
    return [(x * scale[0], y * scale[1]) for x, y in box]
