"""What a language model is made of, as data, and the sizes that follow from its depth."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from inspect import signature
from typing import Any, Literal, get_args

from nhin.attention.base import lacking
from nhin.attention.positions.table import POSITIONS
from nhin.attention.registry import MECHANISMS
from nhin.errors import ShapeError, UnknownName, UsageError
from nhin.layers.block import Order
from nhin.layers.feedforward import BENDS
from nhin.layers.norm import NORMS
from nhin.layers.presets import PRESETS

WIDTH_OF_A_LAYER, SMALL_HEAD, LARGE_HEAD, WIDE = 48, 32, 64, 128
Feed = Literal["none", "gelu", "gelu-tanh", "relu2", "swiglu"]
Start = Literal["small", "zero"]
_LEAST = {"depth": 0, "context": 1, "expand": 1, "experts": 0, "memory": 0, "segments": 1}
_LARGEST = {"depth": 1024, "dim": 2**16, "heads": 1024, "context": 2**22, "expand": 64, "experts": 4096}


@dataclass(frozen=True, slots=True)
class Design:
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
        positions: A name in ``attention.positions.table.POSITIONS``, or "none".
        position: The position's own settings.
        preset: A name in ``layers.presets.PRESETS``: it sets heads, mechanism, positions and bias.
        norm: A name in ``layers.norm.NORMS``.
        eps: What keeps norms from dividing by zero; their own when None.
        order: Where norms stand; see ``layers.block.Block``.
        final_norm: Norm what goes to the head.
        qk_norm: Norm queries and keys.
        feed: What follows attention: "none", or a name in ``layers.feedforward.BENDS``.
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
    order: Order = "pre"
    final_norm: bool = True
    qk_norm: bool = False
    feed: Feed = "gelu"
    expand: int = 4
    inner: int | None = None
    experts: int = 0
    active: int = 2
    balance: float = 0.01
    bias: bool = False
    tied: bool = True
    start: Start = "small"
    dropout: float = 0.0
    checkpointing: bool = False
    memory: int = 0
    segments: int = 2
    exits: bool = False

    @property
    def room(self) -> int:
        """Places of one pass: the context, and memory before and after it."""
        return self.context + 2 * self.memory


@dataclass(frozen=True, slots=True)
class Places:
    """How a model knows places: what is added to its inputs, and what turns its heads."""

    inputs: str | None = None
    rotary: bool | Mapping[str, object] = False


def settled(design: Design) -> Design:
    """Return a design with every size filled in, or say what is wrong with it.

    Raises:
        UnknownName: A mechanism, position, preset, norm or another part is not known.
        ShapeError: Sizes are not positive, beyond any machine, or do not divide.
        UsageError: The mechanism cannot be causal, or parts do not go together.
    """
    _check_names(design)
    for name, least in _LEAST.items():
        _within(name, getattr(design, name), least)
    if design.inner is not None:
        _within("inner", design.inner, 1)
    dim = WIDTH_OF_A_LAYER * max(2, design.depth) if design.dim is None else _within("dim", design.dim, 1)
    heads = _heads(dim) if design.heads is None else _within("heads", design.heads, 1)
    if dim % heads:
        raise ShapeError(f"heads is {heads}, which does not divide dim {dim}; choose a divisor")
    design = _preset(replace(design, dim=dim, heads=heads), heads)
    design = design if design.kv_heads is not None else replace(design, kv_heads=heads)
    _check_parts(design)
    return _mechanism(design)


def _heads(dim: int) -> int:
    """Return the most heads that divide a width and are not narrower than they should be."""
    most = max(1, dim // (LARGE_HEAD if dim >= WIDE else SMALL_HEAD))
    return next(heads for heads in range(most, 0, -1) if dim % heads == 0)


def _within(name: str, value: int, least: int) -> int:
    most = _LARGEST.get(name, 2**16)
    if not least <= value <= most:
        raise ShapeError(f"{name} is {value}; give {least} to {most}")
    return value


def _preset(design: Design, heads: int) -> Design:
    """Fill in what a known model's attention says."""
    if design.preset is None:
        return design
    if design.preset not in PRESETS:
        raise UnknownName("preset", design.preset, PRESETS)
    preset = PRESETS[design.preset]
    if not preset.causal:
        raise UsageError(f"preset {preset.name} looks both ways; a language model needs a causal one")
    rotary = "rotary" if preset.rotary is True else preset.rotary
    settings = dict(preset.settings)
    if "window" in settings:
        settings["window"] = min(int(str(settings["window"])), design.room)
    return replace(
        design,
        kv_heads=preset.kv_heads(heads),
        mechanism=preset.mechanism,
        settings=settings | design.settings,
        positions=preset.inputs or (str(rotary) if rotary else "none"),
        bias=preset.bias,
    )


