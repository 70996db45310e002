"""Crops unlike the training data: tall ones are also read rotated, very wide ones in pieces.

A tall crop often holds text rotated by 90 degrees: it is read in all three directions, and the most
confident result is kept. A crop wider than the short lines of training is cut where its columns are
emptiest, read piece by piece and joined. The crop alone decides.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import prod

import numpy as np
from numpy.typing import NDArray

from nhin.image.preprocess import HEIGHT, MAX_WIDTH, Pixels, ink_channel
from nhin.reading.result import Recognition

TALL = 1.1
"""Height over width above which a crop may hold rotated text."""
ROTATIONS = (90, -90)
"""Clockwise degrees by which a tall crop is also read."""
MIN_UPRIGHT_CONFIDENCE = 0.8
"""Mean confidence of the letters from which only the upright reading is used."""
ROTATION_BIAS = 0.2
"""How much more confident a rotated reading must be."""

MAX_ASPECT = 8.0
"""Width over height above which a crop is cut, and of the widest piece wanted."""
MIN_SPACE_GAP = 0.18
"""Width over height from which a gap is a space."""
_MAX_PIECE_ASPECT = 0.75 * MAX_WIDTH / HEIGHT
_EMPTY_SHARE = 0.3


@dataclass(frozen=True, slots=True)
class CropPiece:
    """Part of a crop, from column ``left`` on; ``after_space`` if a space precedes it."""

    picture: Pixels
    left: int = 0
    after_space: bool = False


def is_tall(crop: Pixels) -> bool:
    """Return whether a crop is so tall that its text may be rotated."""
    return crop.shape[0] > TALL * crop.shape[1]


def rotate(crop: Pixels, degrees: int) -> Pixels:
    """Rotate a crop clockwise by a multiple of 90 degrees."""
    return np.ascontiguousarray(np.rot90(crop, -degrees // 90))


def most_confident(upright: Recognition, rotated: Sequence[Recognition]) -> Recognition:
    """Choose between the upright and the rotated readings by the mean confidence of their letters.

    A rotated reading of one letter is never chosen: an upright ``I`` looks like a dash.
    """
    best, mean = upright, mean_confidence(upright) + ROTATION_BIAS
    for other in rotated:
        if len(other.text) > 1 and mean_confidence(other) > mean:
            best, mean = other, mean_confidence(other)
    return best


def mean_confidence(reading: Recognition) -> float:
    """Return the geometric mean of the letters' confidences; 0 without letters."""
    if not reading.chars:
        return 0.0
    return prod(char.confidence for char in reading.chars) ** (1 / len(reading.chars))


def split_long(crop: Pixels) -> list[CropPiece]:
    """Cut a crop wider than ``MAX_ASPECT`` heights at its gaps; do not cut others.

    A piece stays wider than that only where there is no gap, up to the network's limit.
    """
    height, width = crop.shape[:2]
    if width <= MAX_ASPECT * height:
        return [CropPiece(crop)]
    contrast = _column_contrast(crop)
    scale = width / len(contrast)
    cuts = _choose_cuts(contrast, _find_gaps(contrast))
    edges = [0, *(round(at * scale) for at, _ in cuts), width]
    spaced = [False, *(wide >= MIN_SPACE_GAP * HEIGHT for _, wide in cuts)]
    return [
        CropPiece(crop[:, left:right], left, space)
        for left, right, space in zip(edges[:-1], edges[1:], spaced, strict=True)
        if right > left
    ]


def join_pieces(pieces: Sequence[CropPiece], readings: Sequence[Recognition]) -> Recognition:
    """Join the readings of a crop's pieces, with spans in columns of the crop."""
    text, confidence, chars = "", 1.0, []
    for piece, reading in zip(pieces, readings, strict=True):
        if not reading.text:
            continue
        moved = [
            replace(char, left=char.left + piece.left, right=char.right + piece.left)
            for char in reading.chars
        ]
        if text and piece.after_space and moved:
            gap = replace(moved[0], text=" ", confidence=1.0, left=chars[-1].right, right=moved[0].left)
            text, chars = text + " ", [*chars, gap]
        text, confidence, chars = text + reading.text, confidence * reading.confidence, [*chars, *moved]
    return Recognition(text, confidence, tuple(chars)) if text else Recognition("", 0.0)


def _column_contrast(crop: Pixels) -> NDArray[np.float32]:
    """Return the standard deviation of the ink in each column of the crop at the network's height."""
    import cv2

    height, width = crop.shape[:2]
    # Not limited to MAX_WIDTH: wider crops are what has to be cut.
    size = max(1, round(width * HEIGHT / height)), HEIGHT
    small = np.asarray(cv2.resize(crop, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)
    flat = ink_channel(small).astype(np.float32)
    # The outermost rows often hold the border of the sign, which has no gaps.
    spread = flat[HEIGHT // 10 : -HEIGHT // 10].std(axis=0)
    return np.convolve(np.pad(spread, 1, mode="edge"), np.full(3, 1 / 3), mode="valid").astype(np.float32)


def _find_gaps(contrast: NDArray[np.float32]) -> list[tuple[float, int]]:
    """Return the center and the width of every run of empty columns."""
    empty = contrast <= _EMPTY_SHARE * np.quantile(contrast, 0.75)
    edges = np.flatnonzero(np.diff(np.concatenate(([0], empty.astype(np.int8), [0]))))
    return [
        ((left + right) / 2, int(right - left)) for left, right in zip(edges[::2], edges[1::2], strict=True)
    ]


def _choose_cuts(contrast: NDArray[np.float32], gaps: Sequence[tuple[float, int]]) -> list[tuple[float, int]]:
    """Choose cuts (column, width of the gap) that give pieces of similar width."""
    total, widest, start = len(contrast), MAX_ASPECT * HEIGHT, 0.0
    out: list[tuple[float, int]] = []
    while (rest := total - start) > widest:
        goal = rest / np.ceil(rest / widest)
        limit = min(start + _MAX_PIECE_ASPECT * HEIGHT, total - HEIGHT)
        near = [gap for gap in gaps if start + goal / 2 <= gap[0] <= start + widest]
        later = [gap for gap in gaps if start + widest < gap[0] <= limit]
        if near:
            # A word gap beats a letter gap; among equal ones the one that gives the most even pieces.
            cut = max(near, key=lambda gap: gap[1] - abs(gap[0] - start - goal) / HEIGHT)
        elif later:
            cut = later[0]
        elif rest > MAX_WIDTH:
            window = contrast[int(start + goal / 2) : int(start + _MAX_PIECE_ASPECT * HEIGHT)]
            cut = start + int(goal / 2) + float(window.argmin()), 0
        else:
            break
        out.append(cut)
        start = cut[0]
    return out
