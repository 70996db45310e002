"""Paint letters as signs show them: flat, shaded, extruded, glowing, embossed, textured, in boxes."""

import numpy as np
from numpy.typing import NDArray

from nhin.image.render import Mask, Rng, paint, random_colors

Canvas = NDArray[np.float32]
Color = NDArray[np.float32]
_MIN_DISTANCE = 26.0


def paint_letters(canvas: Canvas, mask: Mask, ink: Color, opacity: float, rng: Rng) -> None:
    """Paint letters in one of the ways of signs, in place.

    Args:
        canvas: height x width x 3, 0 to 255.
        mask: height x width, 0 to 1.
        ink: Their color.
        opacity: 0 to 1.
        rng: Source of randomness.
    """
    draw = rng.random()
    if draw < 0.07:
        _extrude(canvas, mask, ink, rng)
    elif draw < 0.11:
        _glow(canvas, mask, ink, rng)
    elif draw < 0.15:
        _add_halo(canvas, mask, rng)
    elif draw < 0.19:
        _emboss(canvas, mask, rng)
        opacity *= float(rng.uniform(0.3, 0.8))
    if 0.19 <= draw < 0.27:
        _paint_gradient(canvas, mask, ink, opacity, rng)
    elif 0.27 <= draw < 0.31:
        _paint_texture(canvas, mask, ink, opacity, rng)
    else:
        paint(canvas, mask, ink, opacity)


def is_legible(canvas: Canvas, mask: Mask) -> bool:
    """Return whether the letters differ in color from what is around them."""
    inside, outside = mask > 0.5, mask < 0.1
    if not inside.any() or not outside.any():
        return False
    return bool(np.linalg.norm(canvas[inside].mean(axis=0) - canvas[outside].mean(axis=0)) > _MIN_DISTANCE)


def draw_box(canvas: Canvas, mask: Mask, background: Color, ink: Color, rng: Rng) -> None:
    """Draw a box around the letters, in place: filled with a shade of the background, or as an outline."""
    import cv2

    rows, columns = np.flatnonzero(mask.max(axis=1) > 0.3), np.flatnonzero(mask.max(axis=0) > 0.3)
    if not len(rows) or not len(columns):
        return
    pad = float(rng.uniform(0.05, 0.3)) * len(rows)
    ends = [round(float(x)) for x in (columns[0] - pad, rows[0] - pad, columns[-1] + pad, rows[-1] + pad)]
    if rng.random() < 0.5:
        shade = np.clip(background + rng.normal(0, 25, 3), 0, 255)
        cv2.rectangle(canvas, ends[:2], ends[2:], shade.tolist(), -1)
    else:
        thick = max(1, round(len(rows) * float(rng.uniform(0.02, 0.08))))
        cv2.rectangle(canvas, ends[:2], ends[2:], ink.tolist(), thick)


def _shift(mask: Mask, x: float, y: float) -> Mask:
    import cv2

    matrix = np.array([[1, 0, x], [0, 1, y]], np.float64)
    return np.asarray(cv2.warpAffine(mask, matrix, mask.shape[::-1]), np.float32)


def _extrude(canvas: Canvas, mask: Mask, ink: Color, rng: Rng) -> None:
    """Draw the depth of letters cut from a thick material."""
    depth = mask.shape[0] * rng.uniform(0.04, 0.14)
    angle = rng.uniform(0, 2 * np.pi)
    side = ink * np.float32(rng.uniform(0.2, 0.65)) if rng.random() < 0.7 else random_colors(rng)[1]
    for part in np.linspace(1, 0, max(2, round(depth)), endpoint=False):
        moved = _shift(mask, depth * part * np.cos(angle), depth * part * np.sin(angle))
        paint(canvas, moved, side)


def _glow(canvas: Canvas, mask: Mask, ink: Color, rng: Rng) -> None:
    """Darken the ground and let the letters shine on it, as neon tubes and light boxes do."""
    canvas *= np.float32(rng.uniform(0.15, 0.8))
    reach = mask.shape[0] * float(rng.uniform(0.03, 0.12))
    light = _blur(mask, reach)
    paint(canvas, np.minimum(light * 1.5, 1), ink * 0.6 + 80, float(rng.uniform(0.4, 0.9)))


def _add_halo(canvas: Canvas, mask: Mask, rng: Rng) -> None:
    """Set the letters off from the ground by a soft edge."""
    soft = np.minimum(_blur(mask, mask.shape[0] * float(rng.uniform(0.02, 0.08))) * 2.5, 1)
    paint(canvas, soft, random_colors(rng)[0], float(rng.uniform(0.5, 1)))


def _emboss(canvas: Canvas, mask: Mask, rng: Rng) -> None:
    """Light one edge of the letters and darken the other."""
    step = max(1.0, mask.shape[0] * float(rng.uniform(0.015, 0.05)))
    angle = rng.uniform(0, 2 * np.pi)
    x, y = step * np.cos(angle), step * np.sin(angle)
    relief = _shift(mask, x, y) - _shift(mask, -x, -y)
    canvas += relief[:, :, None] * np.float32(rng.uniform(50, 140))


def _paint_gradient(canvas: Canvas, mask: Mask, ink: Color, opacity: float, rng: Rng) -> None:
    """Fill the letters with two colors that run into each other."""
    rows, columns = mask.shape
    other = np.clip(ink + rng.normal(0, 60, 3).astype(np.float32), 0, 255)
    vertical = rng.random() < 0.7
    ramp = np.linspace(0, 1, rows if vertical else columns, dtype=np.float32)
    ramp = ramp[:, None, None] if vertical else ramp[None, :, None]
    canvas += (mask * opacity)[:, :, None] * (ink + ramp * (other - ink) - canvas)


def _paint_texture(canvas: Canvas, mask: Mask, ink: Color, opacity: float, rng: Rng) -> None:
    """Fill the letters unevenly: weathered paint, chalk, spray."""
    import cv2

    rows, columns = mask.shape
    coarse = rng.random((max(2, rows // int(rng.integers(1, 8))), max(2, columns // int(rng.integers(1, 8)))))
    worn = cv2.resize(coarse.astype(np.float32), (columns, rows), interpolation=cv2.INTER_LINEAR)
    kept = np.clip((np.asarray(worn, np.float32) - rng.uniform(0, 0.35)) * 3, 0, 1).astype(np.float32)
    paint(canvas, mask * kept, ink, opacity)


def _blur(mask: Mask, reach: float) -> Mask:
    import cv2

    return np.asarray(cv2.GaussianBlur(mask, (0, 0), max(0.5, reach)), np.float32)
