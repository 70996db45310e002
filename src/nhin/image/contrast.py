"""Check and stretch the contrast of a picture before detection."""

import numpy as np
from numpy.typing import NDArray

MIN_CONTRAST = 6
_FAINT_RANGE = 96
_ROW = 256


def is_blank(picture: NDArray[np.uint8]) -> bool:
    """Return whether an H x W x 3 picture is of one color, up to compression noise."""
    sample = _sample_pixels(picture)
    # In long rows first: numpy is ten times slower over rows of three.
    long = sample[: len(sample) // _ROW * _ROW].reshape(-1, _ROW * 3)
    rest = sample[len(sample) // _ROW * _ROW :]
    parts = [part for part in (_find_extremes(long), _find_extremes(rest)) if part is not None]
    high = np.max([part[1] for part in parts], axis=0).astype(int)
    return bool((high - np.min([part[0] for part in parts], axis=0)).max() < MIN_CONTRAST)


def _find_extremes(rows: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], NDArray[np.uint8]] | None:
    """Return the smallest and the largest value of each channel; None without rows."""
    if not len(rows):
        return None
    return rows.min(axis=0).reshape(-1, 3).min(axis=0), rows.max(axis=0).reshape(-1, 3).max(axis=0)


def stretch_contrast(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Stretch a faint H x W x 3 picture to the full range; return any other unchanged."""
    low, high = np.percentile(_sample_pixels(picture), (0.5, 99.5))
    if high - low >= _FAINT_RANGE or high - low < MIN_CONTRAST:
        return picture
    table = np.clip((np.arange(256) - low) * (255.0 / (high - low)), 0, 255).astype(np.uint8)
    return table[picture]


def _sample_pixels(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return enough pixels to estimate the range, in rows of three."""
    rows = picture.reshape(-1, 3)
    return rows[:: max(1, len(rows) // 2_000_000)]
