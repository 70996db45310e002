"""The ways one crop is looked at: a tall one may be turned, a very wide one is read in pieces.

Networks learn from upright words and short lines. A tall crop often holds text turned by 90 degrees, so
it is also read turned either way and the surest answer is kept. A crop much wider than what the network
learned from is cut where its columns are emptiest, read piece by piece and joined again. Everything is
decided from the crop alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import prod

import numpy as np
from numpy.typing import NDArray

from nhin.image.preprocess import HEIGHT, MAX_WIDTH, ink_channel
from nhin.reading.result import Recognition

Pixels = NDArray[np.uint8]

TALL = 1.1
"""Height over width from which a crop may hold turned text."""
ROTATIONS = (90, -90)
"""Degrees a tall crop is turned by, clockwise, beside being read as it is."""
MIN_UPRIGHT_CONFIDENCE = 0.8
"""Mean confidence of its letters at which an upright reading is not questioned."""
ROTATION_BIAS = 0.2
"""How much surer a turned reading has to be."""

MAX_ASPECT = 8.0
"""Width over height up to which a crop is read whole, and the widest piece that is sought."""
MIN_SPACE_GAP = 0.18
"""Width of a gap over height from which it stands for a space."""
_MAX_PIECE_ASPECT = 0.75 * MAX_WIDTH / HEIGHT
_EMPTY_SHARE = 0.3


@dataclass(frozen=True, slots=True)
class CropPiece:
    """Part of a crop, from column ``left`` on; ``after_space`` when a clear gap stands before it."""

    picture: Pixels
    left: int = 0
    after_space: bool = False


def is_tall(crop: Pixels) -> bool:
    """Tell whether a crop is so tall that its text may be turned."""
    return crop.shape[0] > TALL * crop.shape[1]


def rotate(crop: Pixels, degrees: int) -> Pixels:
    """Turn a crop clockwise by a multiple of 90 degrees."""
    return np.ascontiguousarray(np.rot90(crop, -degrees // 90))


def most_confident(upright: Recognition, rotated: Sequence[Recognition]) -> Recognition:
    """Choose between a tall crop as it is and turned, by the mean confidence of the letters.

    A single letter is never believed when turned: an upright ``I`` lies down as a dash.
    """
    best, mean = upright, mean_confidence(upright) + ROTATION_BIAS
    for other in rotated:
        if len(other.text) > 1 and mean_confidence(other) > mean:
            best, mean = other, mean_confidence(other)
    return best


def mean_confidence(reading: Recognition) -> float:
    """Return the geometric mean of the letters' confidences, 0 for an empty reading."""
    if not reading.chars:
        return 0.0
    return prod(char.confidence for char in reading.chars) ** (1 / len(reading.chars))


def split_long(crop: Pixels) -> list[CropPiece]:
    """Cut a crop wider than ``WIDE`` heights at its gaps; others come back whole.

    A piece stays wider than that only where no gap can be found, up to what the network can take at all.
    """
    height, width = crop.shape[:2]
    if width <= MAX_ASPECT * height:
        return [CropPiece(crop)]
    marks = _column_contrast(crop)
    scale = width / len(marks)
    cuts = _choose_cuts(marks, _find_gaps(marks))
    edges = [0, *(round(at * scale) for at, _ in cuts), width]
    spaced = [False, *(wide >= MIN_SPACE_GAP * HEIGHT for _, wide in cuts)]
    return [
        CropPiece(crop[:, left:right], left, space)
        for left, right, space in zip(edges[:-1], edges[1:], spaced, strict=True)
        if right > left
    ]


def join_pieces(pieces: Sequence[CropPiece], readings: Sequence[Recognition]) -> Recognition:
    """Put the readings of a crop's pieces together, spans moved to where they stand in the crop."""
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
    """Return how much ink varies down each column, of the crop scaled to the usual height."""
    import cv2

    height, width = crop.shape[:2]
    # Not limited to MAX_WIDTH: a crop wider than that is what has to be cut.
    size = max(1, round(width * HEIGHT / height)), HEIGHT
    small = np.asarray(cv2.resize(crop, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)
    flat = ink_channel(small).astype(np.float32)
    # The outermost rows often hold the edge of the sign, which has no gaps.
    spread = flat[HEIGHT // 10 : -HEIGHT // 10].std(axis=0)
    return np.convolve(np.pad(spread, 1, mode="edge"), np.full(3, 1 / 3), mode="valid").astype(np.float32)


def _find_gaps(contrast: NDArray[np.float32]) -> list[tuple[float, int]]:
    """Return the middle and the width of every run of empty columns."""
    empty = contrast <= _EMPTY_SHARE * np.quantile(contrast, 0.75)
    edges = np.flatnonzero(np.diff(np.concatenate(([0], empty.astype(np.int8), [0]))))
    return [
        ((left + right) / 2, int(right - left)) for left, right in zip(edges[::2], edges[1::2], strict=True)
    ]


def _choose_cuts(contrast: NDArray[np.float32], gaps: Sequence[tuple[float, int]]) -> list[tuple[float, int]]:
    """Choose where to cut: (column, width of the gap), pieces of similar width."""
    total, widest, start = len(contrast), MAX_ASPECT * HEIGHT, 0.0
    out: list[tuple[float, int]] = []
    while total - start > widest:
        left = total - start
        goal = left / np.ceil(left / widest)
        near = [gap for gap in gaps if start + goal / 2 <= gap[0] <= start + widest]
        later = [
            gap
            for gap in gaps
            if start + widest < gap[0] <= min(start + _MAX_PIECE_ASPECT * HEIGHT, total - HEIGHT)
        ]
        if near:
            # A word gap beats a letter gap; among equals the one nearest to even pieces.
            chosen = max(near, key=lambda gap: gap[1] - abs(gap[0] - start - goal) / HEIGHT)
        elif later:
            chosen = later[0]
        elif left > MAX_WIDTH:
            window = contrast[int(start + goal / 2) : int(start + _MAX_PIECE_ASPECT * HEIGHT)]
            chosen = start + int(goal / 2) + float(window.argmin()), 0
        else:
            break
        out.append(chosen)
        start = chosen[0]
    return out
