"""The definitions, one repeat after the other, with every matrix: the reference of the two fast methods."""

import math
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from numpy.random import SeedSequence
from numpy.typing import NDArray

from nhin.errors import UsageError
from nhin.studies.separation.config import AttentionConfig, RegressionConfig
from nhin.studies.separation.options import Inner
from nhin.studies.separation.outcomes import NETS, Values, attend, network_output, sum_outcomes
from nhin.studies.separation.samples import (
    AttentionSamples,
    RegressionSamples,
    draw_attention,
    draw_regression,
    unpack_signs,
)

_MAX_SCORES = 1 << 26  # numbers of one n x n matrix: half a gigabyte
Products = Iterator[tuple[int, int, Values]]


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


def attention_products(config: AttentionConfig, samples: AttentionSamples) -> Products:
    """Yield repeat, network and the inner products of all rows and columns, in units of sqrt(ln n)."""
    if config.n * config.n > _MAX_SCORES:
        raise UsageError(
            f"n is {config.n}: the dense method forms n x n matrices, at most {math.isqrt(_MAX_SCORES)} "
            "rows; mc and exact form none"
        )
    unit = math.sqrt(config.log_n)
    for repeat, rows in enumerate(samples.rows):
        for dataset, a in enumerate(config.spikes):
            a2 = build_matrix(config, a, int(rows[2 * dataset + 1]))
            a1 = build_queries(config, a, int(rows[2 * dataset]), samples.order[repeat])
            scores = score_matrix(config.inner, a1, a2)
            for net in (2 * dataset, 2 * dataset + 1):
                y = samples.signs[repeat, net % samples.signs.shape[1]].astype(np.float64)
                yield repeat, net, (attend(NETS[net][:3], scores) @ a2) @ y / unit


def regression_products(config: RegressionConfig, samples: RegressionSamples) -> Products:
    """Yield repeat, network and the inner product with every column."""
    for repeat, data in enumerate(samples.data):
        for net, name in enumerate(NETS):
            scores = data[0 if name.endswith("1") else 1] * config.log_n
            signs = samples.signs[repeat, net % samples.signs.shape[1]]
            yield repeat, net, attend(name[:3], scores) @ unpack_signs(signs, config.m).astype(np.float64)


def count_outcomes(
    config: AttentionConfig | RegressionConfig, repeats: int, seed: SeedSequence, drawn: int | None = None
) -> NDArray[np.int64]:
    """Count the outcomes of some repeats, (16,) by code; slow: see ``monte_carlo``.

    Of ``drawn`` columns of the regression the first m are used; no more are drawn when it is None.
    """
    if isinstance(config, AttentionConfig):
        blocks = (
            (len(samples.rows), attention_products(config, samples))
            for samples in draw_attention(config, repeats, seed)
        )
    else:
        blocks = (
            (len(samples.data), regression_products(config, samples))
            for samples in draw_regression(replace(config, m=drawn or config.m), repeats, seed)
        )
    return sum_outcomes(_fires(count, products, config.threshold) for count, products in blocks)


def _fires(repeats: int, products: Products, threshold: float) -> NDArray[np.bool_]:
    out = np.zeros((repeats, len(NETS)), bool)
    for repeat, net, values in products:
        out[repeat, net] = network_output(values, threshold) > 0
    return out
