"""What a language model is made of, as data, and the sizes that follow from its depth."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from inspect import signature
from typing import Any, Literal, get_args

from nhin.attention.base import missing_ability
from nhin.attention.position_registry import POSITIONS
from nhin.attention.registry import MECHANISMS
from nhin.errors import ShapeError, UnknownName, UsageError
from nhin.layers.block import NormOrder
from nhin.layers.mlp import ACTIVATIONS
from nhin.layers.norm import NORMS
from nhin.layers.presets import PRESETS

WIDTH_PER_BLOCK, SMALL_HEAD, LARGE_HEAD, LARGE_HEAD_FROM = 48, 32, 64, 128
MLPType = Literal["none", "gelu", "gelu-tanh", "relu2", "swiglu"]
Init = Literal["small", "zero"]
_MINIMUM = {"depth": 0, "context": 1, "expand": 1, "experts": 0, "memory": 0, "segments": 1}
_MAXIMUM = {"depth": 1024, "dim": 2**16, "heads": 1024, "context": 2**22, "expand": 64, "experts": 4096}


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """The settings of a language model; ``depth`` is the dial, and what is None follows from it.

    Args:
        depth: Blocks; 0 for a model that knows only the token before.
        dim: Width; 48 for every block when None, and for at least two.
        heads: Query heads; as many as make each 32 wide (64 from a width of 128 on), or wider where that
            does not divide, when None.
        kv_heads: Key/value heads; as many as ``heads`` when None.
        context: Most tokens it looks at; with ``memory``, those of one segment.
        mechanism: A name in ``attention.registry.MECHANISMS`` that can be causal.
        settings: The mechanism's own settings.
        positions: A name in ``attention.position_registry.POSITIONS``, or "none".
        position: The position's own settings.
        preset: A name in ``layers.presets.PRESETS``: it sets heads, mechanism, positions and bias.
        norm: A name in ``layers.norm.NORMS``.
        eps: What keeps norms from dividing by zero; their own when None.
        order: Where norms stand; see ``layers.block.Block``.
        final_norm: Norm what goes to the head.
        qk_norm: Norm queries and keys.
        feed: What follows attention: "none", or a name in ``layers.mlp.ACTIVATIONS``.
        expand: Inner width of the feed-forward over ``dim``.
        inner: Inner width of the feed-forward, where ``expand`` does not say it.
        experts: Feed-forwards to choose from; 0 for one that all use.
        active: Experts that a token uses.
        balance: Weight of the loss that keeps experts busy alike.
        bias: Give linear layers a bias; those of experts have none.
        tied: The head is the embedding.
        start: How weights begin: "small" as GPT-2's, "zero" with parts that add nothing at first.
        dropout: Chance of dropping a channel.
        checkpointing: Keep no activations inside blocks; compute them again for the gradient.
        memory: Memory tokens that carry what was read from segment to segment; 0 for none.
        segments: Segments of ``context`` tokens that a training text is read in; with ``memory``.
        exits: Train the head on what every block makes, so that a place may leave early.
    """

    depth: int = 4
    dim: int | None = None
    heads: int | None = None
    kv_heads: int | None = None
    context: int = 256
    mechanism: str = "softmax"
    settings: dict[str, Any] = field(default_factory=dict)
    positions: str = "rotary"
    position: dict[str, Any] = field(default_factory=dict)
    preset: str | None = None
    norm: str = "rms"
    eps: float | None = None
    order: NormOrder = "pre"
    final_norm: bool = True
    qk_norm: bool = False
    feed: MLPType = "gelu"
    expand: int = 4
    inner: int | None = None
    experts: int = 0
    active: int = 2
    balance: float = 0.01
    bias: bool = False
    tied: bool = True
    start: Init = "small"
    dropout: float = 0.0
    checkpointing: bool = False
    memory: int = 0
    segments: int = 2
    exits: bool = False

    @property
    def max_positions(self) -> int:
        """Places of one pass: the context, and memory before and after it."""
        return self.context + 2 * self.memory


@dataclass(frozen=True, slots=True)
class PositionConfig:
    """How a model knows places: what is added to its inputs, and what turns its heads."""

    inputs: str | None = None
    rotary: bool | Mapping[str, object] = False


def resolve(config: ModelConfig) -> ModelConfig:
    """Return a design with every size filled in, or say what is wrong with it.

    Raises:
        UnknownName: A mechanism, position, preset, norm or another part is not known.
        ShapeError: Sizes are not positive, beyond any machine, or do not divide.
        UsageError: The mechanism cannot be causal, or parts do not go together.
    """
    _check_names(config)
    for name, least in _MINIMUM.items():
        _check_range(name, getattr(config, name), least)
    if config.inner is not None:
        _check_range("inner", config.inner, 1)
    dim = WIDTH_PER_BLOCK * max(2, config.depth) if config.dim is None else _check_range("dim", config.dim, 1)
    heads = _default_heads(dim) if config.heads is None else _check_range("heads", config.heads, 1)
    if dim % heads:
        raise ShapeError(f"heads is {heads}, which does not divide dim {dim}; choose a divisor")
    config = _apply_preset(replace(config, dim=dim, heads=heads), heads)
    config = config if config.kv_heads is not None else replace(config, kv_heads=heads)
    _check_parts(config)
    return _resolve_mechanism(config)


def _default_heads(dim: int) -> int:
    """Return the most heads that divide a width and are not narrower than they should be."""
    most = max(1, dim // (LARGE_HEAD if dim >= LARGE_HEAD_FROM else SMALL_HEAD))
    return next(heads for heads in range(most, 0, -1) if dim % heads == 0)


def _check_range(name: str, value: int, minimum: int) -> int:
    most = _MAXIMUM.get(name, 2**16)
    if not minimum <= value <= most:
        raise ShapeError(f"{name} is {value}; give {minimum} to {most}")
    return value


def _apply_preset(config: ModelConfig, heads: int) -> ModelConfig:
    """Fill in what a known model's attention says."""
    if config.preset is None:
        return config
    if config.preset not in PRESETS:
        raise UnknownName("preset", config.preset, PRESETS)
    preset = PRESETS[config.preset]
    if not preset.causal:
        raise UsageError(f"preset {preset.name} looks both ways; a language model needs a causal one")
    rotary = "rotary" if preset.rotary is True else preset.rotary
    settings = dict(preset.settings)
    if "window" in settings:
        settings["window"] = min(int(str(settings["window"])), config.max_positions)
    return replace(
        config,
        kv_heads=preset.kv_heads(heads),
        mechanism=preset.mechanism,
        settings=settings | config.settings,
        positions=preset.inputs or (str(rotary) if rotary else "none"),
        bias=preset.bias,
    )


