"""With which weights a language model begins.

small   normal with deviation 0.02, what is added to the sum of 2 L parts less by the root of 2 L: GPT-2's. A
        tied head then starts near the loss of a guess, log V; PyTorch's own start gives several times that.
zero    normal with the deviation that keeps variance; what is added to the sum is zero, so that every block
        begins by doing nothing, and so is a head of its own, so that the loss begins at log V.

With ``order="deep"`` blocks begin as DeepNorm says instead: Xavier's deviation, less by its gain for values,
outputs and feed-forwards.

Source:  Radford et al. 2019; Zhang et al. 2019, arXiv:1901.09321 (zero); Wang et al. 2022, arXiv:2203.00555.
Differs: nothing.
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
        if design.order == "deep":
            _begin_deep(block, deepnorm(design.depth)[1])
            continue
        for weight in (block.attention.out.weight, *_feed(block)[1:]):
            weight.mul_(0.0 if zero else (2 * design.depth) ** -0.5)
    head = getattr(model, "head", None)
    if zero and head is not None:
        head.weight.zero_()


def _normal(weight: Tensor, deviation: float) -> None:
    weight.normal_(0.0, deviation)


def _begin_deep(block: Block, gain: float) -> None:
    """Draw Xavier's weights, those of values, outputs and feed-forwards less by ``gain``."""
    keys, values = block.attention.key_value.weight.chunk(2)
    for weight in (block.attention.query.weight, keys):
        _normal(weight, _xavier(weight))
    widens, narrow = _feed(block)[:1], _feed(block)[1:]
    gated = getattr(block.feed, "bend", "") == "swiglu"
    inner = [part for weight in widens for part in weight.chunk(2 if gated else 1, -2)]
    for weight in (values, block.attention.out.weight, *inner, *narrow):
        _normal(weight, gain * _xavier(weight))


def _xavier(weight: Tensor) -> float:
    return (2 / (weight.shape[-1] + weight.shape[-2])) ** 0.5


def _feed(block: Block) -> list[Tensor]:
    """Return the matrices of what follows attention: what widens, what narrows."""
    if isinstance(block.feed, FeedForward):
        return [block.feed.widen.weight, block.feed.narrow.weight]
    return [block.feed.widen, block.feed.narrow] if isinstance(block.feed, Experts) else []
