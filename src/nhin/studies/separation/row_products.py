r"""The largest inner product of a row of C with a column of signs, without forming a matrix.

All rows of :math:`A` of one class are equal, the spike aside, so a dataset has at most three kinds of rows:
those of any other class than the spike key's, those of the spike key's class, and the one with the spike
query. In units of :math:`\sqrt{\ln n}`, the inner product of each with a column y is

.. math::
    \langle C_{row}, y \rangle = \alpha y_1 + \beta T + \gamma s_{own} + \delta s_{key} + c\, y_d

with T the sum of the K class signs, :math:`s_{own}` the sign of the row's class and :math:`s_{key}` that of
the spike key's. A row whose query has a spike of size :math:`a_q` gives a matching key the weight
:math:`w_o = g(L(b^2 + c^2))`, any other :math:`w_t = g(L c^2)`, and the spike key
:math:`w_s = g(L(a_q a + b^2 [own = key] + c^2))`, where :math:`L = \ln n` and g is exp or the identity.
With X = 1 scores are products of row sums instead: :math:`w_n = g(L r q)` and :math:`w_s = g(L r (a + q))`,
with :math:`q = b + c` and :math:`r = q + a_q`.

Source: arXiv:2310.11685, Definitions 6.1 and C.1 to C.6, worked out.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nhin.studies.separation.config import AttentionConfig

Signs = NDArray[np.int64]
Values = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class RowTerms:
    """The coefficients of one kind of row: alpha y_1 + beta T + gamma s_own + delta s_key + c y_d."""

    alpha: float
    beta: float
    gamma: float
    delta: float


@dataclass(frozen=True, slots=True)
class ColumnSigns:
    """The signs of columns that matter to the rows of one dataset; arrays of one shape."""

    first: Signs  # y_1, which multiplies the spike
    last: Signs  # y_d, which multiplies the constant column
    total: Signs  # T, the sum of the signs of all classes
    key: Signs  # the sign of the class of the spike key
    query: Signs  # the sign of the class of the spike query
    same: NDArray[np.bool_]  # whether those two are one class


def row_terms(config: AttentionConfig, kernel: str, a: float, query: float, own_is_key: bool) -> RowTerms:
    """Return the coefficients of a row by the kernel "exp" or "lin".

    ``a`` and ``query`` are the spikes of the key and of this row's query, 0 when it has none; ``own_is_key``:
    whether the row is of the class of the spike key.
    """
    n, b, t = config.n, config.b, config.copies
    if config.inner == "ones":
        level = config.b + config.c
        plain, spike = _key_weights(kernel, config.log_n * (level + query), (level, a + level))
        z = (n - 1) * plain + spike
        return RowTerms(a * spike / z, b * t * plain / z, 0.0, b * (spike - plain) / z)
    match, other = b * b + config.c**2, config.c**2
    at_key = match if own_is_key else other
    scores = (match, other, at_key, query * a + at_key)
    same, rest, before, spike = _key_weights(kernel, config.log_n, scores)
    z = t * same + (n - t) * rest + spike - before
    return RowTerms(a * spike / z, b * t * rest / z, b * t * (same - rest) / z, b * (spike - before) / z)


def max_row_product(config: AttentionConfig, kernel: str, a: float, y: ColumnSigns) -> Values:
    """Return the largest inner product of any row of a dataset, with spike a, with each of the columns y."""

    def product(row: RowTerms, own: Signs) -> Values:
        terms = row.alpha * y.first + row.beta * y.total + row.gamma * own + row.delta * y.key
        return terms + config.c * y.last

    spike = config.query_spike(a)
    plain = 0.0 if config.has_spike_row else spike
    # With one row to a class, the row with the spike is all its class has.
    alone = config.has_spike_row and config.copies == 1
    plus = (y.total + config.classes) // 2 - (y.key > 0)
    minus = (config.classes - y.total) // 2 - (y.key < 0)
    if alone:
        plus = plus - (~y.same & (y.query > 0))
        minus = minus - (~y.same & (y.query < 0))
    best = np.full(np.shape(y.first), -np.inf)
    other = row_terms(config, kernel, a, plain, False)
    for count, sign in ((plus, 1), (minus, -1)):
        best = np.where(count > 0, np.maximum(best, product(other, np.full_like(y.key, sign))), best)
    of_key = product(row_terms(config, kernel, a, plain, True), y.key)
    best = np.where(~y.same | (not alone), np.maximum(best, of_key), best)
    if config.has_spike_row:
        same, apart = (product(row_terms(config, kernel, a, spike, own), y.query) for own in (True, False))
        best = np.maximum(best, np.where(y.same, same, apart))
    return best


def _key_weights(kernel: str, scale: float, scores: tuple[float, ...]) -> tuple[float, ...]:
    """Return the weights of scores up to a common factor; exponentials relative to the largest."""
    if kernel == "lin":
        return scores
    top = max(scores)
    return tuple(math.exp(scale * (score - top)) for score in scores)
