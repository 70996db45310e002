"""The blocks of a language model, built from a settled design."""

from torch import nn

from nhin.layers.block import Block, deepnorm
from nhin.layers.mlp import MLP
from nhin.layers.moe import MixtureOfExperts
from nhin.layers.multihead import MultiHead
from nhin.models.config import ModelConfig, PositionConfig


def build_block(config: ModelConfig, positions: PositionConfig, layer: int) -> Block:
    """Build one block."""
    dim, heads = config.dim or 0, config.heads or 1
    settings = dict(config.settings)
    if config.mechanism == "interleaved" and "layer" not in settings:
        settings["layer"] = layer
    attention = MultiHead(
        dim,
        heads,
        kv_heads=config.kv_heads,
        mechanism=config.mechanism,
        settings=settings,
        rotary=positions.rotary,
        qk_norm=config.qk_norm,
        bias=config.bias,
        dropout=config.dropout,
    )
    alpha = deepnorm(config.depth)[0]
    order, eps = config.order, config.eps
    return Block(dim, attention, build_mlp(config), norm=config.norm, order=order, alpha=alpha, eps=eps)


def build_mlp(config: ModelConfig) -> nn.Module | None:
    """Build what follows attention in a block."""
    dim = config.dim or 0
    if config.feed == "none":
        return None
    if config.experts:
        return MixtureOfExperts(
            dim,
            config.experts,
            active=config.active,
            expand=config.expand,
            activation=config.feed,
            dropout=config.dropout,
            inner=config.inner,
        )
    return MLP(
        dim,
        expand=config.expand,
        activation=config.feed,
        bias=config.bias,
        dropout=config.dropout,
        inner=config.inner,
    )
