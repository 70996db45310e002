"""The definition, step by step, one repeat after the other: the reference of the two fast methods."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from numpy.random import SeedSequence
from numpy.typing import NDArray

from nhin.replication.nets import CODES, GUARD, NETS, codes
from nhin.replication.regression.draws import Draws, draw, unpacked
from nhin.replication.regression.setting import Setting

Vector = NDArray[np.float64]


def attend(kernel: str, ax: Vector) -> Vector:
    """Return f: softmax of Ax for "exp", Ax over its sum for "lin"."""
    if kernel == "lin":
        return ax / ax.sum()
    raised = np.exp(ax - ax.max())
    return raised / raised.sum()


def network(setting: Setting, f: Vector, y: NDArray[np.int8]) -> float:
    """Return F: the sum over columns of what exceeds the threshold."""
    said = f @ y.astype(np.float64)
    return float(np.maximum(np.maximum(said - setting.tau - GUARD, 0.0).sum(), 0.0))


def repeats_of(setting: Setting, draws: Draws) -> Iterator[tuple[int, int, Vector, NDArray[np.int8]]]:
    """Yield repeat, network, f and y, one after the other."""
    for repeat, data in enumerate(draws.data):
        for net, name in enumerate(NETS):
            ax = data[0 if name.endswith("1") else 1] * setting.log_n
            signs = draws.signs[repeat, net % draws.signs.shape[1]]
            yield repeat, net, attend(name[:3], ax), unpacked(signs, setting.m)


def count(setting: Setting, repeats: int, seed: SeedSequence, drawn: int | None = None) -> NDArray[np.int64]:
    """Return how many repeats let exactly each set of networks fire, by code; slow: see ``mc``.

    Args:
        setting: Of the experiment.
        repeats: How many.
        seed: Of all that is drawn.
        drawn: Columns that are drawn, of which the first m are used; m when None.
    """
    total = np.zeros(CODES, np.int64)
    for draws in draw(replace(setting, m=drawn or setting.m), repeats, seed):
        fires = np.zeros((len(draws.data), len(NETS)), bool)
        for repeat, net, f, y in repeats_of(setting, draws):
            fires[repeat, net] = network(setting, f, y) > 0
        total += np.bincount(codes(fires), minlength=CODES)
    return total
