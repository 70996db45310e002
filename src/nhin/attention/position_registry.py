"""The table of position encodings, by name.

inputs   a vector is added to the inputs, once, before the first layer: ``make(length, dim)``
         (``make(context, dim)`` where it is learned, ``make(rows, columns, dim)`` on a grid)
heads    queries and keys are rotated in every layer: ``make(head_dim)``; ``MultiHead(rotary=NAME)``
scores   a bias is added to every score: ``make(heads)``; ``MultiHead(mechanism=NAME)``
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from inspect import signature
from typing import Any

from nhin.attention.bias.alibi import ALiBi
from nhin.attention.bias.t5 import T5
from nhin.attention.positions.dynamic_ntk import DynamicNTK
from nhin.attention.positions.interpolation import Interpolation
from nhin.attention.positions.learned import LearnedEmbedding
from nhin.attention.positions.llama3 import Llama3Rotary
from nhin.attention.positions.ntk import NTK
from nhin.attention.positions.rotary import Rotary
from nhin.attention.positions.rotary_2d import Rotary2d
from nhin.attention.positions.rotary_interleaved import rotary_interleaved
from nhin.attention.positions.sinusoidal import sinusoidal
from nhin.attention.positions.sinusoidal_2d import sinusoidal_2d
from nhin.attention.positions.xpos import XPos
from nhin.attention.positions.yarn import YaRN
from nhin.errors import UnknownName, UsageError


@dataclass(frozen=True, slots=True)
class PositionEntry:
    """What lists and docs know of a position encoding besides the docstring of the module of ``make``."""

    title: str
    where: str  # it acts on: "inputs", "heads" or "scores"
    make: Callable[..., Any]


POSITIONS: dict[str, PositionEntry] = {
    "sinusoidal": PositionEntry("Sines and cosines", "inputs", sinusoidal),
    "learned": PositionEntry("One trained vector per position", "inputs", LearnedEmbedding),
    "rotary": PositionEntry("Rotary (RoPE), halves", "heads", Rotary),
    "rotary-interleaved": PositionEntry("Rotary (RoPE), adjacent channels", "heads", rotary_interleaved),
    "interpolation": PositionEntry("Position interpolation", "heads", Interpolation),
    "ntk": PositionEntry("NTK-aware rotary", "heads", NTK),
    "dynamic-ntk": PositionEntry("Dynamic NTK", "heads", DynamicNTK),
    "yarn": PositionEntry("YaRN", "heads", YaRN),
    "llama3": PositionEntry("Llama 3's rotary", "heads", Llama3Rotary),
    "xpos": PositionEntry("xPos: rotary that fades", "heads", XPos),
    "alibi": PositionEntry("ALiBi: linear biases", "scores", ALiBi),
    "t5": PositionEntry("T5's relative bias", "scores", T5),
    "sinusoidal-2d": PositionEntry("Sines and cosines on a grid", "inputs", sinusoidal_2d),
    "rotary-2d": PositionEntry("Rotary on a grid", "heads", Rotary2d),
}


def build_rotary(rotary: bool | str | Mapping[str, object], head_dim: int) -> Rotary | None:
    """Build the rotation of queries and keys.

    Args:
        rotary: False for none, True for "rotary", a name of ``POSITIONS`` that acts on heads, or a mapping
            with that name as "name" and its settings.
        head_dim: Width of one head.

    Raises:
        UnknownName: There is no such position, or it has no such setting.
        UsageError: The position does not act on heads; the message says how to use it.
    """
    if isinstance(rotary, bool):
        return Rotary(head_dim) if rotary else None
    settings = {} if isinstance(rotary, str) else {key: x for key, x in rotary.items() if key != "name"}
    name = rotary if isinstance(rotary, str) else str(rotary.get("name", "rotary"))
    if name not in POSITIONS:
        raise UnknownName("position", name, POSITIONS)
    position = POSITIONS[name]
    if position.where == "inputs":
        raise UsageError(f"rotary is {name!r}, which is added to the inputs; add it before the first layer")
    if position.where == "scores":
        raise UsageError(f"rotary is {name!r}, which acts on scores; give it as mechanism={name!r}")
    known = [key for key in signature(position.make).parameters if key != "head_dim"]
    for setting in settings:
        if setting not in known:
            raise UnknownName(f"setting of {name}", setting, known)
    return position.make(head_dim, **settings)