def _check_names(config: ModelConfig) -> None:
    """Refuse parts that do not exist."""
    for kind, name, known in (
        ("norm", config.norm, NORMS),
        ("feed", config.feed, ("none", *ACTIVATIONS)),
        ("order", config.order, get_args(NormOrder)),
        ("start", config.start, get_args(Init)),
        ("position", config.positions, (*POSITIONS, "none")),
    ):
        if name not in known:
            raise UnknownName(kind, name, known)


def _check_parts(config: ModelConfig) -> None:
    """Refuse parts that do not go together."""
    if not 0 <= config.dropout < 1:
        raise UsageError(f"dropout is {config.dropout}; give 0 or more and less than 1")
    if config.experts and not 1 <= config.active <= config.experts:
        raise UsageError(f"active is {config.active}; give 1 to {config.experts}, the number of experts")
    if config.eps is not None and not 0 < config.eps <= 1:
        raise UsageError(f"eps is {config.eps}; give more than 0 and at most 1")
    if not (config.balance >= 0 and math.isfinite(config.balance)):
        raise UsageError(f"balance is {config.balance}; give 0 or more")
    if config.experts and config.feed == "none":
        raise UsageError("experts are feed-forwards; give feed='gelu', 'relu2' or 'swiglu'")
    if config.memory and config.exits:
        raise UsageError("memory and exits do not go together; give one of them")
    if (config.memory or config.exits) and not config.depth:
        raise UsageError(
            f"{'memory needs' if config.memory else 'exits need'} blocks; give a depth of 1 or more"
        )
    _check_positions(config)


def _check_positions(config: ModelConfig) -> None:
    """Refuse positions that a text or a model of this depth has no use for."""
    where = "" if config.positions == "none" else POSITIONS[config.positions].where
    if config.positions.endswith("2d"):
        raise UsageError(f"{config.positions} places features of pictures; a text needs another position")
    if where == "inputs" and not config.depth:
        raise UsageError("depth 0 looks at one token, wherever it stands; give positions='none'")
    if where in ("", "inputs") and config.position:
        raise UsageError(f"positions {config.positions!r} has no settings; leave position empty")


def _resolve_mechanism(config: ModelConfig) -> ModelConfig:
    """Let a position of scores be the mechanism it is, and refuse mechanisms that look ahead."""
    if config.positions != "none" and POSITIONS[config.positions].where == "scores":
        if config.mechanism not in ("softmax", config.positions):
            raise UsageError(
                f"positions {config.positions!r} act on softmax's scores, not on {config.mechanism!r}'s; "
                "give mechanism='softmax' or other positions"
            )
        settings = config.settings | config.position
        config = replace(config, mechanism=config.positions, positions="none", settings=settings, position={})
    if config.mechanism not in MECHANISMS:
        raise UnknownName("mechanism", config.mechanism, MECHANISMS)
    made = MECHANISMS[config.mechanism]
    if "causal" not in made.facts.abilities:
        raise missing_ability(made.facts, "causal")
    settings = config.settings
    if "context" in signature(made).parameters and "context" not in settings:
        settings = settings | {"context": config.max_positions}
    return replace(config, settings=settings)


def resolve_positions(config: ModelConfig) -> PositionConfig:
    """Say how a settled design knows places."""
    if config.positions == "none":
        return PositionConfig()
    position = POSITIONS[config.positions]
    if position.where == "inputs":
        return PositionConfig(inputs=config.positions)
    # A compiled model cannot let its table of angles grow, so that it has all its places at once.
    tabled = {"context": config.max_positions} if "context" in signature(position.make).parameters else {}
    return PositionConfig(rotary={"name": config.positions, **tabled, **config.position})
