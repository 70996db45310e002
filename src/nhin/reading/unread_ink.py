"""Find ink that looks like text but gave no line: letters in a row, with clear space above and below.

The test is cheap and sees shapes alone. It is meant for a warning, so it would rather miss a word than take a
texture, a bar code or a table's rules for one.
"""

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from nhin.reading.result import Box

_WORK_PIXELS = 2_000_000
_MAX_LETTERS = 3000
"""More pieces of ink of letter size outside of lines are a texture."""
_LETTER_HEIGHTS = (7, 160)
_LETTER_ASPECTS = (0.15, 3.0)
_LETTER_FILLS = (0.15, 0.85)
_WINDOW, _CONTRAST = 51, 14
_MARGIN = 0.35
_MAX_GAP, _MIN_SHARED, _MAX_RATIO = 1.0, 0.6, 2.0
_MIN_LETTERS, _MIN_WIDTH = 5, 3.0
_MIN_SPREAD = 0.15
_MAX_AROUND = 0.35

Pieces = NDArray
"""Connected pieces of ink, N x 5: left, top, width, height, area."""


def count_unread_lines(picture: NDArray[np.uint8], lines: Sequence[Box]) -> int:
    """Count the rows of ink in an RGB picture that look like text and are in none of the lines."""
    height, width = picture.shape[:2]
    scale = min(1.0, (_WORK_PIXELS / (height * width)) ** 0.5)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    gray = cv2.cvtColor(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), cv2.COLOR_RGB2GRAY)
    known = np.zeros(gray.shape, np.uint8)
    for box in lines:
        cv2.fillPoly(known, [np.rint(_enlarge(np.array(box)) * scale).astype(np.int32)], (1,))
    return max(_count_rows(np.asarray(tone, np.uint8), known) for tone in (gray, 255 - gray))


def _enlarge(box: NDArray) -> NDArray:
    """Move the corners of a line outwards by a share of its height."""
    across, down = box[1] - box[0], box[3] - box[0]
    lengths = max(1e-6, float(np.hypot(*across))), max(1e-6, float(np.hypot(*down)))
    margin = _MARGIN * min(lengths)
    a, d = across / lengths[0] * margin, down / lengths[1] * margin
    return box + np.array([-a - d, a - d, a + d, d - a])


def _count_rows(gray: NDArray[np.uint8], known: NDArray[np.uint8]) -> int:
    """Count rows of dark letters outside of the known lines."""
    method, kind = cv2.ADAPTIVE_THRESH_MEAN_C, cv2.THRESH_BINARY_INV
    ink = np.asarray(cv2.adaptiveThreshold(gray, 1, method, kind, _WINDOW, _CONTRAST), np.uint8)
    unknown = np.where(known > 0, 0, ink).astype(np.uint8)
    pieces = cv2.connectedComponentsWithStats(unknown, connectivity=8)[2][1:]
    letters = pieces[_are_letters(pieces)]
    if not _MIN_LETTERS <= len(letters) <= _MAX_LETTERS:
        return 0
    return sum(_is_text(letters[row], ink) for row in _find_rows(letters))


def _are_letters(pieces: Pieces) -> NDArray[np.bool_]:
    _, _, wide, high, area = pieces.T
    aspect, fill = wide / high, area / (wide * high)
    return (
        ((high >= _LETTER_HEIGHTS[0]) & (high <= _LETTER_HEIGHTS[1]))
        & ((aspect >= _LETTER_ASPECTS[0]) & (aspect <= _LETTER_ASPECTS[1]))
        & ((fill >= _LETTER_FILLS[0]) & (fill <= _LETTER_FILLS[1]))
    )


def _find_rows(letters: Pieces) -> list[list[int]]:
    """Chain each piece to the nearest one on its right that is about as high and level with it."""
    x, y, wide, high = letters.T[:4].astype(np.float32)
    tallest, lowest = np.maximum(high[:, None], high), np.minimum(high[:, None], high)
    shared = np.minimum((y + high)[:, None], y + high) - np.maximum(y[:, None], y)
    gap = x - (x + wide)[:, None]
    fits = (shared >= _MIN_SHARED * lowest) & (tallest <= _MAX_RATIO * lowest) & (gap <= _MAX_GAP * tallest)
    fits &= (x + wide / 2) > (x + wide)[:, None]
    gap[~fits] = np.inf
    following = np.where(fits.any(axis=1), gap.argmin(axis=1), -1)
    first = np.ones(len(letters), bool)
    first[following[following >= 0]] = False
    rows, used = [], np.zeros(len(letters), bool)
    for start in np.flatnonzero(first):
        row, at = [], int(start)
        while at >= 0 and not used[at]:
            used[at] = True
            row.append(at)
            at = int(following[at])
        rows.append(row)
    return rows


def _is_text(row: Pieces, ink: NDArray[np.uint8]) -> bool:
    """Return whether a row of pieces is long, uneven as letters are, and has clear space around it."""
    x, y, wide, high, area = row.T
    median = float(np.median(high))
    left, right = int(x.min()), int((x + wide).max())
    if len(row) < _MIN_LETTERS or right - left < _MIN_WIDTH * median:
        return False
    fill = area / (wide * high)
    if max(wide.std() / wide.mean(), fill.std() / fill.mean()) < _MIN_SPREAD:
        return False
    top, bottom, rim = int(np.median(y)), int(np.median(y + high)), max(2, round(0.3 * median))
    above = ink[max(0, top - 2 * rim) : max(0, top - rim), left:right]
    below = ink[bottom + rim : bottom + 2 * rim, left:right]
    inside = float(ink[top:bottom, left:right].mean())
    # A row that fills a small picture from edge to edge is a texture, or a crop that was tried as a line.
    return all(strip.size and strip.mean() <= _MAX_AROUND * inside for strip in (above, below))
