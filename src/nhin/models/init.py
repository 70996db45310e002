"""Initial weights of a language model.

small   normal with standard deviation 0.02; the last weights of each of the 2 L sublayers are divided by
        sqrt(2 L), as in GPT-2. The loss of a tied head then starts near log V; PyTorch's defaults give
        several times that.
zero    normal with the standard deviation that keeps the variance; the last weights of each sublayer and an
        untied head are zero, so that every block starts as the identity, and the loss at log V.

With ``order="deep"`` blocks start as DeepNorm says instead: Xavier's standard deviation, times its gain for
values, outputs and MLPs.

Source:  Radford et al. 2019; Zhang et al. 2019, arXiv:1901.09321 (zero); Wang et al. 2022, arXiv:2203.00555.
Differs: nothing.
"""

import torch
from torch import Tensor, nn

from nhin.layers.block import Block, deepnorm
from nhin.layers.mlp import MLP
from nhin.layers.moe import MixtureOfExperts
from nhin.models.config import ModelConfig

_STD = 0.02


@torch.no_grad()
def init_weights(model: nn.Module, config: ModelConfig) -> None:
    """Draw the weights of a language model from torch's random state."""
    zero = config.init == "zero"
    for module in model.modules():
        if isinstance(module, nn.Linear):
            _init_normal(module.weight, module.in_features**-0.5 if zero else _STD)
            if module.bias is not None:
                module.bias.zero_()
        elif isinstance(module, nn.Embedding):
            _init_normal(module.weight, _STD if config.tie_embeddings else 1.0 if zero else _STD)
        elif isinstance(module, MixtureOfExperts):
            for weight in (module.up_proj, module.down_proj):
                _init_normal(weight, weight.shape[-1] ** -0.5 if zero else _STD)
    for block in (module for module in model.modules() if isinstance(module, Block)):
        if config.norm_order == "deep":
            _init_deepnorm(block, deepnorm(config.depth)[1])
            continue
        for weight in (block.attention.out.weight, *_mlp_weights(block)[1:]):
            weight.mul_(0.0 if zero else (2 * config.depth) ** -0.5)
    head = getattr(model, "head", None)
    if zero and head is not None:
        head.weight.zero_()


def _init_normal(weight: Tensor, std: float) -> None:
    weight.normal_(0.0, std)


def _init_deepnorm(block: Block, gain: float) -> None:
    """Draw Xavier's weights; ``gain`` scales those of values, outputs and MLPs."""
    keys, values = block.attention.key_value.weight.chunk(2)
    for weight in (block.attention.query.weight, keys):
        _init_normal(weight, _xavier_std(weight))
    mlp = _mlp_weights(block)
    gated = getattr(block.mlp, "activation", "") == "swiglu"
    hidden = [part for weight in mlp[:1] for part in weight.chunk(2 if gated else 1, -2)]
    for weight in (values, block.attention.out.weight, *hidden, *mlp[1:]):
        _init_normal(weight, gain * _xavier_std(weight))


def _xavier_std(weight: Tensor) -> float:
    return (2 / (weight.shape[-1] + weight.shape[-2])) ** 0.5


def _mlp_weights(block: Block) -> list[Tensor]:
    """Return the first and second matrix of an MLP or of all experts; none without."""
    if isinstance(block.mlp, MLP):
        return [block.mlp.up_proj.weight, block.mlp.down_proj.weight]
    return [block.mlp.up_proj, block.mlp.down_proj] if isinstance(block.mlp, MixtureOfExperts) else []
