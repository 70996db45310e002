"""Several candidates per crop: a beam search with the decoder, for all crops of a batch at once.

Cost:    a batch of crops x width rows in every pass; a pass per letter.
Source:  Sutskever et al. 2014, arXiv:1409.3215, sec. 3.2.
"""

import numpy as np
from numpy.typing import NDArray

from nhin.decoding.protocol import Decode, mask_specials
from nhin.text.charset import EOS, SOS

Candidates = dict[tuple[int, ...], float]
"""Ids without SOS and EOS, with their log-probability."""


def find_candidates(
    decode: Decode, memory: NDArray[np.float32], width: int, max_length: int
) -> list[Candidates]:
    """Return up to ``width`` likely texts of each crop; at least one, whatever its length.

    Args:
        decode: The decoder; a row's logits must not depend on other rows.
        memory: crops x positions x dim.
        width: Texts kept at every step.
        max_length: Maximum number of ids in a text.
    """
    crops = len(memory)
    found: list[Candidates] = [{} for _ in range(crops)]
    rows = np.arange(crops)
    prefixes = np.full((crops, 1), SOS, np.int64)
    sums = np.zeros(crops)
    for length in range(max_length + 1):
        if not len(rows):
            break
        scores = (
            _log_softmax(mask_specials(decode(memory[rows], prefixes)[:, -1:], EOS)[:, 0]) + sums[:, None]
        )
        kept: list[tuple[int, int, float]] = []
        for crop in np.unique(rows).tolist():
            mine = np.flatnonzero(rows == crop)
            flat = scores[mine].ravel()
            top = np.argsort(-flat, kind="stable")[:width]
            for at in top[flat[top] > -np.inf]:
                row, token = int(mine[at // scores.shape[1]]), int(at % scores.shape[1])
                total = float(flat[at])
                if token == EOS or length == max_length:
                    ids = (*prefixes[row, 1:].tolist(), *(() if token == EOS else (token,)))
                    found[crop][ids[:max_length]] = total
                elif len(found[crop]) < width or total > sorted(found[crop].values())[-width]:
                    kept.append((row, token, total))
        parents = np.array([row for row, _, _ in kept], np.int64)
        tokens = np.array([token for _, token, _ in kept], np.int64)
        sums = np.array([total for _, _, total in kept])
        rows, prefixes = rows[parents], np.concatenate([prefixes[parents], tokens[:, None]], axis=1)
    return [dict(sorted(texts.items(), key=lambda item: -item[1])[:width]) for texts in found]


def _log_softmax(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    shifted = logits - logits.max(axis=-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
