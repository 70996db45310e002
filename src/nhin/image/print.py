"""Render a line of print as documents, screens, scanners, fax machines and receipts show it.

A line is drawn at its own size (8 to 60 pixels per em), cropped as a detector would, and degraded by one of
the ways of ``_PROCESSES``. A NUL in the text is a dotted leader: dots that are not text.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nhin.image.augment import degrade
from nhin.image.fonts import load_font
from nhin.image.preprocess import Pixels
from nhin.image.render import Mask, Rng

MIN_SIZE, MAX_SIZE = 8, 60
_MAX_WIDTH = 4000
Canvas = NDArray[Any]  # float32 or float64: OpenCV's types do not distinguish them


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
    process = _PROCESSES[int(np.searchsorted(_EDGES, rng.random() * _EDGES[-1]))]
    picture = process(mask, size, rng)
    if rng.random() < 0.10:
        picture = 255 - picture
    return np.clip(picture, 0, 255).astype(np.uint8)


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


def _colors(rng: Rng, low: float = 0, high: float = 90) -> tuple[Canvas, Canvas]:
    """Draw the colors of paper and ink: mostly gray; sometimes colored."""
    paper = np.full(3, rng.uniform(215, 256), np.float32) + rng.normal(0, 4, 3).astype(np.float32)
    ink = np.full(3, rng.uniform(low, high), np.float32)
    draw = rng.random()
    if draw < 0.12:
        ink = rng.uniform(0, 150, 3).astype(np.float32)
        ink[int(rng.integers(3))] *= 1.5
    elif draw < 0.17:
        ink = np.full(3, rng.uniform(120, 190), np.float32)
    if rng.random() < 0.12:
        paper = paper - rng.uniform(0, 60, 3).astype(np.float32)
    return paper, np.minimum(ink, paper - 60)


def _blend(mask: Mask, rng: Rng) -> Canvas:
    paper, ink = _colors(rng)
    return paper + mask[:, :, None] * (ink - paper)


def _keep_clean(mask: Mask, size: int, rng: Rng) -> Canvas:
    return _blend(mask, rng)


def _show_on_screen(mask: Mask, size: int, rng: Rng) -> Canvas:
    """Smooth by sub-pixels, as screens with red, green and blue stripes do; sometimes store as JPEG."""
    import cv2

    rows, columns = mask.shape
    wide = cv2.resize(mask, (columns * 3, rows), interpolation=cv2.INTER_LINEAR)
    fine = cv2.filter2D(wide, -1, np.array([[1, 2, 3, 2, 1]], np.float32) / 9)
    paper, ink = _colors(rng)
    stripes = np.asarray(fine, np.float32).reshape(rows, columns, 3)
    picture = paper + stripes * (ink - paper)
    return _store_jpeg(picture, rng, 40) if rng.random() < 0.5 else picture


def _scan(mask: Mask, size: int, rng: Rng) -> Canvas:
    """Tilt, spread or thin the ink, let the other side show through, blur, add grain and specks."""
    import cv2

    mask = _tilt(mask, rng)
    rows, columns = mask.shape
    blurred = np.asarray(cv2.GaussianBlur(mask, (0, 0), max(0.3, size * float(rng.uniform(0.008, 0.05)))))
    sharpness, threshold = rng.uniform(1.5, 6), rng.uniform(0.3, 0.6)
    ink = np.clip((blurred - threshold) * sharpness + 0.5, 0, 1).astype(np.float32)
    if rng.random() < 0.2:
        ink = np.maximum(ink, ink[::-1, ::-1] * np.float32(rng.uniform(0.05, 0.22)))
    if rng.random() < 0.4:
        specks = rng.random((rows, columns)) < rng.uniform(0.0002, 0.004)
        ink = np.where(specks, 1 - ink, ink).astype(np.float32)
    picture = _blend(ink, rng)
    picture = picture + rng.normal(0, rng.uniform(0, 12), picture.shape).astype(np.float32)
    if rng.random() < 0.3:
        ramp = np.linspace(-1, 1, columns, dtype=np.float32)[None, :, None]
        picture = picture + ramp * np.float32(rng.normal(0, 20))
    return _store_jpeg(picture, rng, 10) if rng.random() < 0.7 else picture


def _fax(mask: Mask, size: int, rng: Rng) -> Canvas:
    """Reduce to black and white at a coarse resolution, often coarser in height than in width."""
    import cv2

    mask = _tilt(mask, rng)
    rows, columns = mask.shape
    factor = max(1.0, size / rng.uniform(14, 30))
    high = max(6, round(rows / (factor * rng.choice((1.0, 1.6)))))
    wide = max(6, round(columns / factor))
    coarse = np.asarray(cv2.resize(mask, (wide, high), interpolation=cv2.INTER_AREA))
    ink = (coarse > rng.uniform(0.25, 0.55)).astype(np.float32)
    flips = rng.random(ink.shape) < rng.uniform(0, 0.01)
    picture = np.where(flips, 1 - ink, ink).astype(np.float32)
    picture = np.asarray(cv2.resize(picture, (columns, rows), interpolation=cv2.INTER_LINEAR), np.float32)
    return np.repeat((1 - picture)[:, :, None] * 255, 3, axis=2)


def _photograph(mask: Mask, size: int, rng: Rng) -> Canvas:
    """Photograph a page: tilt, light, blur, noise, JPEG."""
    picture = _blend(_tilt(mask, rng, 2.5), rng)
    return degrade(picture, max(8, round(len(picture) * float(rng.uniform(0.6, 1.1)))), rng).astype(
        np.float32
    )


def _print_receipt(mask: Mask, size: int, rng: Rng) -> Canvas:
    """Print by heat: gray and faded, in bands along and across the paper."""
    import cv2

    rows, columns = mask.shape
    bands = rng.uniform(0.55, 1, (1, max(2, columns // max(8, 2 * size)))).astype(np.float32)
    fade = np.asarray(cv2.resize(bands, (columns, rows), interpolation=cv2.INTER_CUBIC), np.float32)
    gone = rng.random((rows, columns)) < rng.uniform(0, 0.12)
    ink = np.where(gone, mask * 0.4, mask) * fade * np.float32(rng.uniform(0.45, 0.95))
    return _scan(ink.astype(np.float32), size, rng) if rng.random() < 0.4 else _blend(ink, rng)


def _print_dots(mask: Mask, size: int, rng: Rng) -> Canvas:
    """Print with needles: a grid of round dots, about 12 to 24 to the em."""
    import cv2

    rows, columns = mask.shape
    pitch = max(2.0, size / rng.uniform(12, 24))
    high, wide = max(6, round(rows / pitch)), max(6, round(columns / pitch))
    on = np.asarray(cv2.resize(mask, (wide, high), interpolation=cv2.INTER_AREA)) > 0.35
    cell = 4
    y, x = np.mgrid[-1.5:2.5, -1.5:2.5]
    dot = np.clip(rng.uniform(1.6, 2.4) - np.hypot(x, y), 0, 1).astype(np.float32)
    dots = np.kron(on.astype(np.float32), dot)
    assert dots.shape == (high * cell, wide * cell)
    ink = np.asarray(cv2.resize(dots, (columns, rows), interpolation=cv2.INTER_AREA), np.float32)
    return _blend(ink * np.float32(rng.uniform(0.6, 1)), rng)


def _tilt(mask: Mask, rng: Rng, spread: float = 0.5) -> Mask:
    """Turn the line by a small angle; rows are added so that nothing is cut."""
    import cv2

    rows, columns = mask.shape
    limit = np.degrees(np.arctan(0.5 * rows / max(columns, 1)))
    angle = float(np.clip(rng.normal(0, spread), -limit, limit))
    slope = np.tan(np.radians(angle))
    extra = abs(slope) * columns
    matrix = np.array([[1, 0, 0], [slope, 1, extra if slope < 0 else 0]], np.float64)
    return np.asarray(cv2.warpAffine(mask, matrix, (columns, rows + int(np.ceil(extra)))), np.float32)


def _store_jpeg(picture: Canvas, rng: Rng, lowest: int) -> Canvas:
    import cv2

    pixels = np.clip(picture, 0, 255).astype(np.uint8)
    stored, data = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(lowest, 96))])
    return np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), np.float32) if stored else picture


_PROCESSES: tuple[Callable[[Mask, int, Rng], Canvas], ...] = (
    _keep_clean,
    _show_on_screen,
    _scan,
    _fax,
    _photograph,
    _print_receipt,
    _print_dots,
)
_EDGES = np.cumsum([0.30, 0.14, 0.26, 0.06, 0.15, 0.05, 0.04])
