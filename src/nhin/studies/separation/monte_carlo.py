r"""Monte Carlo, all repeats of a block at once.

Attention: by the three kinds of rows, see ``row_products``. Regression: eight columns at a time, with entries
summed by the byte of their signs:

.. math::
    \langle f, y_l \rangle = 2 \sum_{v \ni l} S_v - \sum_v S_v, \qquad S_v = \sum_{i :\, byte_i = v} f_i
"""

import numpy as np
from numpy.random import SeedSequence
from numpy.typing import NDArray

from nhin.studies.separation.config import AttentionConfig, RegressionConfig
from nhin.studies.separation.outcomes import CODES, GUARD, NETS, encode_outcomes, sum_outcomes
from nhin.studies.separation.row_products import ColumnSigns, max_row_product
from nhin.studies.separation.samples import (
    BLOCK,
    AttentionSamples,
    RegressionSamples,
    draw_attention,
    draw_regression,
)

_VALUES = 256
_BITS = ((np.arange(_VALUES)[:, None] >> np.arange(8)) & 1).astype(np.float64)


def count_outcomes(
    config: AttentionConfig | RegressionConfig, repeats: int, seed: SeedSequence, block: int = BLOCK
) -> NDArray[np.int64]:
    """Count the outcomes of some repeats, (16,) by code; ``block`` numbers are drawn at once."""
    if isinstance(config, RegressionConfig):
        return count_nested(config, repeats, seed, block)[-1]
    blocks = draw_attention(config, repeats, seed, block)
    return sum_outcomes(max_products(config, samples) > config.threshold + GUARD for samples in blocks)


def max_products(config: AttentionConfig, samples: AttentionSamples) -> NDArray[np.float64]:
    """Return the largest inner product of every repeat and network, in units of sqrt(ln n): (R, 4)."""
    products = []
    for number, net in enumerate(NETS):
        dataset = 0 if net.endswith("1") else 1
        y = samples.signs[:, number % samples.signs.shape[1]].astype(np.int64)
        query, key = samples.rows[:, 2 * dataset], samples.rows[:, 2 * dataset + 1]
        query = np.take_along_axis(samples.order, (query % config.classes)[:, None], 1)[:, 0]
        key = key % config.classes
        columns = ColumnSigns(
            first=y[:, 0],
            last=y[:, -1],
            total=y[:, 1:-1].sum(1),
            key=_class_sign(y, key),
            query=_class_sign(y, query),
            same=(query == key)[:, None],
        )
        products.append(max_row_product(config, net[:3], config.spikes[dataset], columns).max(1))
    return np.stack(products, 1)


def _class_sign(y: NDArray[np.int64], classes: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the sign of one class of every repeat: (R, m) of (R, d, m)."""
    return np.take_along_axis(y, (classes + 1)[:, None, None], 1)[:, 0]


def count_nested(
    config: RegressionConfig, repeats: int, seed: SeedSequence, block: int = BLOCK
) -> NDArray[np.int64]:
    """Count the outcomes with the first 1, 2, ..., m columns of the same samples: (m, 16)."""
    total = np.zeros((config.m, CODES), np.int64)
    for samples in draw_regression(config, repeats, seed, block):
        fires = np.maximum.accumulate(column_products(config, samples), 2) > config.tau + GUARD
        for columns, codes in enumerate(encode_outcomes(fires.transpose(2, 0, 1))):
            total[columns] += np.bincount(codes, minlength=CODES)
    return total


def column_products(config: RegressionConfig, samples: RegressionSamples) -> NDArray[np.float64]:
    """Return the inner product of every repeat, network and column: (R, 4, m)."""
    f = network_weights(config, samples.data)
    repeats, _, groups, _ = samples.signs.shape
    first = np.arange(repeats)[:, None] * _VALUES
    out = np.empty((repeats, len(NETS), groups, 8))
    for net in range(len(NETS)):
        weights = f[:, net].reshape(-1)
        for group in range(groups):
            slots = first + samples.signs[:, net % samples.signs.shape[1], group]
            sums = np.bincount(slots.reshape(-1), weights, repeats * _VALUES).reshape(repeats, _VALUES)
            out[:, net, group] = 2 * np.einsum("rv,vb->rb", sums, _BITS) - sums.sum(1)[:, None]
    return out.reshape(repeats, len(NETS), groups * 8)[:, :, : config.m]


def network_weights(config: RegressionConfig, data: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return f of the four networks: (R, 4, n) of (R, 2, n)."""
    powers = np.exp((data - data.max(2, keepdims=True)) * config.log_n)
    f = np.stack([powers[:, 0], data[:, 0], powers[:, 1], data[:, 1]], 1)
    f /= f.sum(2, keepdims=True)
    return f
