r"""Connectionist temporal classification: decode frames to text, and align text with frames.

.. math::
    p(y \mid x) = \sum_{\pi \in B^{-1}(y)} \prod_f p(\pi_f \mid x)

where B merges repeats and then drops blanks. The blank is ``PAD``.

Cost:    greedy_decode O(F V); forced_align and log_likelihood O(F L) for L characters.
Source:  Graves et al. 2006, ICML, "Connectionist Temporal Classification", section 4.
Differs: ``forced_align`` spreads the characters evenly if there are fewer frames than the text needs.
"""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from nhin.text.charset import PAD

Frames = NDArray[np.floating]
"""CTC log-probabilities, frames x vocab."""

BLANK = PAD
_FLOOR = -1e4


def greedy_decode(log_probs: Frames) -> list[int]:
    """Return the ids of the best path: repeats merged, blanks dropped."""
    return find_runs(log_probs)[0]


def find_runs(log_probs: Frames) -> tuple[list[int], list[tuple[int, int]]]:
    """Return the ids of the best path, and the frames (first, past last) of each."""
    best = np.asarray(log_probs).argmax(axis=-1)
    if not best.size:
        return [], []
    edges = np.flatnonzero(np.concatenate(([True], best[1:] != best[:-1], [True])))
    ids, spans = best[edges[:-1]].tolist(), list(pairwise(edges.tolist()))
    letters = [n for n, i in enumerate(ids) if i != BLANK]
    return [ids[n] for n in letters], [spans[n] for n in letters]


def min_frames(ids: Sequence[int]) -> int:
    """Return the fewest frames that can encode ids: equal neighbors need a blank between them."""
    return len(ids) + sum(a == b for a, b in pairwise(ids))


def forced_align(log_probs: Frames, ids: Sequence[int]) -> list[tuple[int, int]]:
    """Return the frames (first, past last) of each id on the best path that gives exactly ``ids``."""
    frames = len(log_probs)
    best_ids, spans = find_runs(log_probs)
    if best_ids == list(ids):  # the best path of all gives the text
        return spans
    if min_frames(ids) > frames:
        edges = [i * frames // len(ids) for i in range(len(ids) + 1)]
        return list(pairwise(edges))
    states, skips = _lattice(ids)
    scores = _emissions(log_probs, states)
    trail = np.zeros(scores.shape, dtype=np.int8)
    best = np.full(len(states), -np.inf)
    best[:2] = scores[0, :2]
    for f in range(1, frames):
        moves = _moves(best, skips)
        trail[f] = moves.argmax(axis=0)
        best = moves.max(axis=0) + scores[f]
    state = len(states) - 1
    if len(ids) and best[state - 1] > best[state]:
        state -= 1
    spans = [(frames, 0)] * len(ids)
    for f in range(frames - 1, -1, -1):
        if state % 2:
            left, right = spans[state // 2]
            spans[state // 2] = min(left, f), max(right, f + 1)
        state -= int(trail[f, state])
    return spans


def log_likelihood(log_probs: Frames, ids: Sequence[int]) -> float:
    """Return log p(ids), the sum over all paths that give exactly ``ids``; -inf if there is none."""
    return float(log_likelihoods(np.asarray(log_probs)[None], [0], [ids])[0])


def log_likelihoods(
    log_probs: NDArray[np.floating], rows: Sequence[int], texts: Sequence[Sequence[int]]
) -> NDArray[np.float64]:
    """Return log p(text) for many pairs of a row of ``log_probs`` (crops x frames x vocab) and a text."""
    frames = log_probs.shape[1]
    lengths = np.array([len(ids) for ids in texts])
    states = np.full((len(texts), 2 * int(lengths.max(initial=0)) + 1), BLANK, np.int64)
    for row, ids in zip(states, texts, strict=True):
        row[1 : 2 * len(ids) : 2] = ids
    skips = np.zeros(states.shape, bool)
    skips[:, 3::2] = states[:, 3::2] != states[:, 1:-2:2]
    emissions = np.take_along_axis(np.asarray(log_probs, np.float64)[list(rows)], states[:, None], axis=2)
    emissions = np.maximum(emissions, _FLOOR)
    # Two columns on the left, never reached, spare the edges a case of their own.
    total = np.full((len(texts), states.shape[1] + 2), -np.inf)
    total[:, 2:4] = emissions[:, 0, :2] if frames else 0.0
    with np.errstate(invalid="ignore"):
        for f in range(1, frames):
            skip = np.where(skips, total[:, :-2], -np.inf)
            total[:, 2:] = np.logaddexp(np.logaddexp(total[:, 2:], total[:, 1:-1]), skip) + emissions[:, f]
        last = np.take_along_axis(total, 2 + 2 * lengths[:, None], axis=1)[:, 0]
        before = np.take_along_axis(total, 1 + 2 * lengths[:, None], axis=1)[:, 0]
        answers = np.logaddexp(last, np.where(lengths > 0, before, -np.inf))
    possible = np.array([min_frames(ids) <= frames for ids in texts])
    return np.where(possible, answers if frames else 0.0, -np.inf)


def char_confidences(log_probs: Frames, ids: Sequence[int]) -> list[float]:
    """Return, per character, its probability (0 to 1) in the clearest frame of its span."""
    spans = forced_align(log_probs, ids)
    return [
        float(np.exp(np.asarray(log_probs)[left : max(right, left + 1), i].max()))
        for i, (left, right) in zip(ids, spans, strict=True)
    ]


def scale_log_probs(log_probs: Frames, temperature: float) -> Frames:
    """Divide log-probabilities by the temperature and normalize them again."""
    if temperature == 1.0:
        return log_probs
    scaled = log_probs / temperature
    return scaled - np.logaddexp.reduce(scaled, axis=-1, keepdims=True)


def _lattice(ids: Sequence[int]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Return the states (blank, first, blank, second, ..., blank), and which may skip the blank before."""
    states = np.full(2 * len(ids) + 1, BLANK, dtype=np.int64)
    states[1::2] = ids
    skips = np.zeros(len(states), dtype=bool)
    skips[3::2] = states[3::2] != states[1:-2:2]
    return states, skips


def _emissions(log_probs: Frames, states: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return frames x states; floored, so that an impossible character still has a best path."""
    return np.maximum(np.asarray(log_probs, dtype=np.float64)[:, states], _FLOOR)


def _moves(scores: NDArray[np.float64], skips: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return 3 x states: the score of staying, of moving by one state, and of skipping a blank."""
    out = np.full((3, len(scores)), -np.inf)
    out[0] = scores
    out[1, 1:] = scores[:-1]
    out[2, 2:] = np.where(skips[2:], scores[:-2], -np.inf)
    return out
