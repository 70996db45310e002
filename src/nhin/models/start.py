"""With which weights a language model begins.

small   normal with deviation 0.02, what is added to the sum of 2 L parts less by the root of 2 L: GPT-2's. A
        tied head then starts near the loss of a guess, log V; PyTorch's own start gives several times that.
zero    normal with the deviation that keeps variance; what is added to the sum is zero, so that every block
        begins by doing nothing, and so is a head of its own, so that the loss begins at log V.

With ``order="deep"`` values, outputs and feed-forwards begin smaller by DeepNorm's gain instead.

Source:  Radford et al. 2019; Zhang et al. 2019, arXiv:1901.09321 (zero); Wang et al. 2022, arXiv:2203.00555.
Differs: DeepNorm's gain scales normal weights of the chosen start, not Xavier's.
"""

import torch
from torch import Tensor, nn

from nhin.layers.block import Block, deepnorm
from nhin.layers.experts import Experts
from nhin.layers.feedforward import FeedForward
from nhin.models.design import Design

_SMALL = 0.02


@torch.no_grad()
def begin(model: nn.Module, design: Design) -> None:
    """Draw the weights of a language model from torch's random state."""
    zero = design.start == "zero"
    for module in model.modules():
        if isinstance(module, nn.Linear):
            _normal(module.weight, module.in_features**-0.5 if zero else _SMALL)
            if module.bias is not None:
                module.bias.zero_()
        elif isinstance(module, nn.Embedding):
            _normal(module.weight, _SMALL if design.tied else 1.0 if zero else _SMALL)
        elif isinstance(module, Experts):
            for weight in (module.widen, module.narrow):
                _normal(weight, weight.shape[-1] ** -0.5 if zero else _SMALL)
    for block in (module for module in model.modules() if isinstance(module, Block)):
        _begin_block(block, design)
    head = getattr(model, "head", None)
    if zero and head is not None:
        head.weight.zero_()


def _normal(weight: Tensor, deviation: float) -> None:
    weight.normal_(0.0, deviation)


def _begin_block(block: Block, design: Design) -> None:
    """Scale what a block adds to the sum."""
    ends: list[Tensor] = [block.attention.out.weight]
    inner: list[Tensor] = []
    if isinstance(block.feed, FeedForward):
        ends.append(block.feed.narrow.weight)
        inner.append(block.feed.widen.weight)
    elif isinstance(block.feed, Experts):
        ends.append(block.feed.narrow)
        inner.append(block.feed.widen)
    if design.order == "deep":
        gain = deepnorm(design.depth)[1]
        values = block.attention.key_value.weight
        values[values.shape[0] // 2 :].mul_(gain)
        for weight in (*ends, *inner):
            weight.mul_(gain)
        return
    for weight in ends:
        weight.mul_(0.0 if design.start == "zero" else (2 * design.depth) ** -0.5)
