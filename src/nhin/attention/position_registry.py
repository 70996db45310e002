"""The table of positions: every way to tell a mechanism where a query or a key stands.

inputs   a vector is added to what comes in, once, before the first layer: ``make(length, dim)``
         (``make(context, dim)`` where it is learned, ``make(rows, columns, dim)`` on a grid)
heads    queries and keys are turned in every layer: ``make(head_dim)``; ``MultiHead(rotary=NAME)``
scores   a number is added to every score: ``make(heads)``; ``MultiHead(mechanism=NAME)``
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from inspect import signature
from typing import Any

from nhin.attention.bias.alibi import ALiBi
from nhin.attention.bias.t5 import T5
from nhin.attention.positions.dynamic_ntk import dynamic_ntk
from nhin.attention.positions.interpolation import interpolation
from nhin.attention.positions.learned import LearnedEmbedding
from nhin.attention.positions.ntk import ntk
from nhin.attention.positions.rotary import Rotary
from nhin.attention.positions.rotary_2d import Rotary2d
from nhin.attention.positions.rotary_interleaved import rotary_interleaved
from nhin.attention.positions.sinusoidal import sinusoidal
from nhin.attention.positions.sinusoidal_2d import sinusoidal_2d
from nhin.attention.positions.xpos import XPos
from nhin.attention.positions.yarn import yarn
from nhin.errors import UnknownName, UsageError


@dataclass(frozen=True, slots=True)
class PositionEntry:
    """What a position is, as data: lists and docs read nothing else.

    Args:
        name: Its key in the table.
        title: Its name in plain words.
        source: Where it comes from.
        where: Where it acts: "inputs", "heads" or "scores".
        extends: How it behaves beyond the training length.
        use: When to choose it, in one sentence.
        make: Builds it; the docstring of its file is its page.
    """

    name: str
    title: str
    source: str
    where: str
    extends: str
    use: str
    make: Callable[..., Any]


_ENTRIES = (
    PositionEntry(
        "sinusoidal",
        "Fixed waves",
        "arXiv:1706.03762",
        "inputs",
        "Defined for any length, but a model does poorly on places it was not trained on.",
        "For encoders of bounded length that should have no parameters for places.",
        sinusoidal,
    ),
    PositionEntry(
        "learned",
        "One trained vector per place",
        "arXiv:1705.03122",
        "inputs",
        "Not at all: there is no vector beyond the context it was built with.",
        "For short texts of known greatest length.",
        LearnedEmbedding,
    ),
    PositionEntry(
        "rotary",
        "Rotary (RoPE), halves",
        "arXiv:2104.09864",
        "heads",
        "Defined for any length; answers worsen soon after the trained length.",
        "By default: every layer knows the distance, and caches are not disturbed.",
        Rotary,
    ),
    PositionEntry(
        "rotary-interleaved",
        "Rotary (RoPE), neighbouring channels",
        "arXiv:2104.09864",
        "heads",
        "As rotary.",
        "For checkpoints in the paper's convention: RoFormer, GPT-J, PaLM.",
        rotary_interleaved,
    ),
    PositionEntry(
        "interpolation",
        "Position interpolation",
        "arXiv:2306.15595",
        "heads",
        "To factor times the trained length, after some further training.",
        "To lengthen a rotary model evenly when it can be trained a little more.",
        interpolation,
    ),
    PositionEntry(
        "ntk",
        "NTK-aware rotary",
        "arXiv:2309.00071",
        "heads",
        "To somewhat less than factor times the trained length, without further training.",
        "To lengthen a rotary model that cannot be trained further.",
        ntk,
    ),
    PositionEntry(
        "dynamic-ntk",
        "Dynamic NTK",
        "arXiv:2309.00071",
        "heads",
        "Exactly as trained up to the trained length, then degrades gently.",
        "To lengthen a rotary model without loss on short texts.",
        dynamic_ntk,
    ),
    PositionEntry(
        "yarn",
        "YaRN",
        "arXiv:2309.00071",
        "heads",
        "To factor times the trained length, best after some further training.",
        "To lengthen a rotary model as far as possible.",
        yarn,
    ),
    PositionEntry(
        "xpos",
        "xPos: rotary that fades",
        "arXiv:2212.10554",
        "heads",
        "Far keys fade, so longer texts disturb less; a window helps further.",
        "For causal models trained short and read long.",
        XPos,
    ),
    PositionEntry(
        "alibi",
        "ALiBi: linear biases",
        "arXiv:2108.12409",
        "scores",
        "Reads longer texts than trained on with little loss; far keys fade.",
        "To train on short texts and read long ones.",
        ALiBi,
    ),
    PositionEntry(
        "t5",
        "T5's relative bias",
        "arXiv:1910.10683",
        "scores",
        "All distances from the greatest on are one, so longer texts are borne.",
        "For encoders and decoders that should learn what distance means.",
        T5,
    ),
    PositionEntry(
        "sinusoidal-2d",
        "Fixed waves on a grid",
        "arXiv:1802.05751",
        "inputs",
        "Defined for any grid.",
        "For features of pictures, added once.",
        sinusoidal_2d,
    ),
    PositionEntry(
        "rotary-2d",
        "Rotary on a grid",
        "arXiv:2403.13298",
        "heads",
        "Defined for any number of rows; other sizes than trained on are borne well.",
        "For features of pictures: scores see rows and columns between a query and a key.",
        Rotary2d,
    ),
)

POSITIONS: dict[str, PositionEntry] = {position.name: position for position in _ENTRIES}


def build_rotary(rotary: bool | str | Mapping[str, object], head_dim: int) -> Rotary | None:
    """Build what turns queries and keys.

    Args:
        rotary: False for nothing, True for "rotary", a name of ``POSITIONS`` that acts on heads, or a mapping
            with that name as "name" and its settings.
        head_dim: Width of one head.

    Raises:
        UnknownName: No position is called that, or it has no such setting.
        UsageError: The position does not act on heads; the message says where it belongs.
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
