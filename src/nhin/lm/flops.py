"""How much arithmetic a language model does for one token, counted from the shapes of its weights.

Counted are products of matrices, a multiplication and an addition as two: projections, feed-forward (of
experts the router and those a token is sent to), head, and looking: ``4 x D`` per visible pair and head for
scores and mix; where sums are kept instead of pairs, ``4 x M x D`` per token and head for M features. A
backward pass does every product twice over, once for each factor; with checkpointing blocks are computed once
more. Not counted: what grows with width alone (norms, softmax, bends, adding, turning heads), and the few
weights of mechanisms of their own.
"""

from dataclasses import dataclass

import torch
from torch import nn

from nhin.attention.base import Mechanism
from nhin.attention.masks import Pattern
from nhin.attention.registry import build
from nhin.layers.block import Block
from nhin.layers.moe import MixtureOfExperts
from nhin.models.gpt import GPT

PAIRS_PER_CHUNK = 2**22  # pairs looked at together
SAMPLED_ROWS = 64  # rows from which who sees whom is told where nothing else tells it


@dataclass(frozen=True, slots=True)
class Flops:
    """Floating-point operations of one token, forward, as a mean over a text.

    Args:
        projections: Queries, keys, values and outputs of all blocks.
        looking: Scores and mix of all blocks.
        feed: Feed-forwards, or routers and the experts that a token uses.
        head: Scoring every token of the vocabulary.
        checkpointing: Whether training computes blocks twice.
        heads: How often training scores: once for every exit.
    """

    projections: float
    looking: float
    feed: float
    head: int
    checkpointing: bool = False
    heads: int = 1

    @property
    def blocks(self) -> float:
        """What all blocks do."""
        return self.projections + self.looking + self.feed

    @property
    def forward(self) -> float:
        """What one token costs."""
        return self.blocks + self.head

    @property
    def training(self) -> float:
        """What one token costs forward and backward."""
        return 3 * (self.blocks + self.heads * self.head) + (self.blocks if self.checkpointing else 0)


def count_flops(model: GPT, length: int, visible_keys: float | None = None) -> Flops:
    """Count the arithmetic of one token in a text of ``length``.

    Args:
        model: Its weights are not read, so it may be on the meta device.
        length: Tokens of the text.
        visible_keys: Keys that a token looks at, as a mean; what the mechanism lets it see when None.
    """
    design = model.config
    # With a memory a text is read in segments, each with the memory before and after it.
    text = min(length, design.context)
    places = text + 2 * design.memory
    looking = 0.0
    for one in model.iter_blocks():
        attention, mechanism = one.attention, one.attention.mechanism
        width = attention.heads * attention.head_dim
        if mechanism.facts.family == "linear":
            looking += (
                4 * width * _feature_dim(_build_mechanism(model, one), attention.heads, attention.head_dim)
            )
        else:
            looking += (
                4 * width * (mean_visible_keys(model, one, places) if visible_keys is None else visible_keys)
            )
    share, blocks = places / text, list(model.iter_blocks())
    return Flops(
        projections=share * sum(_linear_flops(one.attention) for one in blocks),
        looking=share * looking,
        feed=share * sum(_mlp_flops(one.feed) for one in blocks if one.feed is not None),
        head=2 * model.vocab * model.dim,
        checkpointing=design.checkpointing,
        heads=design.depth if design.exits else 1,
    )


def mean_visible_keys(model: GPT, block: Block, length: int) -> float:
    """Return how many keys a token of a causal text sees in a block, as a mean over the text.

    Told by the mechanism's pattern; where that depends on what is read, by its weights of random keys.
    """
    mechanism = block.attention.mechanism
    pattern = getattr(mechanism, "pattern", None)
    if isinstance(pattern, Pattern):
        return _mean_keys_of_pattern(pattern, length)
    if mechanism.facts.family in ("reach", "sparse"):
        return _mean_keys_sampled(
            _build_mechanism(model, block), block.attention.heads, block.attention.head_dim, length
        )
    return (length + 1) / 2


def _build_mechanism(model: GPT, block: Block) -> Mechanism:
    """Build the mechanism of a block that may be on the meta device."""
    attention = block.attention
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        name, settings = model.config.mechanism, model.config.settings
        return build(name, heads=attention.heads, head_dim=attention.head_dim, **settings).eval()


def _linear_flops(module: nn.Module) -> int:
    """Count the linear layers of a part, but for those inside a mechanism."""
    inside = {
        one
        for mechanism in module.modules()
        if isinstance(mechanism, Mechanism)
        for one in mechanism.modules()
    }
    layers = (one for one in module.modules() if isinstance(one, nn.Linear) and one not in inside)
    return sum(2 * one.weight.numel() for one in layers)


def _mlp_flops(mlp: nn.Module) -> int:
    if not isinstance(mlp, MixtureOfExperts):
        return _linear_flops(mlp)
    every = 2 * (mlp.widen.numel() + mlp.narrow.numel())
    return _linear_flops(mlp.router) + every * mlp.active // mlp.experts


@torch.no_grad()
def _feature_dim(mechanism: Mechanism, heads: int, head_dim: int) -> int:
    """Return how many features a key of a linear mechanism becomes."""
    one = torch.zeros(1, 1, heads, head_dim)
    return mechanism.explain(one, one, one, causal=True)["phi(k)"].shape[-1]


def _mean_keys_of_pattern(pattern: Pattern, length: int) -> float:
    """Count a pattern's pairs, some rows at a time."""
    keys, total = torch.arange(length), 0
    for rows in keys.split(max(1, PAIRS_PER_CHUNK // length)):
        place = rows[:, None]
        total += int((pattern.mask(place, keys, place + 1) & (keys <= place)).sum())
    return total / length


@torch.no_grad()
def _mean_keys_sampled(mechanism: Mechanism, heads: int, head_dim: int, length: int) -> float:
    """Count the weights above zero that random queries, taken evenly, give to random keys."""
    random = torch.Generator().manual_seed(0)
    q, k = (torch.randn(1, length, heads, head_dim, generator=random) for _ in range(2))
    every = max(1, length // SAMPLED_ROWS)
    rows = range(every // 2, length, every)
    given = [mechanism.weights(q, k, causal=True, rows=slice(row, row + 1)) for row in rows]
    return sum(float((one != 0).sum()) for one in given) / heads / len(given)
