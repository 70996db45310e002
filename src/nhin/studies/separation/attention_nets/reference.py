"""The definition with every matrix: the reference of the two fast methods."""

import math
from collections.abc import Iterator

import numpy as np
from numpy.random import SeedSequence
from numpy.typing import NDArray

from nhin.errors import UsageError
from nhin.studies.separation.attention_nets.config import AttentionConfig
from nhin.studies.separation.attention_nets.samples import AttentionSamples, draw_samples
from nhin.studies.separation.options import Inner
from nhin.studies.separation.outcomes import NETS, Values, attend, network_output, sum_outcomes

MAX_SCORES = 1 << 26  # numbers of one n x n matrix: half a gigabyte


def build_matrix(
    config: AttentionConfig, a: float, row: int | None, order: NDArray[np.int64] | None = None
) -> Values:
    """Return A of Def. 6.1, with spike a in one row or, when None, in all; ``order`` permutes the classes."""
    s = math.sqrt(config.log_n)
    classes = np.tile(np.arange(config.classes) if order is None else order, config.copies)
    out = np.zeros((config.n, config.d))
    out[slice(None) if row is None else row, 0] = a * s
    out[np.arange(config.n), 1 + classes] = config.b * s
    out[:, -1] = config.c * s
    return out


def build_queries(config: AttentionConfig, a: float, row: int, order: NDArray[np.int64]) -> Values:
    """Return A1: like the keys in self-attention, else as the definition of cross-attention says."""
    return build_matrix(config, config.query_spike(a), None if config.kind == "c3" else row, order)


def score_matrix(inner: Inner, a1: Values, a2: Values) -> Values:
    """Return S = A1 X A2^T."""
    d = a1.shape[1]
    return a1 @ (np.eye(d) if inner == "eye" else np.ones((d, d))) @ a2.T


def iter_networks(
    config: AttentionConfig, samples: AttentionSamples
) -> Iterator[tuple[int, int, Values, Values, NDArray[np.int8]]]:
    """Yield repeat, network, f, A3 and y.

    Raises:
        UsageError: The matrices do not fit in memory.
    """
    if config.n * config.n > MAX_SCORES:
        raise UsageError(
            f"n is {config.n}: the dense method forms n x n matrices, at most {math.isqrt(MAX_SCORES)} rows; "
            "mc and exact form none"
        )
    for repeat, rows in enumerate(samples.rows):
        for dataset, a in enumerate(config.spikes):
            a2 = build_matrix(config, a, int(rows[2 * dataset + 1]))
            a1 = build_queries(config, a, int(rows[2 * dataset]), samples.order[repeat])
            scores = score_matrix(config.inner, a1, a2)
            for net in (2 * dataset, 2 * dataset + 1):
                y = samples.signs[repeat, net % samples.signs.shape[1]]
                yield repeat, net, attend(NETS[net][:3], scores), a2, y


def count_outcomes(config: AttentionConfig, repeats: int, seed: SeedSequence) -> NDArray[np.int64]:
    """Count the outcomes of some repeats, (16,) by code; slow: see ``monte_carlo``."""
    unit = math.sqrt(config.log_n)

    def fires(samples: AttentionSamples) -> NDArray[np.bool_]:
        out = np.zeros((len(samples.rows), len(NETS)), bool)
        for repeat, net, f, values, y in iter_networks(config, samples):
            products = (f @ values) @ y.astype(np.float64) / unit
            out[repeat, net] = network_output(products, config.threshold) > 0
        return out

    return sum_outcomes(map(fires, draw_samples(config, repeats, seed)))
