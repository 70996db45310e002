"""Summary of a language model, from its config alone: weights, FLOPs, activations, cache, first loss.

Weights are counted on torch's meta device, which takes no memory. Activations and the first loss are measured
on models built for it, where they fit into a few gigabytes.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch

from nhin.errors import ShapeError
from nhin.layers.moe import MixtureOfExperts
from nhin.lm.activation_memory import ActivationMemory, is_small_enough, measure_activations
from nhin.lm.flops import Flops, count_flops
from nhin.models.build import build_lm
from nhin.models.config import ModelConfig, resolve
from nhin.models.gpt import GPT

FLOAT_BYTES = 4  # bytes of a weight in float32
DEFAULT_SEEDS = (0, 1, 2)
MAX_ACTIVATION_LENGTH = 1024  # longest text whose activations are measured
FIRST_LOSS_TOKENS = 512  # averaged in a first loss


@dataclass(frozen=True, slots=True)
class ParameterCount:
    """Weights of one kind: all, and those that a token uses."""

    weights: int
    active: int


@dataclass(frozen=True, slots=True)
class CacheSize:
    """Bytes of the cache of one text: with its context full, and per token."""

    full: int
    token: float
    context: int


@dataclass(frozen=True, slots=True)
class FirstLoss:
    """The loss of untrained models on random tokens, in nats, and that of a uniform distribution."""

    mean: float
    deviation: float
    guess: float
    losses: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class ModelSummary:
    """What `nhin inspect` shows of a model.

    Args:
        vocab: Number of tokens.
        config: Its settings, with every size filled in.
        parts: Weights by part.
        flops: Operations of one token in a text of ``length``.
        length: Tokens of a text.
        cache: Cache size; None where a mechanism cannot decode.
        activations: Saved by training, for several lengths and widths; without those that take gigabytes.
        loss: The loss before training; None where that takes gigabytes or no seeds are given.
    """

    vocab: int
    config: ModelConfig
    parts: Mapping[str, ParameterCount]
    flops: Flops
    length: int
    cache: CacheSize | None
    activations: tuple[ActivationMemory, ...]
    loss: FirstLoss | None

    @property
    def weights(self) -> int:
        """All weights."""
        return sum(part.weights for part in self.parts.values())

    @property
    def active(self) -> int:
        """Weights that one token uses."""
        return sum(part.active for part in self.parts.values())

    def to_dict(self) -> dict[str, Any]:
        """Return everything as nested dicts for JSON."""
        depth = self.config.depth
        activations = [
            asdict(memory)
            | {"total": memory.total(depth), "total_checkpointed": memory.total(depth, checkpointing=True)}
            for memory in self.activations
        ]
        totals = {"forward": self.flops.forward, "training": self.flops.training, "length": self.length}
        return {
            "vocab": self.vocab,
            "design": asdict(self.config),
            "parameters": {
                "total": self.weights,
                "active": self.active,
                "bytes": FLOAT_BYTES * self.weights,
                "parts": {name: asdict(part) for name, part in self.parts.items()},
            },
            "flops_per_token": asdict(self.flops) | totals,
            "activations_per_text": activations,
            "cache_per_text": None if self.cache is None else asdict(self.cache),
            "first_loss": None if self.loss is None else asdict(self.loss),
        }


def summarize(vocab: int, config: ModelConfig, seeds: Sequence[int] = DEFAULT_SEEDS) -> ModelSummary:
    """Summarize the model of a config.

    Args:
        vocab: Number of tokens.
        config: Its settings.
        seeds: Of the models whose first loss is measured; none for no loss.
    """
    config = resolve(config)
    with torch.device("meta"):
        model = build_lm(vocab, config)
    length = model.context
    return ModelSummary(
        vocab,
        config,
        count_parameters(model),
        count_flops(model, length),
        length,
        measure_cache(model),
        tuple(_measure_sweep(vocab, config, length)),
        measure_first_loss(vocab, config, seeds) if seeds and is_small_enough(model) else None,
    )


def count_parameters(model: GPT) -> dict[str, ParameterCount]:
    """Count weights by part; of experts, a token uses the router and its active ones."""
    parts: dict[str, ParameterCount] = {}
    shares = {
        id(weight): moe.top_k / moe.experts
        for moe in model.modules()
        if isinstance(moe, MixtureOfExperts)
        for weight in (moe.up_proj, moe.down_proj)
    }
    for name, weight in model.named_parameters():
        part = _component_of(name, has_experts=bool(shares))
        former = parts.get(part, ParameterCount(0, 0))
        active = round(weight.numel() * shares.get(id(weight), 1))
        parts[part] = ParameterCount(former.weights + weight.numel(), former.active + active)
    return parts


def _component_of(name: str, has_experts: bool) -> str:
    """Return the part that a weight belongs to; an unknown weight is a part by its own name."""
    words = name.split(".")
    if any(word.endswith("norm") for word in words):
        return "norms"
    if words[0] == "blocks":
        return words[2] if words[2] != "mlp" else "experts" if has_experts else "feed-forward"
    return words[0]


def measure_cache(model: GPT) -> CacheSize | None:
    """Return the size of the cache for one text; the model may be on the meta device."""
    if any("decode" not in block.attention.mechanism.facts.abilities for block in model.iter_blocks()):
        return None
    full = sum(cache.size for cache in model.new_cache(1))
    return CacheSize(full, full / model.context, model.context)


def measure_first_loss(vocab: int, config: ModelConfig, seeds: Sequence[int] = DEFAULT_SEEDS) -> FirstLoss:
    """Build the model of a config with each seed and measure its loss on random tokens."""
    losses = [_loss_of_seed(vocab, config, seed) for seed in seeds]
    mean = sum(losses) / len(losses)
    deviation = math.sqrt(sum((loss - mean) ** 2 for loss in losses) / max(1, len(losses) - 1))
    return FirstLoss(mean, deviation, math.log(vocab), tuple(losses))


@torch.no_grad()
def _loss_of_seed(vocab: int, config: ModelConfig, seed: int) -> float:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = build_lm(vocab, config).eval()
        length = min(model.context, FIRST_LOSS_TOKENS)
        inputs, targets = torch.randint(vocab, (2, FIRST_LOSS_TOKENS // length, length))
        losses = model.loss(inputs, targets)
    return float(losses.get("nats", losses["loss"]))


def _measure_sweep(vocab: int, config: ModelConfig, context: int) -> list[ActivationMemory]:
    """Measure activations at up to four lengths, and at half and twice the width."""
    longest = min(context, MAX_ACTIVATION_LENGTH)
    lengths = sorted({max(1, longest // share) for share in (8, 4, 2, 1)})
    cases = [(config, length) for length in lengths]
    dim = config.dim or 0
    cases += [(replace(config, dim=width), longest) for width in (dim // 2, 2 * dim) if width]
    measured = [_try_measure(vocab, *case) for case in cases]
    return [memory for memory in measured if memory is not None]


def _try_measure(vocab: int, config: ModelConfig, length: int) -> ActivationMemory | None:
    try:
        return measure_activations(vocab, config, length)
    except ShapeError:  # heads do not divide the other width, or their width is odd and rotary needs pairs
        return None
