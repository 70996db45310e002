"""The settings of a language model, and the sizes that follow from its depth."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from inspect import signature
from typing import Annotated, Any, ClassVar, Literal

from nhin.attention.base import missing_ability
from nhin.attention.position_registry import POSITIONS
from nhin.attention.registry import MECHANISMS
from nhin.config import check_arguments, check_fields
from nhin.errors import ShapeError, UnknownName, UsageError
from nhin.layers.block import NormOrder
from nhin.layers.norm import NORMS
from nhin.layers.presets import PRESETS
from nhin.ranges import Range, check_range

WIDTH_PER_BLOCK, SMALL_HEAD, LARGE_HEAD, LARGE_HEAD_FROM = 48, 32, 64, 128
MLPType = Literal["none", "gelu", "gelu-tanh", "relu2", "swiglu"]
Init = Literal["small", "zero"]
BiasParts = Literal["all", "attention", "qkv", "mlp"]
_BIASES = (("attention", "qkv"), ("attention",), ("mlp",))


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """The settings of a language model; what is None follows from ``depth``.

    Args:
        depth: Blocks; 0 for a model that predicts from the last token alone.
        dim: Width; when None, 48 per block, and at least 96.
        heads: Query heads; when None, the most that divide ``dim`` and are at least 32 wide (64 from a
            ``dim`` of 128 on).
        kv_heads: Key/value heads; ``heads`` when None.
        head_dim: Width of one head; ``dim`` over ``heads`` when None.
        context: Longest sequence in tokens; with ``memory``, that of one segment.
        mechanism: A name in ``attention.registry.MECHANISMS`` that can be causal.
        settings: The mechanism's own settings.
        positions: A name in ``attention.position_registry.POSITIONS``, or "none".
        position: Settings of the positions.
        preset: A name in ``layers.presets.PRESETS``: it sets heads, mechanism, positions and bias.
        norm: A name in ``layers.norm.NORMS``.
        eps: Added inside the norms against division by zero; their own default when None.
        norm_order: Position of the norms; see ``layers.block.Block``.
        final_norm: Put a norm before the head.
        qk_norm: Normalize queries and keys.
        qk_gain: Scale the channels of normalized queries and keys by learned gains.
        mlp: Activation of the MLP, a name in ``layers.mlp.ACTIVATIONS``; "none" for no MLP.
        mlp_ratio: Hidden width of the MLP over ``dim``.
        hidden_dim: Hidden width of the MLP, instead of ``mlp_ratio``.
        experts: Experts of a mixture instead of the MLP; 0 for none.
        top_k: Experts per token.
        balance_loss: Weight of the loss that balances the use of experts.
        bias: Give linear layers a bias; those of experts have none.
        bias_parts: Which linear layers have one, with ``bias``: "all", those of "attention" or of the "mlp"
            alone, or "qkv" for queries, keys and values.
        tie_embeddings: The head shares the weights of the embedding.
        init: Initialization: "small" as GPT-2's, "zero" with sublayers that output zeros.
        dropout: Probability of dropping a channel.
        checkpointing: Store no activations inside blocks; recompute them for the gradient.
        memory: Memory tokens passed from segment to segment, at most 4,096; 0 for none.
        segments: Segments of ``context`` tokens in a training sequence; with ``memory``.
        exits: Train the head on the output of every block, so that tokens can exit early.
    """

    OLD_NAMES: ClassVar[Mapping[str, str]] = {
        "feed": "mlp",
        "expand": "mlp_ratio",
        "inner": "hidden_dim",
        "tied": "tie_embeddings",
        "start": "init",
        "active": "top_k",
        "balance": "balance_loss",
        "order": "norm_order",
        "settings.leaders": "global_tokens",
    }

    depth: Annotated[int, Range(0, 1024)] = 4
    dim: Annotated[int | None, Range(1, 2**16)] = None
    heads: Annotated[int | None, Range(1, 1024)] = None
    kv_heads: Annotated[int | None, Range(1, 1024)] = None
    head_dim: Annotated[int | None, Range(1, 2**16)] = None
    context: Annotated[int, Range(1, 2**22)] = 256
    mechanism: str = "softmax"
    settings: dict[str, Any] = field(default_factory=dict)
    positions: str = "rotary"
    position: dict[str, Any] = field(default_factory=dict)
    preset: str | None = None
    norm: str = "rms"
    eps: Annotated[float | None, Range(above=0, maximum=1)] = None
    norm_order: NormOrder = "pre"
    final_norm: bool = True
    qk_norm: bool = False
    qk_gain: bool = False
    mlp: MLPType = "gelu"
    mlp_ratio: Annotated[int, Range(1, 64)] = 4
    hidden_dim: Annotated[int | None, Range(1, 2**16)] = None
    experts: Annotated[int, Range(0, 4096)] = 0
    top_k: Annotated[int, Range(1, 4096)] = 2
    balance_loss: Annotated[float, Range(0, 1e6)] = 0.01
    bias: bool = False
    bias_parts: BiasParts = "all"
    tie_embeddings: bool = True
    init: Init = "small"
    dropout: Annotated[float, Range(0, below=1)] = 0.0
    checkpointing: bool = False
    memory: Annotated[int, Range(0, 2**12)] = 0
    segments: Annotated[int, Range(1, 2**16)] = 2
    exits: bool = False

    @property
    def has_biases(self) -> tuple[bool, bool, bool]:
        """Whether queries, keys and values have a bias, whether the attention's output, whether the MLP."""
        return tuple(self.bias and self.bias_parts in ("all", *parts) for parts in _BIASES)  # pyright: ignore[reportReturnType]

    @property
    def max_positions(self) -> int:
        """Positions of one forward pass: the context, and the memory before and after it."""
        return self.context + 2 * self.memory


