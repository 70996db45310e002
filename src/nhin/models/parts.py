"""The blocks of a language model, built from a settled design."""

from torch import nn

from nhin.layers.block import Block, deepnorm
from nhin.layers.experts import Experts
from nhin.layers.feedforward import FeedForward
from nhin.layers.multihead import MultiHead
from nhin.models.design import Design, Places


def block(design: Design, where: Places, layer: int) -> Block:
    """Build one block."""
    dim, heads = design.dim or 0, design.heads or 1
    settings = dict(design.settings)
    if design.mechanism == "interleaved" and "layer" not in settings:
        settings["layer"] = layer
    attention = MultiHead(
        dim,
        heads,
        kv_heads=design.kv_heads,
        mechanism=design.mechanism,
        settings=settings,
        rotary=where.rotary,
        qk_norm=design.qk_norm,
        bias=design.bias,
        dropout=design.dropout,
    )
    alpha = deepnorm(design.depth)[0]
    order, eps = design.order, design.eps
    return Block(dim, attention, feed(design), norm=design.norm, order=order, alpha=alpha, eps=eps)


def feed(design: Design) -> nn.Module | None:
    """Build what follows attention in a block."""
    dim = design.dim or 0
    if design.feed == "none":
        return None
    if design.experts:
        return Experts(
            dim,
            design.experts,
            active=design.active,
            expand=design.expand,
            bend=design.feed,
            dropout=design.dropout,
            inner=design.inner,
        )
    return FeedForward(
        dim,
        expand=design.expand,
        bend=design.feed,
        bias=design.bias,
        dropout=design.dropout,
        inner=design.inner,
    )
