"""Floating-point operations of a language model per token, counted from the shapes of its weights.

Counted are matrix products, with a multiplication and an addition as two: projections, MLP (of experts, the
router and the active ones), head, and attention: ``4 x D`` per visible pair and head for scores and weighted
sum; in linear attention ``4 x M x D`` per token and head for M features. A backward pass computes every
product twice, once for each factor; checkpointing computes blocks once more. Not counted: work that grows
with width alone (norms, softmax, activations, residuals, rotations), and the few weights of mechanisms
themselves.
"""

# Why not torch's FlopCounterMode: it counts 0 for the fused attention of a CPU, every pair (hidden ones too)
# on the meta device, and fails there on linear, LSH and BigBird attention and on experts. Matrix products
# agree exactly; for a token of lm-nano it counts 2,621,440 on a CPU, 2,752,512 on meta; here 2,688,000.

from dataclasses import dataclass

import torch
from torch import nn

from nhin.attention.base import Mechanism
from nhin.attention.masks import Pattern
from nhin.attention.registry import build
from nhin.layers.block import Block
from nhin.layers.moe import MixtureOfExperts
from nhin.models.gpt import GPT

PAIRS_PER_CHUNK = 2**22  # of a mask
SAMPLED_ROWS = 64  # queries whose weights are computed where no pattern gives the mask


@dataclass(frozen=True, slots=True)
class Flops:
    """Floating-point operations of the forward pass of one token, as a mean over a text.

    Args:
        projections: Query, key, value and output projections of all blocks.
        looking: Scores and weighted sums of all blocks.
        mlp: MLPs, or routers and the active experts.
        head: Logits of the vocabulary.
        checkpointing: Whether training computes blocks twice.
        heads: How often training computes logits: once for every exit.
    """

    projections: float
    looking: float
    mlp: float
    head: int
    checkpointing: bool = False
    heads: int = 1

    @property
    def blocks(self) -> float:
        """Operations of all blocks."""
        return self.projections + self.looking + self.mlp

    @property
    def forward(self) -> float:
        """Operations of the forward pass."""
        return self.blocks + self.head

    @property
    def training(self) -> float:
        """Operations of the forward and backward pass."""
        return 3 * (self.blocks + self.heads * self.head) + (self.blocks if self.checkpointing else 0)


def count_flops(model: GPT, length: int, visible_keys: float | None = None) -> Flops:
    """Count the operations of one token in a text of ``length``.

    Args:
        model: It may be on the meta device.
        length: Tokens of the text.
        visible_keys: Mean number of keys a token attends to; from the mechanism's mask when None.
    """
    config, blocks = model.config, list(model.iter_blocks())
    # With a memory a text is read in segments, each with the memory before and after it.
    segment = min(length, config.context)
    positions = segment + 2 * config.memory
    attention_flops = 0.0
    for block in blocks:
        if block.attention.mechanism.facts.family == "linear":
            width = _feature_dim(model, block)
        else:
            width = mean_visible_keys(model, block, positions) if visible_keys is None else visible_keys
        attention_flops += 4 * block.attention.heads * block.attention.head_dim * width
    share = positions / segment
    return Flops(
        projections=share * sum(_linear_flops(block.attention) for block in blocks),
        looking=share * attention_flops,
        mlp=share * sum(_mlp_flops(block.mlp) for block in blocks if block.mlp is not None),
        head=2 * model.vocab * model.dim,
        checkpointing=config.checkpointing,
        heads=config.depth if config.exits else 1,
    )


def mean_visible_keys(model: GPT, block: Block, length: int) -> float:
    """Return the mean number of keys that a token of a causal text attends to in a block.

    It follows from the mechanism's pattern; where that depends on the inputs, from weights of random ones.
    """
    mechanism = block.attention.mechanism
    pattern = getattr(mechanism, "pattern", None)
    if isinstance(pattern, Pattern):
        return _mean_keys_of_pattern(pattern, length)
    if mechanism.facts.family in ("reach", "sparse"):
        return _mean_keys_sampled(model, block, length)
    return (length + 1) / 2


def _build_mechanism(model: GPT, block: Block) -> Mechanism:
    """Build the mechanism of a block on the CPU, as the block may be on the meta device."""
    attention = block.attention
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        name, settings = model.config.mechanism, model.config.settings
        return build(name, heads=attention.heads, head_dim=attention.head_dim, **settings).eval()


def _linear_flops(module: nn.Module) -> int:
    """Count the linear layers of a module, except those inside a mechanism."""
    mechanisms = [part for part in module.modules() if isinstance(part, Mechanism)]
    inside = {part for mechanism in mechanisms for part in mechanism.modules()}
    linears = (part for part in module.modules() if isinstance(part, nn.Linear) and part not in inside)
    return sum(2 * linear.weight.numel() for linear in linears)


def _mlp_flops(mlp: nn.Module) -> int:
    if not isinstance(mlp, MixtureOfExperts):
        return _linear_flops(mlp)
    experts = 2 * (mlp.up_proj.numel() + mlp.down_proj.numel())
    return _linear_flops(mlp.router) + experts * mlp.top_k // mlp.experts


@torch.no_grad()
def _feature_dim(model: GPT, block: Block) -> int:
    """Return the number of features of a key in linear attention."""
    x = torch.zeros(1, 1, block.attention.heads, block.attention.head_dim)
    return _build_mechanism(model, block).explain(x, x, x, causal=True)["phi(k)"].shape[-1]


def _mean_keys_of_pattern(pattern: Pattern, length: int) -> float:
    """Count a pattern's pairs, some queries at a time."""
    keys, total = torch.arange(length), 0
    for rows in keys.split(max(1, PAIRS_PER_CHUNK // length)):
        queries = rows[:, None]
        total += int((pattern.mask(queries, keys, queries + 1) & (keys <= queries)).sum())
    return total / length


@torch.no_grad()
def _mean_keys_sampled(model: GPT, block: Block, length: int) -> float:
    """Count the nonzero weights that random queries, taken evenly, give to random keys."""
    mechanism, heads = _build_mechanism(model, block), block.attention.heads
    random = torch.Generator().manual_seed(0)
    q, k = (torch.randn(1, length, heads, block.attention.head_dim, generator=random) for _ in range(2))
    step = max(1, length // SAMPLED_ROWS)
    rows = range(step // 2, length, step)
    weights = [mechanism.weights(q, k, causal=True, rows=slice(row, row + 1)) for row in rows]
    return sum(float((row != 0).sum()) for row in weights) / heads / len(weights)
