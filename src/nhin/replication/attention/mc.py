"""Monte Carlo by the three kinds of rows there are: all repeats of a block at once."""

import numpy as np
from numpy.random import SeedSequence
from numpy.typing import NDArray

from nhin.replication.attention.draws import BLOCK, Draws, draw
from nhin.replication.attention.rows import Column, strongest
from nhin.replication.attention.setting import Setting
from nhin.replication.nets import CODES, GUARD, NETS, codes


def count(setting: Setting, repeats: int, seed: SeedSequence, block: int = BLOCK) -> NDArray[np.int64]:
    """Return how many repeats let exactly each set of networks fire, by code.

    Args:
        setting: Of the experiment.
        repeats: How many.
        seed: Of all that is drawn.
        block: Most signs held at once; changes no count.
    """
    total = np.zeros(CODES, np.int64)
    for draws in draw(setting, repeats, seed, block):
        heard = loudest(setting, draws)
        total += np.bincount(codes(heard > setting.threshold + GUARD), minlength=CODES)
    return total


def loudest(setting: Setting, draws: Draws) -> NDArray[np.float64]:
    """Return the largest inner product of every repeat and network, in units of sqrt(ln n).

    Returns:
        (R, 4), in the order of ``NETS``.
    """
    heard = []
    for place, net in enumerate(NETS):
        dataset = 0 if net.endswith("1") else 1
        y = draws.signs[:, place % draws.signs.shape[1]].astype(np.int64)
        query, key = draws.rows[:, 2 * dataset], draws.rows[:, 2 * dataset + 1]
        query = np.take_along_axis(draws.order, (query % setting.classes)[:, None], 1)[:, 0]
        key = key % setting.classes
        columns = Column(
            first=y[:, 0],
            last=y[:, -1],
            total=y[:, 1:-1].sum(1),
            key=_sign(y, key),
            query=_sign(y, query),
            same=(query == key)[:, None],
        )
        heard.append(strongest(setting, net[:3], setting.spikes[dataset], columns).max(1))
    return np.stack(heard, 1)


def _sign(y: NDArray[np.int64], classes: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the sign of one class of every repeat: (R, m) of (R, d, m)."""
    return np.take_along_axis(y, (classes + 1)[:, None, None], 1)[:, 0]
