r"""What the strongest row of an attention says to one column of signs: no matrix is formed.

All rows of :math:`A` of one class are alike, the spike aside, so a dataset has at most three kinds of rows:
those of any other class than the spike key's, those of the spike key's class, and the one with the spike
query. In units of :math:`\sqrt{\ln n}`, each says to a column y

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
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nhin.replication.attention.setting import Setting

Signs = NDArray[np.int64]
Values = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Row:
    """What one kind of row says: alpha y_1 + beta T + gamma s_own + delta s_key + c y_d."""

    alpha: float
    beta: float
    gamma: float
    delta: float


@dataclass(frozen=True, slots=True)
class Column:
    """Columns of signs, as far as rows of one dataset hear them; arrays of one shape.

    Args:
        first: y_1, which the spike multiplies.
        last: y_d, which the constant column multiplies.
        total: T, the sum of the signs of all classes.
        key: The sign of the class of the spike key.
        query: The sign of the class of the spike query.
        same: Whether those two are one class.
    """

    first: Signs
    last: Signs
    total: Signs
    key: Signs
    query: Signs
    same: NDArray[np.bool_]


def row(setting: Setting, kernel: str, a: float, query: float, own_is_key: bool) -> Row:
    """Return what a row says.

    Args:
        setting: Of the experiment.
        kernel: "exp" or "lin".
        a: Spike of the key.
        query: Spike of this row's query; 0 when it has none.
        own_is_key: Whether the row is of the class of the spike key.
    """
    n, b, t = setting.n, setting.b, setting.copies
    if setting.inner == "ones":
        level = setting.b + setting.c
        plain, spike = _weights(kernel, setting.log_n * (level + query), (level, a + level))
        z = (n - 1) * plain + spike
        return Row(a * spike / z, b * t * plain / z, 0.0, b * (spike - plain) / z)
    match, other = b * b + setting.c**2, setting.c**2
    at_key = match if own_is_key else other
    same, rest, before, spike = _weights(kernel, setting.log_n, (match, other, at_key, query * a + at_key))
    z = t * same + (n - t) * rest + spike - before
    return Row(a * spike / z, b * t * rest / z, b * t * (same - rest) / z, b * (spike - before) / z)


def strongest(setting: Setting, kernel: str, a: float, y: Column) -> Values:
    """Return the largest inner product of any row of one dataset with each column.

    Args:
        setting: Of the experiment.
        kernel: "exp" or "lin".
        a: Spike of the dataset.
        y: The columns.
    """
    usual = 0.0 if setting.lone else setting.query_spike(a)
    # With one row to a class, the row with the spike is all its class has.
    emptied = setting.lone and setting.copies == 1
    say = _speaker(setting, y)
    best = np.full(np.shape(y.first), -np.inf)
    plus = (y.total + setting.classes) // 2 - (y.key > 0)
    minus = (setting.classes - y.total) // 2 - (y.key < 0)
    if emptied:
        plus = plus - (~y.same & (y.query > 0))
        minus = minus - (~y.same & (y.query < 0))
    other = row(setting, kernel, a, usual, False)
    for left, sign in ((plus, 1), (minus, -1)):
        best = np.where(left > 0, np.maximum(best, say(other, np.full_like(y.key, sign))), best)
    of_key = say(row(setting, kernel, a, usual, True), y.key)
    best = np.where(~y.same | (not emptied), np.maximum(best, of_key), best)
    if setting.lone:
        spike = setting.query_spike(a)
        alike, apart = (say(row(setting, kernel, a, spike, own), y.query) for own in (True, False))
        best = np.maximum(best, np.where(y.same, alike, apart))
    return best


def _speaker(setting: Setting, y: Column) -> Callable[[Row, Signs], Values]:
    def say(r: Row, own: Signs) -> Values:
        heard = r.alpha * y.first + r.beta * y.total + r.gamma * own + r.delta * y.key
        return heard + setting.c * y.last

    return say


def _weights(kernel: str, scale: float, scores: tuple[float, ...]) -> tuple[float, ...]:
    """Return the weights of scores up to a common factor; exponentials relative to the largest."""
    if kernel == "lin":
        return scores
    top = max(scores)
    return tuple(math.exp(scale * (score - top)) for score in scores)
