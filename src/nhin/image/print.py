"""Render a line of print as documents, screens, scanners, fax machines and receipts show it.

A line is drawn at its own size (8 to 60 pixels per em), cropped as a detector would, and then reproduced
(``image.reproduction``). A NUL in the text is a dotted leader: dots that are not text.
"""

from collections.abc import Callable

import numpy as np

from nhin.image.fonts import load_font
from nhin.image.preprocess import Pixels
from nhin.image.render import Mask, Rng
from nhin.image.reproduction import reproduce

MIN_SIZE, MAX_SIZE = 8, 60
_MAX_WIDTH = 4000


def draw_size(rng: Rng) -> int:
    """Draw pixels per em: most between 14 and 40."""
    return int(np.clip(np.exp(rng.normal(np.log(25), 0.48)), MIN_SIZE, MAX_SIZE))


def render_print(text: str, path: str, rng: Rng, neighbors: Callable[[], str]) -> Pixels | None:
    """Render a line.

    Args:
        text: One line; NUL stands for a dotted leader.
        path: The font file.
        rng: Source of randomness.
        neighbors: Gives the text of a line above or below.

    Returns:
        height x width x 3, RGB; None if the text has no ink or is too wide.
    """
    size = draw_size(rng)
    mask = _draw_line(text, path, size, rng)
    if mask is None or mask.shape[1] > _MAX_WIDTH:
        return None
    mask = _add_surroundings(mask, path, size, rng, neighbors)
    if mask.size == 0:  # the margins have cut off a sign as low as a dash
        return None
    return reproduce(mask, size, rng)


def _draw_line(text: str, path: str, size: int, rng: Rng) -> Mask | None:
    """Draw letters (0 to 1), cropped to their ink; hinted at their size, or reduced from a larger drawing."""
    import cv2

    scale = 1 if rng.random() < 0.5 else 3
    mode = "1" if scale == 1 and rng.random() < 0.12 else "L"
    before, leader, after = text.partition("\0")
    gap = float(rng.uniform(2, 8)) * size if leader else 0.0
    mask = _draw_text(before, path, size * scale, mode, after, gap * scale, rng)
    if mask is None or scale == 1:
        return mask
    shape = (max(3, round(mask.shape[1] / scale)), max(3, round(mask.shape[0] / scale)))
    return np.asarray(cv2.resize(mask, shape, interpolation=cv2.INTER_AREA), np.float32)


def _draw_text(
    text: str, path: str, size: int, mode: str, after: str = "", gap: float = 0.0, rng: Rng | None = None
) -> Mask | None:
    """Draw text, and after a dotted gap more text; crop to the ink."""
    from PIL import Image, ImageDraw

    font = load_font(path, size)
    start = font.getlength(text)
    width = int(start + gap + font.getlength(after)) + 2 * size
    if width > 3 * _MAX_WIDTH:
        return None
    canvas = Image.new("L", (width, 3 * size))
    draw = ImageDraw.Draw(canvas)
    draw.fontmode = mode
    draw.text((size, size), text, 255, font=font)
    if gap and rng is not None:
        step = font.getlength(".") * float(rng.uniform(1, 2.2))
        for x in np.arange(size + start + step, size + start + gap - step, max(2.0, step)):
            draw.text((x, size), ".", 255, font=font)
        draw.text((size + start + gap, size), after, 255, font=font)
    box = canvas.getbbox()
    return None if box is None else np.asarray(canvas.crop(box), np.float32) / np.float32(255)


def _add_surroundings(mask: Mask, path: str, size: int, rng: Rng, neighbors: Callable[[], str]) -> Mask:
    """Add margins, and what a crop catches besides its line: lines above and below, rules, borders."""
    rows, columns = mask.shape
    tight = rng.random() < 0.5
    up, down = np.maximum(rng.normal(0.06 if tight else 0.25, 0.06 if tight else 0.15, 2), -0.03) * size
    left, right = np.maximum(rng.normal(0.1, 0.15, 2), -0.02) * size
    if rng.random() < 0.12:
        right += size * rng.exponential(3.0)
    pads = [round(float(x)) for x in (up, down, left, right)]
    inner = [max(0, pad) for pad in pads]
    canvas = np.zeros((rows + inner[0] + inner[1], columns + inner[2] + inner[3]), np.float32)
    canvas[inner[0] : inner[0] + rows, inner[2] : inner[2] + columns] = mask
    if rng.random() < 0.3:
        for above in (True, False):
            if rng.random() < 0.6:
                _add_neighbor(canvas, path, size, above, inner, rng, neighbors)
    if rng.random() < 0.10:
        _add_rule(canvas, inner[0] + rows, size, rng)
    if rng.random() < 0.10:
        _add_border(canvas, size, rng)
    cut = [max(0, -pad) for pad in pads]
    return canvas[cut[0] : canvas.shape[0] - cut[1], cut[2] : canvas.shape[1] - cut[3]]


def _add_neighbor(
    canvas: Mask, path: str, size: int, above: bool, pads: list[int], rng: Rng, neighbors: Callable[[], str]
) -> None:
    """Let the lowest or the highest part of another line show in a margin."""
    other = _draw_text(neighbors(), path, size, "L")
    margin = pads[0] if above else pads[1]
    visible = round(margin * float(rng.uniform(0.2, 0.8)))
    if other is None or visible < 1:
        return
    width = min(other.shape[1], canvas.shape[1])
    if above:
        strip = other[-visible:, :width]
        canvas[: len(strip), :width] = np.maximum(canvas[: len(strip), :width], strip)
    else:
        strip = other[:visible, :width]
        canvas[-len(strip) :, :width] = np.maximum(canvas[-len(strip) :, :width], strip)


def _add_rule(canvas: Mask, bottom: int, size: int, rng: Rng) -> None:
    """Underline, or rarely strike out, a part of the line; dotted where forms are filled in."""
    rows, columns = canvas.shape
    y = bottom - round(size * float(rng.uniform(0.0, 0.28)))
    y = y if rng.random() < 0.93 else round(rows * 0.55)
    thick = max(1, round(size * float(rng.uniform(0.03, 0.08))))
    ends = np.sort(rng.integers(0, columns, 2)) if rng.random() < 0.4 else np.array([0, columns])
    row = np.ones(int(ends[1] - ends[0]), np.float32)
    if rng.random() < 0.2:
        row[(np.arange(len(row)) // max(2, size // 6)) % 2 == 0] = 0
    top = min(max(0, y), rows - 1)
    part = canvas[top : top + thick, ends[0] : ends[1]]
    part[:] = np.maximum(part, row * float(rng.uniform(0.6, 1)))


def _add_border(canvas: Mask, size: int, rng: Rng) -> None:
    """Draw the borders of a cell at one to four sides."""
    thick = max(1, round(size * float(rng.uniform(0.03, 0.09))))
    shade = float(rng.uniform(0.4, 1))
    for side in np.flatnonzero(rng.random(4) < 0.4):
        at = int(rng.integers(0, max(1, round(size * 0.12))))
        lines = canvas if side < 2 else canvas.T
        length = len(lines)
        first = at if side % 2 == 0 else length - at - thick
        part = lines[max(0, first) : first + thick]
        part[:] = np.maximum(part, shade)
