"""Render text as a picture: glyphs, colors and a synthetic background.

Glyphs are drawn as masks (0 to 1, height x width) and colored last, so a warp processes one channel.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nhin.image.fonts import load_font

Mask = NDArray[np.float32]
Rng = np.random.Generator

# Colors of real signs as (background, letters).
SIGN_COLORS = (
    ((0, 70, 160), (255, 255, 255)),
    ((200, 20, 30), (255, 255, 255)),
    ((200, 20, 30), (255, 225, 0)),
    ((0, 120, 60), (255, 255, 255)),
    ((255, 255, 255), (20, 20, 20)),
    ((255, 255, 255), (200, 20, 30)),
    ((255, 255, 255), (0, 60, 160)),
    ((255, 225, 0), (200, 20, 30)),
    ((255, 225, 0), (20, 20, 20)),
    ((30, 30, 30), (255, 255, 255)),
    ((30, 30, 30), (240, 190, 60)),
    ((240, 235, 220), (60, 50, 40)),
    ((90, 60, 40), (240, 220, 170)),
)
_MIN_COLOR_DISTANCE = 70.0


@dataclass(frozen=True, slots=True)
class Style:
    """How a line of text is drawn; ``tracking`` and ``stroke`` are fractions of the size."""

    path: str
    size: int = 52
    tracking: float = 0.0
    stroke: float = 0.0


def draw_glyphs(text: str, style: Style) -> tuple[Mask, Mask]:
    """Draw text.

    Returns:
        Masks of the letters and of the letters with their outline, both cropped to the outline; empty (0 x 0)
        if the text has no ink.
    """
    from PIL import Image, ImageDraw

    font = load_font(style.path, style.size)
    stroke = round(style.stroke * style.size)
    gap = style.tracking * style.size
    steps = [font.getlength(char) + gap for char in text] if gap else [font.getlength(text)]
    ascent, descent = font.getmetrics()
    margin = style.size // 2 + stroke
    shape = (int(sum(steps)) + 2 * margin, int((ascent + descent) * 1.3) + 2 * margin)
    layers = []
    for width in (0, stroke):
        canvas = Image.new("L", shape)
        draw = ImageDraw.Draw(canvas)
        x = float(margin)
        for piece, step in zip(text if gap else [text], steps, strict=True):
            draw.text((x, margin), piece, 255, font=font, stroke_width=width)
            x += step
        layers.append(np.asarray(canvas, dtype=np.float32) / 255.0)
        if not stroke:
            layers.append(layers[0])
            break
    rows, columns = np.flatnonzero(layers[1].any(axis=1)), np.flatnonzero(layers[1].any(axis=0))
    if not rows.size:
        return layers[0][:0, :0], layers[1][:0, :0]
    window = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    return layers[0][window], layers[1][window]


def draw_stacked(text: str, style: Style) -> tuple[Mask, Mask]:
    """Draw a sign whose letters stand under each other, turned by 90 degrees counterclockwise.

    So a reader sees it that turns tall crops: letters in their order from left to right, each on its side.
    """
    pairs = [draw_glyphs(char, style) for char in text if char != " "]
    pairs = [pair for pair in pairs if pair[0].size]
    if not pairs:
        empty = np.zeros((0, 0), np.float32)
        return empty, empty
    height = max(mask.shape[1] for pair in pairs for mask in pair)
    gap = round(style.size * (0.12 + style.tracking))
    layers = []
    for layer in (0, 1):
        turned = [np.rot90(pair[layer]) for pair in pairs]
        columns = []
        for mask in turned:
            above = (height - mask.shape[0]) // 2
            columns.append(np.pad(mask, ((above, height - mask.shape[0] - above), (0, gap))))
        layers.append(np.ascontiguousarray(np.concatenate(columns, axis=1)[:, : -gap or None]))
    return layers[0], layers[1]


def random_colors(rng: Rng) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Draw colors of the background and of the letters, with enough contrast to read; most are muted."""
    background, letters = _draw_color_pair(rng)
    if rng.random() < 0.6:
        middle = (background + letters) / 2
        fade, gray = np.float32(rng.uniform(0.7, 1)), np.float32(rng.uniform(0.3, 0.95))
        background, letters = (
            _clip((color + gray * (color.mean() - color) - middle) * fade + middle)
            for color in (background, letters)
        )
    return background, letters


def _draw_color_pair(rng: Rng) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    if rng.random() < 0.5:
        background, letters = np.array(SIGN_COLORS[int(rng.integers(len(SIGN_COLORS)))])
        shift = rng.normal(0, 22, (2, 3))
        return _clip(background + shift[0]), _clip(letters + shift[1])
    least = _MIN_COLOR_DISTANCE * float(rng.uniform(1.2, 3.5))
    while True:
        pair = rng.uniform(0, 255, (2, 3))
        if rng.random() < 0.4:
            pair = pair.mean(axis=1, keepdims=True) + rng.normal(0, 12, (2, 3))
        gap = pair[0] - pair[1]
        if np.abs(gap).mean() > least * 0.5 and np.linalg.norm(gap) > least:
            return _clip(pair[0]), _clip(pair[1])


def _clip(values: NDArray[np.floating]) -> NDArray[np.float32]:
    return np.clip(values, 0, 255).astype(np.float32)


def draw_background(shape: tuple[int, int], color: NDArray[np.float32], rng: Rng) -> NDArray[np.float32]:
    """Draw a background around one color: flat, a gradient, clouds, or random lines and boxes.

    Returns:
        height x width x 3, 0 to 255.
    """
    import cv2

    rows, columns = shape
    canvas = np.empty((rows, columns, 3), np.float32)
    canvas[:] = color
    kind = rng.random()
    if kind < 0.30:
        return canvas
    if kind < 0.55:
        slope = rng.normal(0, 40, (2, 3)).astype(np.float32)
        canvas += np.linspace(-0.5, 0.5, rows, dtype=np.float32)[:, None, None] * slope[0]
        canvas += np.linspace(-0.5, 0.5, columns, dtype=np.float32)[None, :, None] * slope[1]
    elif kind < 0.78:
        grid = rng.normal(
            0, rng.uniform(5, 30), (int(rng.integers(2, 7)), int(rng.integers(2, 9)), 3)
        ).astype(np.float32)
        canvas += cv2.resize(grid, (columns, rows), interpolation=cv2.INTER_CUBIC)
    else:
        for _ in range(int(rng.integers(1, 4))):
            shade = _clip(color + rng.normal(0, 45, 3)).tolist()
            ends = (rng.uniform(-0.2, 1.2, (2, 2)) * (columns, rows)).astype(int).tolist()
            if rng.random() < 0.5:
                cv2.rectangle(canvas, ends[0], ends[1], shade, -1)
            else:
                cv2.line(canvas, ends[0], ends[1], shade, int(rng.integers(1, 6)), cv2.LINE_AA)
    return canvas


def paint(canvas: NDArray[np.float32], mask: Mask, color: NDArray[np.float32], opacity: float = 1.0) -> None:
    """Blend one color into a canvas where a mask is set, in place."""
    canvas += (mask * opacity)[:, :, None] * (color - canvas)
