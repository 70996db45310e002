"""Monte Carlo by the three kinds of rows: all repeats of a block at once."""

import numpy as np
from numpy.random import SeedSequence
from numpy.typing import NDArray

from nhin.studies.separation.attention_nets.config import AttentionConfig
from nhin.studies.separation.attention_nets.row_products import ColumnSigns, max_row_product
from nhin.studies.separation.attention_nets.samples import BLOCK, AttentionSamples, draw_samples
from nhin.studies.separation.outcomes import GUARD, NETS, sum_outcomes


def count_outcomes(
    config: AttentionConfig, repeats: int, seed: SeedSequence, block: int = BLOCK
) -> NDArray[np.int64]:
    """Count the outcomes of some repeats, (16,) by code; ``block`` signs are drawn at once."""
    blocks = draw_samples(config, repeats, seed, block)
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
