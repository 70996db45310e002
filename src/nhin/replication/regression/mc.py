r"""Monte Carlo with eight columns at a time: places are summed by the byte of their signs.

.. math::
    \langle f, y_l \rangle = 2 \sum_{v \ni l} S_v - \sum_v S_v, \qquad S_v = \sum_{i :\, byte_i = v} f_i
"""

import numpy as np
from numpy.random import SeedSequence
from numpy.typing import NDArray

from nhin.replication.nets import CODES, GUARD, NETS, codes
from nhin.replication.regression.draws import BLOCK, Draws, draw
from nhin.replication.regression.setting import Setting

_VALUES = 256
_BITS = ((np.arange(_VALUES)[:, None] >> np.arange(8)) & 1).astype(np.float64)


def count(setting: Setting, repeats: int, seed: SeedSequence, block: int = BLOCK) -> NDArray[np.int64]:
    """Return how many repeats let exactly each set of networks fire, by code: (16,)."""
    return counts(setting, repeats, seed, block)[-1]


def counts(setting: Setting, repeats: int, seed: SeedSequence, block: int = BLOCK) -> NDArray[np.int64]:
    """Return ``count`` for the first 1, 2, ..., m columns of one draw: (m, 16)."""
    total = np.zeros((setting.m, CODES), np.int64)
    for draws in draw(setting, repeats, seed, block):
        fires = np.maximum.accumulate(heard(setting, draws), 2) > setting.tau + GUARD
        which = codes(fires.transpose(2, 0, 1))
        for columns, row in enumerate(which):
            total[columns] += np.bincount(row, minlength=CODES)
    return total


def heard(setting: Setting, draws: Draws) -> NDArray[np.float64]:
    """Return the inner product of every repeat, network and column: (R, 4, m)."""
    shares = shared_out(setting, draws.data)
    repeats, _, groups, _ = draws.signs.shape
    first = np.arange(repeats)[:, None] * _VALUES
    out = np.empty((repeats, len(NETS), groups, 8))
    for net in range(len(NETS)):
        weights = shares[:, net].reshape(-1)
        for group in range(groups):
            places = first + draws.signs[:, net % draws.signs.shape[1], group]
            sums = np.bincount(places.reshape(-1), weights, repeats * _VALUES).reshape(repeats, _VALUES)
            out[:, net, group] = 2 * np.einsum("rv,vb->rb", sums, _BITS) - sums.sum(1)[:, None]
    return out.reshape(repeats, len(NETS), groups * 8)[:, :, : setting.m]


def shared_out(setting: Setting, data: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return f of the four networks: (R, 4, n) of (R, 2, n)."""
    raised = np.exp((data - data.max(2, keepdims=True)) * setting.log_n)
    f = np.stack([raised[:, 0], data[:, 0], raised[:, 1], data[:, 1]], 1)
    f /= f.sum(2, keepdims=True)
    return f
