"""Reproduce a line of print: clean, on a screen, scanned, faxed, photographed, by heat or with needles."""

from collections.abc import Callable

import numpy as np

from nhin.image.augment import FloatImage, degrade
from nhin.image.preprocess import Pixels
from nhin.image.render import Mask, Rng


def reproduce(mask: Mask, size: int, rng: Rng) -> Pixels:
    """Reproduce a line in one of the ways of ``PROCESSES``; one in ten is light on dark.

    Args:
        mask: height x width, 0 (paper) to 1 (ink).
        size: Pixels per em.
        rng: Source of randomness.

    Returns:
        height x width x 3, RGB; height and width may differ a little from those of the mask.
    """
    process = PROCESSES[int(np.searchsorted(_EDGES, rng.random() * _EDGES[-1]))]
    picture = process(mask, size, rng)
    if rng.random() < 0.10:
        picture = 255 - picture
    return np.clip(picture, 0, 255).astype(np.uint8)


def _colors(rng: Rng) -> tuple[FloatImage, FloatImage]:
    """Draw the colors of paper and ink: mostly gray; sometimes colored."""
    paper = np.full(3, rng.uniform(215, 256), np.float32) + rng.normal(0, 4, 3).astype(np.float32)
    ink = np.full(3, rng.uniform(0, 90), np.float32)
    draw = rng.random()
    if draw < 0.12:
        ink = rng.uniform(0, 150, 3).astype(np.float32)
        ink[int(rng.integers(3))] *= 1.5
    elif draw < 0.17:
        ink = np.full(3, rng.uniform(120, 190), np.float32)
    if rng.random() < 0.12:
        paper = paper - rng.uniform(0, 60, 3).astype(np.float32)
    return paper, np.minimum(ink, paper - 60)


def _blend(mask: Mask, rng: Rng) -> FloatImage:
    paper, ink = _colors(rng)
    return paper + mask[:, :, None] * (ink - paper)


def _keep_clean(mask: Mask, size: int, rng: Rng) -> FloatImage:
    return _blend(mask, rng)


def _show_on_screen(mask: Mask, size: int, rng: Rng) -> FloatImage:
    """Smooth by sub-pixels, as screens with red, green and blue stripes do; sometimes store as JPEG."""
    import cv2

    rows, columns = mask.shape
    wide = cv2.resize(mask, (columns * 3, rows), interpolation=cv2.INTER_LINEAR)
    fine = cv2.filter2D(wide, -1, np.array([[1, 2, 3, 2, 1]], np.float32) / 9)
    paper, ink = _colors(rng)
    stripes = np.asarray(fine, np.float32).reshape(rows, columns, 3)
    picture = paper + stripes * (ink - paper)
    return _store_jpeg(picture, rng, 40) if rng.random() < 0.5 else picture


def _scan(mask: Mask, size: int, rng: Rng) -> FloatImage:
    """Tilt, spread or thin the ink, let the other side show through, blur, add grain and specks.

    What counts as ink is relative to the darkest place, so that a faded line does not vanish.
    """
    import cv2

    mask = _tilt(mask, rng)
    rows, columns = mask.shape
    blurred = np.asarray(cv2.GaussianBlur(mask, (0, 0), max(0.3, size * float(rng.uniform(0.008, 0.05)))))
    sharpness, threshold = rng.uniform(1.5, 6), rng.uniform(0.3, 0.6) * blurred.max()
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


def _fax(mask: Mask, size: int, rng: Rng) -> FloatImage:
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


def _photograph(mask: Mask, size: int, rng: Rng) -> FloatImage:
    """Photograph a page: tilt, light, blur, noise, JPEG."""
    picture = _blend(_tilt(mask, rng, 2.5), rng)
    return degrade(picture, max(8, round(len(picture) * float(rng.uniform(0.6, 1.1)))), rng).astype(
        np.float32
    )


def _print_receipt(mask: Mask, size: int, rng: Rng) -> FloatImage:
    """Print by heat: gray and faded, in bands along and across the paper."""
    import cv2

    rows, columns = mask.shape
    bands = rng.uniform(0.7, 1, (1, max(2, columns // max(8, 2 * size)))).astype(np.float32)
    fade = np.asarray(cv2.resize(bands, (columns, rows), interpolation=cv2.INTER_CUBIC), np.float32)
    gone = rng.random((rows, columns)) < rng.uniform(0, 0.12)
    ink = np.where(gone, mask * 0.4, mask) * fade * np.float32(rng.uniform(0.6, 0.95))
    return _scan(ink.astype(np.float32), size, rng) if rng.random() < 0.4 else _blend(ink, rng)


def _print_dots(mask: Mask, size: int, rng: Rng) -> FloatImage:
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


def _store_jpeg(picture: FloatImage, rng: Rng, lowest: int) -> FloatImage:
    import cv2

    pixels = np.clip(picture, 0, 255).astype(np.uint8)
    stored, data = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(lowest, 96))])
    return np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), np.float32) if stored else picture


PROCESSES: tuple[Callable[[Mask, int, Rng], FloatImage], ...] = (
    _keep_clean,
    _show_on_screen,
    _scan,
    _fax,
    _photograph,
    _print_receipt,
    _print_dots,
)
_EDGES = np.cumsum([0.30, 0.14, 0.26, 0.06, 0.15, 0.05, 0.04])
