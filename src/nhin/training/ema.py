r"""An exponential moving average (EMA) of a model's weights: steadier than the weights, and what is shipped.

.. math::
    \bar w_t = d_t \bar w_{t-1} + (1 - d_t) w_t, \qquad d_t = \min(d, \frac{1 + t}{10 + t})

The decay rises to ``d``, so that the random weights of the first steps soon count for nothing.
"""

import copy
from typing import TypeVar

import torch
from torch import nn

M = TypeVar("M", bound=nn.Module)


def init_ema(model: M) -> M:
    """Return a copy of a model to keep its average in; ``update_ema`` changes it."""
    return copy.deepcopy(model).eval().requires_grad_(False)


@torch.no_grad()
def update_ema(ema: nn.Module, model: nn.Module, decay: float, step: int) -> None:
    """Move the average towards the model as it is after ``step``; integer buffers are copied."""
    weight = 1.0 - min(decay, (1.0 + step) / (10.0 + step))
    averages = ema.state_dict()
    for name, new in model.state_dict().items():
        if new.is_floating_point():
            averages[name].lerp_(new, weight)
        else:
            averages[name].copy_(new)
