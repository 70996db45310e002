"""An exponential moving average (EMA) of the weights: steadier than the weights, and what is shipped."""

import copy
from typing import Generic, TypeVar

import torch
from torch import nn

M = TypeVar("M", bound=nn.Module)


class EMA(Generic[M]):
    r"""Keep an exponential moving average of a model's weights.

    .. math::
        \bar w_t = d_t \bar w_{t-1} + (1 - d_t) w_t, \qquad d_t = \min(d, \frac{1 + t}{10 + t})

    The decay rises to ``d``, so that the random weights of the beginning are soon forgotten.
    """

    def __init__(self, model: M, decay: float = 0.999) -> None:
        """Start from a copy of the model's weights; whole numbers are copied, not averaged."""
        self.decay = decay
        self.model: M = copy.deepcopy(model).eval().requires_grad_(False)

    @torch.no_grad()
    def update(self, model: nn.Module, step: int) -> None:
        """Move the mean towards the model as it is after step number ``step``."""
        share = 1.0 - min(self.decay, (1.0 + step) / (10.0 + step))
        means, news = self.model.state_dict(), model.state_dict()
        for name, new in news.items():
            if new.is_floating_point():
                means[name].lerp_(new, share)
            else:
                means[name].copy_(new)
