r"""The kernels that are trained, on batches in float32.

.. math::
    C_t = \sum_s f_{ts} v_s, \qquad f_{ts} = \kappa(q_t, k_s) / \sum_r \kappa(q_t, k_r)

Where scores factor, keys and values are summed once. ``attention_kernels`` has the same formulas for one
matrix in float64; a test compares them.

Source:  arXiv:2310.11685, Definitions 3.4 and 3.5; arXiv:2006.16236, eq. (7), for elu + 1.
Differs: linear attention divides by the sum r of a row of scores, which noise and training carry through
         zero: here 1/r is r / (r^2 + g^2), equal except for r of the size of g and never above 1/(2g).
         "lin-mean" divides by n instead.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

Queries = Float[Tensor, "B T D"]
Keys = Float[Tensor, "B S D"]

GUARD = 0.1  # in units of the mean score of a row, which is ln n times .64 before training


def softmax(q: Queries, k: Keys, v: Keys) -> Queries:
    """Attend with softmax weights, unscaled as in the paper."""
    return (q @ k.mT).softmax(-1) @ v


def linear(q: Queries, k: Keys, v: Keys) -> Queries:
    """Attend with scores over the sum of their row, guarded against sums near zero."""
    mass = q @ k.mean(1)[:, :, None]
    return linear_mean(q, k, v) * (mass / (mass.square() + GUARD**2))


def linear_mean(q: Queries, k: Keys, v: Keys) -> Queries:
    """Attend with scores over the number of keys."""
    return q @ (k.mT @ v / k.shape[1])


def linear_elu(q: Queries, k: Keys, v: Keys) -> Queries:
    """Attend with products of the features elu + 1, normalized."""
    q, k = F.elu(q) + 1, F.elu(k) + 1
    return q @ (k.mT @ v) / (q @ k.sum(1)[:, :, None])


def fourth_power(q: Queries, k: Keys, v: Keys) -> Queries:
    """Attend with the fourth power of scores, normalized."""
    scores = q @ k.mT
    tiny = torch.finfo(scores.dtype).tiny
    # Only ratios within a row matter, and those to its largest score do not overflow.
    scores = scores / scores.detach().abs().amax(-1, keepdim=True).clamp_min(tiny)
    powers = scores.square().square()
    return (powers / powers.sum(-1, keepdim=True).clamp_min(tiny)) @ v


@dataclass(frozen=True, slots=True)
class TrainedKernel:
    """A kernel that is trained: its name in plain words, and the function."""

    title: str
    attend: Callable[[Tensor, Tensor, Tensor], Tensor]


# The last is a control: how well the layer after attention does without attention.
TRAINED_KERNELS = {
    "softmax": TrainedKernel("softmax", softmax),
    "lin": TrainedKernel("linear, normalised", linear),
    "lin-mean": TrainedKernel("linear, over n", linear_mean),
    "elu": TrainedKernel("linear, elu + 1", linear_elu),
    "poly4": TrainedKernel("scores to the power 4", fourth_power),
    "none": TrainedKernel("no attention", lambda q, k, v: q),
}
