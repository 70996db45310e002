"""Locate the characters of a text in a crop from the CTC frames."""

from collections.abc import Sequence
from itertools import pairwise
from math import exp

import numpy as np
from numpy.typing import NDArray

from nhin.decoding import ctc
from nhin.reading.result import Span
from nhin.text.charset import Charset

SURE, _LEAST_SHARE = 0.98, 0.02
"""Confidence below which other marks of a letter are listed, with at least that share."""


def measure_spans(
    charset: Charset,
    ids: Sequence[int],
    log_probs: Sequence[float],
    frames: NDArray[np.floating],
    width: float,
) -> list[Span]:
    """Return the characters of ``ids`` with their left and right edges in frames.

    Args:
        charset: The characters.
        ids: At least one.
        log_probs: One per id; more are ignored.
        frames: CTC log-probabilities, frames x vocab.
        width: Frames without padding.
    """
    places = ctc.forced_align(frames, ids)
    out = []
    for char, i, score, place, edges in zip(
        charset.decode(ids), ids, log_probs, places, _char_edges(places, width), strict=False
    ):
        confidence = min(1.0, exp(score))
        others = () if confidence >= SURE else _list_others(charset, char, i, frames[slice(*place)])
        out.append(Span(char, confidence, *edges, others))
    return out


def _list_others(
    charset: Charset, char: str, own: int, frames: NDArray[np.floating]
) -> tuple[tuple[str, float], ...]:
    """Return letters with other marks and their shares of what is left, where the letter is the likeliest."""
    variants = charset.list_variants(char)
    if not variants or not len(frames):
        return ()
    chances = np.exp(frames[int(frames[:, own].argmax())], dtype=np.float64)
    chances[[ctc.BLANK, own]] = 0.0
    shares = chances[variants] / max(float(chances.sum()), 1e-9)
    return tuple(
        (charset.decode([i]), share)
        for i, share in zip(variants, shares.tolist(), strict=True)
        if share >= _LEAST_SHARE
    )


def _char_edges(spans: Sequence[tuple[int, int]], width: float) -> list[tuple[float, float]]:
    """Widen spans of frames until neighbors meet; the outer ones by half a letter, inside ``width``.

    CTC spans lie near the center of a letter and are narrower than it.
    """
    centers = [(left + right) / 2 for left, right in spans]
    pitch = float(np.median(np.diff(centers))) if len(centers) > 1 else width
    outer = max(0.0, centers[0] - pitch / 2), max(spans[-1][1], min(width, centers[-1] + pitch / 2))
    middles = [(a[1] + b[0]) / 2 for a, b in pairwise(spans)]
    return [(min(a, width), min(b, width)) for a, b in pairwise([outer[0], *middles, outer[1]])]
