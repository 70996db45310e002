"""The definition, step by step, with every matrix there is: the reference of the two fast methods."""

import math
from collections.abc import Iterator

import numpy as np
from numpy.random import SeedSequence
from numpy.typing import NDArray

from nhin.errors import UsageError
from nhin.replication.attention.draws import Draws, draw
from nhin.replication.attention.setting import Setting
from nhin.replication.choices import Inner
from nhin.replication.nets import CODES, GUARD, NETS, codes

Matrix = NDArray[np.float64]
MOST = 1 << 26  # numbers of one n x n matrix: half a gigabyte


def matrix(setting: Setting, a: float, row: int | None, order: NDArray[np.int64] | None = None) -> Matrix:
    """Return A of Def. 6.1 times 1.

    Args:
        setting: Gives the sizes, b and c.
        a: The spike.
        row: Where it stands; every row when None.
        order: The class of each class of rows; as they stand when None.
    """
    s = math.sqrt(setting.log_n)
    classes = np.tile(np.arange(setting.classes) if order is None else order, setting.copies)
    out = np.zeros((setting.n, setting.d))
    out[slice(None) if row is None else row, 0] = a * s
    out[np.arange(setting.n), 1 + classes] = setting.b * s
    out[:, -1] = setting.c * s
    return out


def queries(setting: Setting, a: float, row: int, order: NDArray[np.int64]) -> Matrix:
    """Return A1: of the keys' kind in self-attention, else as the definition of cross-attention says."""
    everywhere = setting.kind == "c3"
    return matrix(setting, setting.query_spike(a), None if everywhere else row, order)


def scores(inner: Inner, a1: Matrix, a2: Matrix) -> Matrix:
    """Return S = A1 X A2^T."""
    d = a1.shape[1]
    return a1 @ (np.eye(d) if inner == "eye" else np.ones((d, d))) @ a2.T


def attend(kernel: str, s: Matrix) -> Matrix:
    """Return f: softmax of each row for "exp", each row over its sum for "lin"."""
    if kernel == "lin":
        return s / s.sum(1, keepdims=True)
    raised = np.exp(s - s.max(1, keepdims=True))
    return raised / raised.sum(1, keepdims=True)


def network(setting: Setting, f: Matrix, values: Matrix, y: NDArray[np.int8]) -> float:
    """Return F: the sum over rows and columns of what exceeds the threshold, in units of sqrt(ln n)."""
    s = math.sqrt(setting.log_n)
    heard = (f @ values) @ y.astype(np.float64) / s
    return float(np.maximum(np.maximum(heard - setting.threshold - GUARD, 0.0).sum(), 0.0))


def repeats_of(setting: Setting, draws: Draws) -> Iterator[tuple[int, int, Matrix, Matrix, NDArray[np.int8]]]:
    """Yield repeat, network, f, A3 and y, one after the other."""
    if setting.n * setting.n > MOST:
        raise UsageError(
            f"n is {setting.n}: the dense method forms n x n matrices, at most {math.isqrt(MOST)} rows; "
            "mc and exact form none"
        )
    for repeat, rows in enumerate(draws.rows):
        for dataset, a in enumerate(setting.spikes):
            a2 = matrix(setting, a, int(rows[2 * dataset + 1]))
            a1 = queries(setting, a, int(rows[2 * dataset]), draws.order[repeat])
            s = scores(setting.inner, a1, a2)
            for place in (2 * dataset, 2 * dataset + 1):
                y = draws.signs[repeat, place % draws.signs.shape[1]]
                yield repeat, place, attend(NETS[place][:3], s), a2, y


def count(setting: Setting, repeats: int, seed: SeedSequence) -> NDArray[np.int64]:
    """Return how many repeats let exactly each set of networks fire, by code; slow: see ``mc``."""
    total = np.zeros(CODES, np.int64)
    for draws in draw(setting, repeats, seed):
        fires = np.zeros((len(draws.rows), len(NETS)), bool)
        for repeat, place, f, values, y in repeats_of(setting, draws):
            fires[repeat, place] = network(setting, f, values, y) > 0
        total += np.bincount(codes(fires), minlength=CODES)
    return total