@dataclass(frozen=True, slots=True)
class PositionConfig:
    """How a model encodes positions: the embedding of its inputs, the rotation of its heads."""

    inputs: str | None = None
    rotary: bool | Mapping[str, object] = False


def resolve(config: ModelConfig) -> ModelConfig:
    """Return a config with every size filled in.

    Raises:
        UnknownName: A mechanism, position, preset, norm or another name is unknown.
        ShapeError: Sizes do not divide.
        UsageError: A value is out of range, the mechanism is not causal, or settings contradict each other.
    """
    check_fields(config)
    _check_names(config)
    dim = WIDTH_PER_BLOCK * max(2, config.depth) if config.dim is None else config.dim
    heads = _default_heads(dim) if config.heads is None else config.heads
    if dim % heads and config.head_dim is None:
        raise ShapeError(f"heads is {heads}, which does not divide dim {dim}; choose a divisor")
    config = _apply_preset(replace(config, dim=dim, heads=heads), heads)
    config = config if config.kv_heads is not None else replace(config, kv_heads=heads)
    _check_combinations(config)
    return _resolve_mechanism(config)


def _default_heads(dim: int) -> int:
    """Return the most heads that divide a width and are wide enough."""
    max_heads = max(1, dim // (LARGE_HEAD if dim >= LARGE_HEAD_FROM else SMALL_HEAD))
    return next(heads for heads in range(max_heads, 0, -1) if dim % heads == 0)


def _apply_preset(config: ModelConfig, heads: int) -> ModelConfig:
    """Apply the attention settings of a known model."""
    if config.preset is None:
        return config
    if config.preset not in PRESETS:
        raise UnknownName("preset", config.preset, PRESETS)
    preset = PRESETS[config.preset]
    if not preset.causal:
        raise UsageError(f"preset {preset.name} is bidirectional; a language model needs a causal one")
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
    """Refuse unknown names."""
    for kind, name, known in (
        ("norm", config.norm, NORMS),
        ("position", config.positions, (*POSITIONS, "none")),
    ):
        if name not in known:
            raise UnknownName(kind, name, known)


def _check_combinations(config: ModelConfig) -> None:
    """Refuse settings that contradict each other."""
    if config.experts:
        check_range("top_k", config.top_k, 1, config.experts)
        if config.mlp == "none":
            raise UsageError("experts are MLPs; give mlp='gelu', 'relu2' or 'swiglu'")
    if config.qk_gain and not config.qk_norm:
        raise UsageError("qk_gain scales normalized queries and keys; give qk_norm=true with it")
    if config.memory and config.exits:
        raise UsageError("memory and exits do not go together; give one of them")
    if (config.memory or config.exits) and not config.depth:
        needs = "memory needs" if config.memory else "exits need"
        raise UsageError(f"{needs} blocks; give a depth of 1 or more")
    _check_positions(config)


def _check_positions(config: ModelConfig) -> None:
    """Refuse positions that cannot encode text, or have no effect at this depth."""
    where = "" if config.positions == "none" else POSITIONS[config.positions].where
    if config.positions.endswith("2d"):
        raise UsageError(f"{config.positions} positions are for pictures; text needs other positions")
    if where == "inputs" and not config.depth:
        raise UsageError("depth 0 reads one token, whatever its position; give positions='none'")
    if where in ("", "inputs") and config.position:
        raise UsageError(f"positions {config.positions!r} has no settings; leave position empty")


def _resolve_mechanism(config: ModelConfig) -> ModelConfig:
    """Turn positions that are a bias into their mechanism; refuse mechanisms that are not causal."""
    if config.positions != "none" and POSITIONS[config.positions].where == "scores":
        if config.mechanism not in ("softmax", config.positions):
            raise UsageError(
                f"positions {config.positions!r} act on the logits of softmax, not of {config.mechanism!r}; "
                "give mechanism='softmax' or other positions"
            )
        settings = config.settings | config.position
        config = replace(config, mechanism=config.positions, positions="none", settings=settings, position={})
    if config.mechanism not in MECHANISMS:
        raise UnknownName("mechanism", config.mechanism, MECHANISMS)
    mechanism = MECHANISMS[config.mechanism]
    if "causal" not in mechanism.facts.abilities:
        raise missing_ability(mechanism.facts, "causal")
    known = signature(mechanism).parameters
    given = {name: value for name, value in config.settings.items() if name in known}  # refused in build
    settings = config.settings | check_arguments(mechanism.__init__, given, config.mechanism)
    if "context" in known and "context" not in settings:
        settings = settings | {"context": config.max_positions}
    return replace(config, settings=settings)


def resolve_positions(config: ModelConfig) -> PositionConfig:
    """Return how a resolved config encodes positions."""
    if config.positions == "none":
        return PositionConfig()
    position = POSITIONS[config.positions]
    if position.where != "inputs":
        known = signature(position.make).parameters
        given = {name: value for name, value in config.position.items() if name in known}
        make: Any = position.make.__init__ if isinstance(position.make, type) else position.make
        check_arguments(make, given, config.positions)
    if position.where == "inputs":
        return PositionConfig(inputs=config.positions)
    # A compiled model cannot grow its table of angles, so it starts with all positions.
    context = {"context": config.max_positions} if "context" in signature(position.make).parameters else {}
    return PositionConfig(rotary={"name": config.positions, **context, **config.position})
