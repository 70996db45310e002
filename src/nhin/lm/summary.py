"""What a language model consists of and costs, told from its design: nothing trained is needed.

Weights are counted on torch's meta device, which takes no memory however large the design is. Activations and
the first loss are measured on models that are built for it, where they fit into a few gigabytes.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from torch import nn

from nhin.errors import ShapeError
from nhin.layers.moe import MixtureOfExperts
from nhin.lm.activation_memory import MAX_WEIGHTS, ActivationMemory, measure_activations
from nhin.lm.flops import Flops, count_flops
from nhin.models.build import build_lm
from nhin.models.config import ModelConfig, resolve
from nhin.models.gpt import GPT

FLOAT_BYTES = 4  # bytes of a weight in float32
DEFAULT_SEEDS = (0, 1, 2)
MAX_ACTIVATION_LENGTH = 1024  # tokens of the texts that leave activations
FIRST_LOSS_TOKENS = 512  # tokens that a first loss is the mean of


@dataclass(frozen=True, slots=True)
class ParameterCount:
    """Weights of one kind: how many there are, and how many of them a token uses."""

    weights: int
    active: int


@dataclass(frozen=True, slots=True)
class CacheSize:
    """Bytes that decoding keeps for one text: with its context full, and of that for one token."""

    full: int
    token: float
    context: int


@dataclass(frozen=True, slots=True)
class FirstLoss:
    """The loss of untrained models on random tokens, in nats, beside that of a guess."""

    mean: float
    deviation: float
    guess: float
    losses: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class ModelSummary:
    """Everything that is told of a model.

    Args:
        vocab: Tokens there are.
        config: What it is made of, every size filled in.
        parts: Weights by part.
        flops: Arithmetic of one token in a text of ``length``.
        length: Tokens of a text.
        cache: What decoding keeps; None where a mechanism cannot decode.
        activations: What training keeps, for several lengths and widths; without what would take gigabytes.
        loss: The loss it begins with; None where that takes gigabytes or is not asked for.
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
        """Return everything as plain nested values, fit for JSON."""
        depth = self.config.depth
        totals = [(one.total(depth), one.total(depth, checkpointing=True)) for one in self.activations]
        kept = [
            asdict(one) | {"total": total, "total_checkpointed": again}
            for one, (total, again) in zip(self.activations, totals, strict=True)
        ]
        counted = {"forward": self.flops.forward, "training": self.flops.training}
        return {
            "vocab": self.vocab,
            "design": asdict(self.config),
            "parameters": {
                "total": self.weights,
                "active": self.active,
                "bytes": FLOAT_BYTES * self.weights,
                "parts": {name: asdict(part) for name, part in self.parts.items()},
            },
            "flops_per_token": asdict(self.flops) | counted | {"length": self.length},
            "activations_per_text": kept,
            "cache_per_text": None if self.cache is None else asdict(self.cache),
            "first_loss": None if self.loss is None else asdict(self.loss),
        }


def summarize(vocab: int, config: ModelConfig, seeds: Sequence[int] = DEFAULT_SEEDS) -> ModelSummary:
    """Tell what a model of a design consists of and costs.

    Args:
        vocab: Tokens there are.
        config: What it is made of.
        seeds: Of the models whose first loss is taken; none for no loss.
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
    """Count weights by part; of experts, a token uses the router and those it is sent to."""
    found: dict[str, ParameterCount] = {}
    shares = {
        id(weight): feed.active / feed.experts
        for feed in model.modules()
        if isinstance(feed, MixtureOfExperts)
        for weight in (feed.widen, feed.narrow)
    }
    experts = bool(shares)
    for name, weight in model.named_parameters():
        part = _component_of(name, experts)
        before = found.get(part, ParameterCount(0, 0))
        active = round(weight.numel() * shares.get(id(weight), 1))
        found[part] = ParameterCount(before.weights + weight.numel(), before.active + active)
    return found


def _component_of(name: str, has_experts: bool) -> str:
    """Say which part a weight belongs to; one that is not known is a part by its own name."""
    words = name.split(".")
    if any(word.endswith("norm") for word in words):
        return "norms"
    if words[0] == "blocks":
        return words[2] if words[2] != "feed" else "experts" if has_experts else "feed-forward"
    return words[0]


def is_small_enough(model: nn.Module) -> bool:
    """Say whether a model can be built in passing."""
    return sum(weight.numel() for weight in model.parameters()) <= MAX_WEIGHTS


def measure_cache(model: GPT) -> CacheSize | None:
    """Return what decoding one text keeps, as the cache itself says; the model may be on the meta device."""
    context = model.context
    able = all("decode" in one.attention.mechanism.facts.abilities for one in model.iter_blocks())
    if not able:
        return None
    full = sum(state.size for state in model.new_cache(1))
    return CacheSize(full, full / context, context)


def measure_first_loss(vocab: int, config: ModelConfig, seeds: Sequence[int] = DEFAULT_SEEDS) -> FirstLoss:
    """Build a design once for each seed and measure its loss on random tokens."""
    losses = [_loss_of_seed(vocab, config, seed) for seed in seeds]
    mean = sum(losses) / len(losses)
    spread = math.sqrt(sum((loss - mean) ** 2 for loss in losses) / max(1, len(losses) - 1))
    return FirstLoss(mean, spread, math.log(vocab), tuple(losses))


@torch.no_grad()
def _loss_of_seed(vocab: int, config: ModelConfig, seed: int) -> float:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = build_lm(vocab, config).eval()
        length = min(model.context, FIRST_LOSS_TOKENS)
        read, follow = torch.randint(vocab, (2, FIRST_LOSS_TOKENS // length, length))
        losses = model.loss(read, follow)
    return float(losses.get("nats", losses["loss"]))


def _measure_sweep(vocab: int, config: ModelConfig, context: int) -> list[ActivationMemory]:
    """Measure activations at up to four lengths, and at half and twice the width."""
    longest = min(context, MAX_ACTIVATION_LENGTH)
    lengths = sorted({max(1, longest // share) for share in (8, 4, 2, 1)})
    wanted = [(config, length) for length in lengths]
    dim = config.dim or 0
    wanted += [(replace(config, dim=width), longest) for width in (dim // 2, 2 * dim) if width]
    measured = [_try_measure(vocab, one, length) for one, length in wanted]
    return [one for one in measured if one is not None]


def _try_measure(vocab: int, config: ModelConfig, length: int) -> ActivationMemory | None:
    try:
        return measure_activations(vocab, config, length)
    except ShapeError:  # heads do not divide the other width, or leave an odd one that cannot turn
        return None