def _check_names(design: Design) -> None:
    """Refuse parts that do not exist."""
    for kind, name, known in (
        ("norm", design.norm, NORMS),
        ("feed", design.feed, ("none", *BENDS)),
        ("order", design.order, get_args(Order)),
        ("start", design.start, get_args(Start)),
        ("position", design.positions, (*POSITIONS, "none")),
    ):
        if name not in known:
            raise UnknownName(kind, name, known)


def _check_parts(design: Design) -> None:
    """Refuse parts that do not go together."""
    if not 0 <= design.dropout < 1:
        raise UsageError(f"dropout is {design.dropout}; give 0 or more and less than 1")
    if design.experts and not 1 <= design.active <= design.experts:
        raise UsageError(f"active is {design.active}; give 1 to {design.experts}, the number of experts")
    if design.eps is not None and not 0 < design.eps <= 1:
        raise UsageError(f"eps is {design.eps}; give more than 0 and at most 1")
    if not (design.balance >= 0 and math.isfinite(design.balance)):
        raise UsageError(f"balance is {design.balance}; give 0 or more")
    if design.experts and design.feed == "none":
        raise UsageError("experts are feed-forwards; give feed='gelu', 'relu2' or 'swiglu'")
    if design.memory and design.exits:
        raise UsageError("memory and exits do not go together; give one of them")
    if (design.memory or design.exits) and not design.depth:
        raise UsageError(
            f"{'memory needs' if design.memory else 'exits need'} blocks; give a depth of 1 or more"
        )
    _check_positions(design)


def _check_positions(design: Design) -> None:
    """Refuse positions that a text or a model of this depth has no use for."""
    where = "" if design.positions == "none" else POSITIONS[design.positions].where
    if design.positions.endswith("2d"):
        raise UsageError(f"{design.positions} places features of pictures; a text needs another position")
    if where == "inputs" and not design.depth:
        raise UsageError("depth 0 looks at one token, wherever it stands; give positions='none'")
    if where in ("", "inputs") and design.position:
        raise UsageError(f"positions {design.positions!r} has no settings; leave position empty")


def _mechanism(design: Design) -> Design:
    """Let a position of scores be the mechanism it is, and refuse mechanisms that look ahead."""
    if design.positions != "none" and POSITIONS[design.positions].where == "scores":
        if design.mechanism not in ("softmax", design.positions):
            raise UsageError(
                f"positions {design.positions!r} act on softmax's scores, not on {design.mechanism!r}'s; "
                "give mechanism='softmax' or other positions"
            )
        settings = design.settings | design.position
        design = replace(design, mechanism=design.positions, positions="none", settings=settings, position={})
    if design.mechanism not in MECHANISMS:
        raise UnknownName("mechanism", design.mechanism, MECHANISMS)
    made = MECHANISMS[design.mechanism]
    if "causal" not in made.facts.abilities:
        raise lacking(made.facts, "causal")
    settings = design.settings
    if "context" in signature(made).parameters and "context" not in settings:
        settings = settings | {"context": design.room}
    return replace(design, settings=settings)


def places(design: Design) -> Places:
    """Say how a settled design knows places."""
    if design.positions == "none":
        return Places()
    position = POSITIONS[design.positions]
    if position.where == "inputs":
        return Places(inputs=design.positions)
    # A compiled model cannot let its table of angles grow, so that it has all its places at once.
    tabled = {"context": design.room} if "context" in signature(position.make).parameters else {}
    return Places(rotary={"name": design.positions, **tabled, **design.position})
