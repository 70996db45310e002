"""The four networks of every experiment, and the outcomes: which of them fire, that is, give more than 0."""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from nhin.studies.separation.options import Weights

# Softmax and linear attention on D1, which holds the spike, and on D0, which does not. This is the order of
# every last axis of four, and of the bits of a code: bit i of an outcome's code is set where network i fires.
NETS = ("exp1", "lin1", "exp0", "lin0")
NET_TITLES = {
    "exp1": "softmax fires on D1",
    "lin1": "linear fires on D1",
    "exp0": "softmax fires on D0",
    "lin0": "linear fires on D0",
}
CODES = 1 << len(NETS)
SUCCESS = 1  # exp1 fires, the others are silent
BITS = (np.arange(CODES)[:, None] >> np.arange(len(NETS))) & 1  # (16, 4): which fire, by code
GUARD = 1e-12  # added to thresholds, so that rounding does not make a network fire

Values = NDArray[np.float64]


def encode_outcomes(fires: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return the code of each outcome; ``fires`` is (..., 4) in the order of ``NETS``."""
    return fires.astype(np.int64) @ (1 << np.arange(len(NETS)))


def sum_outcomes(blocks: Iterable[NDArray[np.bool_]]) -> NDArray[np.int64]:
    """Count the outcomes of blocks of repeats, each (R, 4): (16,) by code."""
    total = np.zeros(CODES, np.int64)
    for fires in blocks:
        total += np.bincount(encode_outcomes(fires), minlength=CODES)
    return total


def firing_rates(outcomes: Values) -> Values:
    """Return how often each network fires: (..., 4) from probabilities or counts by code (..., 16)."""
    return (outcomes[..., :, None] * BITS).sum(-2)


def column_outcomes(silent: Iterable[float], m: int, weights: Weights) -> Values:
    """Return the probability of every outcome of m independent columns, (16,) by code.

    ``silent``, (16,), are the probabilities that one column leaves all networks of a set silent.
    """
    silence = np.array(silent) ** m
    if weights == "shared":
        return outcomes_of_silence(silence)
    alone = silence[[1 << net for net in range(len(NETS))]]
    return np.where(BITS == 1, 1 - alone, alone).prod(1)


def outcomes_of_silence(silent: Values) -> Values:
    """Turn probabilities that a set is silent, others unknown, into those that exactly a set fires.

    Both are (..., 16), by the code of the set.
    """
    out = np.array(silent[..., ::-1], dtype=np.float64)  # by the set that may fire: the complement is silent
    for bit in range(len(NETS)):
        with_bit = np.flatnonzero(BITS[:, bit])
        out[..., with_bit] -= out[..., with_bit ^ 1 << bit]
    return np.clip(out, 0.0, 1.0)


def silence_of_outcomes(outcomes: Values) -> Values:
    """Turn probabilities that exactly a set fires into those that a set is silent."""
    sums = np.array(outcomes, dtype=np.float64)
    for bit in range(len(NETS)):
        with_bit = np.flatnonzero(BITS[:, bit])
        sums[..., with_bit] += sums[..., with_bit ^ 1 << bit]
    return sums[..., ::-1]


def attend(kernel: str, scores: Values) -> Values:
    """Return f over the last axis: softmax for "exp", scores over their sum for "lin"."""
    if kernel == "lin":
        return scores / scores.sum(-1, keepdims=True)
    powers = np.exp(scores - scores.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)


def network_output(products: Values, threshold: float) -> float:
    """Return F: the sum of the inner products' excess over the threshold."""
    return float(np.maximum(np.maximum(products - threshold - GUARD, 0.0).sum(), 0.0))
