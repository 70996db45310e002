"""Locate the characters of a text in a crop from the CTC frames."""

from collections.abc import Sequence
from itertools import pairwise
from math import exp

import numpy as np
from numpy.typing import NDArray

from nhin.decoding import ctc
from nhin.reading.result import Span


def measure_spans(
    text: str, ids: Sequence[int], log_probs: Sequence[float], frames: NDArray[np.floating], width: float
) -> list[Span]:
    """Return the characters of a text with their left and right edges in frames.

    Args:
        text: The characters of ``ids``.
        ids: At least one.
        log_probs: One per id; more are ignored.
        frames: CTC log-probabilities, frames x vocab.
        width: Frames without padding.
    """
    edges = _char_edges(ctc.forced_align(frames, ids), width)
    return [
        Span(char, min(1.0, exp(score)), left, right)
        for char, score, (left, right) in zip(text, log_probs, edges, strict=False)
    ]


def _char_edges(spans: Sequence[tuple[int, int]], width: float) -> list[tuple[float, float]]:
    """Widen spans of frames until neighbors meet; the outer ones by half a letter, inside ``width``.

    CTC spans lie near the center of a letter and are narrower than it.
    """
    centers = [(left + right) / 2 for left, right in spans]
    pitch = float(np.median(np.diff(centers))) if len(centers) > 1 else width
    outer = max(0.0, centers[0] - pitch / 2), max(spans[-1][1], min(width, centers[-1] + pitch / 2))
    middles = [(a[1] + b[0]) / 2 for a, b in pairwise(spans)]
    return [(min(a, width), min(b, width)) for a, b in pairwise([outer[0], *middles, outer[1]])]
