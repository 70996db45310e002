"""Print made of dots, as of needle printers: where it is read badly, the dots are joined into strokes."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from nhin.reading.result import Line

DOUBT = 0.85
"""Mean confidence of a picture's characters from which its dots are not looked for."""
_MAX_DOT, _MIN_DOTS, _MIN_SHARE = 8, 150, 0.9  # pixels; dots; of the ink
_HALF = 0.5  # of the picture: what is more is not the ink
_SAMPLE, _MAX_COMPONENTS, _MAX_PITCH = 300, 200_000, 2 * _MAX_DOT
_BLUR = 0.5  # of the distance between dots


def mean_confidence(lines: Sequence[Line]) -> float:
    """Return the mean confidence of the characters of lines, or of lines that tell of none; 0 without any."""
    parts = [part.confidence for line in lines for part in line.chars or (line,)]
    return sum(parts) / len(parts) if parts else 0.0


def join_dots(pixels: NDArray[np.uint8]) -> NDArray[np.uint8] | None:
    """Return a picture (height x width x 3) whose dots have become strokes; None if it has few dots."""
    import cv2

    gray = np.asarray(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY), np.uint8)
    split, dark = cv2.threshold(gray, 0, 1, cv2.THRESH_BINARY_INV | cv2.THRESH_OTSU)
    if np.asarray(dark).mean() > _HALF:
        gray, split = 255 - gray, 254 - split
    ink = gray[gray <= split]
    if not ink.size:
        return None
    core = np.asarray(gray <= np.median(ink), np.uint8)  # where dots that touch are apart
    count, _, stats, centers = cv2.connectedComponentsWithStats(core, connectivity=4)
    if not _MIN_DOTS <= count <= _MAX_COMPONENTS:
        return None
    stats, centers = np.asarray(stats)[1:], np.asarray(centers, np.float64)[1:]
    are_dots = stats[:, 2:4].max(1) <= _MAX_DOT
    if are_dots.sum() < _MIN_DOTS or stats[are_dots, 4].sum() < _MIN_SHARE * stats[:, 4].sum():
        return None
    pitch = _measure_pitch(centers[are_dots])
    if pitch > _MAX_PITCH:  # no strokes; and a wide blur of a large picture takes minutes
        return None
    return np.asarray(cv2.GaussianBlur(pixels, (0, 0), _BLUR * pitch), np.uint8)


def _measure_pitch(centers: NDArray[np.float64]) -> float:
    """Return the median distance from a dot to the nearest other one, of a sample of dots, in pixels."""
    picked = np.linspace(0, len(centers) - 1, min(_SAMPLE, len(centers))).astype(int)
    nearest = []
    for point in centers[picked]:
        distances = ((centers - point) ** 2).sum(1)
        nearest.append(float(np.partition(distances, 1)[1]) ** 0.5)
    return float(np.median(nearest))
