"""Preprocess a crop for the recognizer: one channel, one height, its own width.

A crop is scaled to a fixed height with its proportions kept, its colors are projected on the axis of greatest
variance (red letters on green become as clear as black on white), and it is padded on the right to the width
of its bucket. Each crop is processed alone, so its text cannot depend on its batch.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

HEIGHT = 40
STRIDE = 4
WIDTH_BUCKET = 16
MIN_WIDTH = 32
MAX_WIDTH = 1280

Pixels = NDArray[np.uint8]

_LUMINANCE = np.array([0.299, 0.587, 0.114], dtype=np.float32)
_MIN_RANGE = 24.0
_DIAGONAL = 3**0.5
"""The length of a step of one in all three channels, the axis of a gray picture."""
_BINS = 2048


def bucket_width(width: int) -> int:
    """Return the padded width of a crop that is ``width`` pixels wide at the fixed height."""
    return min(MAX_WIDTH, max(MIN_WIDTH, -(-width // WIDTH_BUCKET) * WIDTH_BUCKET))


def scaled_width(width: int, height: int, target_height: int = HEIGHT) -> int:
    """Return the width of a crop scaled to ``target_height``, from 1 to ``MAX_WIDTH`` pixels."""
    return min(MAX_WIDTH, max(1, round(width * target_height / height)))


def ink_channel(picture: Pixels) -> Pixels:
    """Project colors on their axis of greatest variance and stretch the contrast; brighter stays brighter.

    Args:
        picture: height x width x 3 (RGB) or height x width (gray).

    Returns:
        height x width; a picture without contrast stays flat, so that its noise is not amplified.
    """
    import cv2

    if picture.ndim == 2:
        return _stretch_gray(picture, _MIN_RANGE)
    red, green, blue = cv2.split(picture)
    if np.array_equal(red, green) and np.array_equal(green, blue):
        return _stretch_gray(np.asarray(red, np.uint8), _MIN_RANGE / _DIAGONAL)
    flat = picture.astype(np.float32)
    colors, mean = flat.reshape(-1, 3), np.array(cv2.mean(picture)[:3])
    axis = np.linalg.eigh(colors.T @ colors - len(colors) * np.outer(mean, mean))[1][:, -1]
    # The sign of an eigenvector is arbitrary, so brightness decides it.
    axis = axis if axis @ _LUMINANCE >= 0 else -axis
    flat = np.asarray(cv2.transform(flat, axis[None].astype(np.float32)), np.float32)
    low, high = _find_range(flat)
    gain = 255.0 / max(float(high - low), _MIN_RANGE)
    return np.clip((flat - (low + high) / 2) * gain + 127.5, 0, 255).astype(np.uint8)


def _stretch_gray(picture: Pixels, min_range: float) -> Pixels:
    """Stretch the contrast of one channel: it has 256 values, so a table of them says all."""
    import cv2

    total = cv2.calcHist([picture], [0], None, [256], [0, 256]).cumsum()
    low, high = np.searchsorted(total, (0.01 * total[-1], 0.99 * total[-1])).tolist()
    gain = 255.0 / max(high - low, min_range)
    table = np.clip((np.arange(256) - (low + high) / 2) * gain + 127.5, 0, 255).astype(np.uint8)
    return np.asarray(cv2.LUT(picture, table), np.uint8)


def _find_range(values: NDArray[np.float32]) -> tuple[float, float]:
    """Return the quantiles 0.01 and 0.99, to a thousandth of the range: counting is faster than sorting."""
    least, most = float(values.min()), float(values.max())
    step = max(most - least, 1e-6) / _BINS
    counts = np.bincount(((values - least) * (1 / step)).astype(np.int16).ravel(), minlength=_BINS)
    total = counts.cumsum()
    low, high = np.searchsorted(total, (0.01 * total[-1], 0.99 * total[-1]))
    return least + float(low) * step, least + float(high) * step


def preprocess_crop(picture: Pixels, height: int = HEIGHT) -> Pixels:
    """Scale a crop to ``height``, extract its ink channel, and pad it on the right to its bucket.

    Args:
        picture: height x width x 3 (RGB) or height x width (gray), not empty.
        height: The height in pixels that the network was trained on.

    Returns:
        ``height`` x ``bucket_width(scaled width)``.
    """
    import cv2

    rows, columns = picture.shape[:2]
    width = scaled_width(columns, rows, height)
    method = cv2.INTER_AREA if rows > height else cv2.INTER_CUBIC
    small = ink_channel(np.asarray(cv2.resize(picture, (width, height), interpolation=method), np.uint8))
    border = np.concatenate([small[0], small[-1], small[:, 0], small[:, -1]])
    out = np.full((height, bucket_width(width)), int(np.median(border)), dtype=np.uint8)
    out[:, :width] = small
    return out


def to_batch(crops: Sequence[Pixels]) -> NDArray[np.float32]:
    """Stack preprocessed crops of one width into ``batch x 1 x height x width``, in [-1, 1]."""
    return (np.stack(crops)[:, None].astype(np.float32) - 127.5) / 127.5
