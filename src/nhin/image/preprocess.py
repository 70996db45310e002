"""From any crop to what the network sees: one channel, one height, its own width.

A crop is scaled to a fixed height with its proportions kept, its colours are projected on the one
axis along which they differ most (red letters on green are as clear as black on white), and it is
padded on the right up to its own bucket. Nothing here depends on any other crop, so a crop's answer
cannot depend on its batch.
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
    """Return the padded width, in pixels, of a crop that is ``width`` pixels wide at the fixed height."""
    return min(MAX_WIDTH, max(MIN_WIDTH, -(-width // WIDTH_BUCKET) * WIDTH_BUCKET))


def scaled_width(width: int, height: int, target_height: int = HEIGHT) -> int:
    """Return a crop's width once its height is ``target_height``: at least 1, at most ``MAX_WIDTH`` pixels."""
    return min(MAX_WIDTH, max(1, round(width * target_height / height)))


def ink_channel(picture: Pixels) -> Pixels:
    """Project colours on their axis of greatest contrast, brighter stays brighter, and stretch.

    Args:
        picture: height x width x 3 (RGB) or height x width (grey).

    Returns:
        height x width; a picture without contrast stays flat instead of showing its noise.
    """
    if picture.ndim == 2:
        flat = picture.astype(np.float32)
    else:
        colours = picture.reshape(-1, 3).astype(np.float32)
        centred = colours - colours.mean(axis=0)
        axis = np.linalg.eigh(centred.T @ centred)[1][:, -1]
        # A near-grey crop has a clear axis; the sign is arbitrary, so brightness decides it.
        axis = axis if axis @ _LUMINANCE >= 0 else -axis
        flat = (centred @ axis).reshape(picture.shape[:2])
    low, high = np.quantile(flat, (0.01, 0.99))
    gain = 255.0 / max(float(high - low), _MIN_RANGE)
    return np.clip((flat - (low + high) / 2) * gain + 127.5, 0, 255).astype(np.uint8)


def preprocess_crop(picture: Pixels, height: int = HEIGHT) -> Pixels:
    """Scale a crop to ``height``, take its ink, and pad it on the right to its own bucket.

    Args:
        picture: height x width x 3 (RGB) or height x width (grey), neither side zero.
        height: The height the network was trained at, in pixels.

    Returns:
        ``height`` x ``bucket(scaled width)``.
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
    """Stack fitted crops of one width into ``batch x 1 x height x width``, in [-1, 1]."""
    return (np.stack(crops)[:, None].astype(np.float32) - 127.5) / 127.5
