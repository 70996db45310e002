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
    if picture.ndim == 2:
        flat = picture.astype(np.float32)
    else:
        colors = picture.reshape(-1, 3).astype(np.float32)
        centered = colors - colors.mean(axis=0)
        axis = np.linalg.eigh(centered.T @ centered)[1][:, -1]
        # The sign of an eigenvector is arbitrary, so brightness decides it.
        axis = axis if axis @ _LUMINANCE >= 0 else -axis
        flat = (centered @ axis).reshape(picture.shape[:2])
    low, high = np.quantile(flat, (0.01, 0.99))
    gain = 255.0 / max(float(high - low), _MIN_RANGE)
    return np.clip((flat - (low + high) / 2) * gain + 127.5, 0, 255).astype(np.uint8)


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
