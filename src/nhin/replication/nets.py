"""The four networks of every experiment, and when the experiment succeeds."""

import numpy as np
from numpy.typing import NDArray

# Softmax and linear attention on D1, which holds the spike, and on D0, which does not. The order of every
# last axis of four, and of the bits of every code below 16: bit i of a code is set where network i fires.
NETS = ("exp1", "lin1", "exp0", "lin0")
WORDS = {
    "exp1": "softmax fires on D1",
    "lin1": "linear fires on D1",
    "exp0": "softmax fires on D0",
    "lin0": "linear fires on D0",
}
CODES = 1 << len(NETS)
SUCCESS = 1  # exp1 fires, the others stay silent
BITS = (np.arange(CODES)[:, None] >> np.arange(len(NETS))) & 1  # (16, 4): which fire, by code
GUARD = 1e-12  # strictly above the threshold, rounding aside


def codes(fires: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return which networks fire as one number.

    Args:
        fires: (..., 4), in the order of ``NETS``.
    """
    return fires.astype(np.int64) @ (1 << np.arange(len(NETS)))


def fired(outcomes: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return how often each network fires.

    Args:
        outcomes: (..., 16), probabilities or counts by code.

    Returns:
        (..., 4).
    """
    return (outcomes[..., :, None] * BITS).sum(-2)


def outcomes_of(silent: NDArray[np.float64]) -> NDArray[np.float64]:
    """Turn how often all networks of each set are silent into how often exactly each set fires.

    Args:
        silent: (..., 16), by the code of the set that is silent, others unknown.

    Returns:
        (..., 16), by the code of the set that fires, others silent.
    """
    out = np.array(silent[..., ::-1], dtype=np.float64)  # by the set that may fire: the complement is silent
    for bit in range(len(NETS)):
        with_it = [code for code in range(CODES) if code >> bit & 1]
        out[..., with_it] -= out[..., [code ^ (1 << bit) for code in with_it]]
    return np.clip(out, 0.0, 1.0)


def outcomes_apart(silent: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the same where every network has columns of its own: only its own silence matters."""
    alone = silent[[1 << place for place in range(len(NETS))]]
    return np.where(BITS == 1, 1 - alone, alone).prod(1)


def silent_of(outcomes: NDArray[np.float64]) -> NDArray[np.float64]:
    """Turn how often exactly each set fires into how often all networks of each set are silent."""
    sums = np.array(outcomes, dtype=np.float64)
    for bit in range(len(NETS)):
        with_it = [code for code in range(CODES) if code >> bit & 1]
        sums[..., with_it] += sums[..., [code ^ (1 << bit) for code in with_it]]
    return sums[..., ::-1]
