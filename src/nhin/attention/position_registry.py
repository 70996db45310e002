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
    """What lists and docs know of a position encoding.

    Args:
        title: Its name in plain words.
        source: Its paper.
        where: Where it acts: "inputs", "heads" or "scores".
        extends: Its behavior beyond the trained length.
        use: When to choose it, in one sentence.
        make: Builds it; the docstring of its module is its page.
    """

    title: str
    source: str
    where: str
    extends: str
    use: str
    make: Callable[..., Any]


POSITIONS: dict[str, PositionEntry] = {
    "sinusoidal": PositionEntry(
        "Sines and cosines",
        "arXiv:1706.03762",
        "inputs",
        "Defined for any length, but a model does poorly on positions it was not trained on.",
        "For encoders of bounded length that should have no parameters for positions.",
        sinusoidal,
    ),
    "learned": PositionEntry(
        "One trained vector per position",
        "arXiv:1705.03122",
        "inputs",
        "Not at all: there is no vector beyond the context it was built with.",
        "For short texts of known maximum length.",
        LearnedEmbedding,
    ),
    "rotary": PositionEntry(
        "Rotary (RoPE), halves",
        "arXiv:2104.09864",
        "heads",
        "Defined for any length; outputs worsen soon after the trained length.",
        "By default: every layer knows the distance, and caches stay valid.",
        Rotary,
    ),
    "rotary-interleaved": PositionEntry(
        "Rotary (RoPE), adjacent channels",
        "arXiv:2104.09864",
        "heads",
        "As rotary.",
        "For checkpoints in the paper's convention: RoFormer, GPT-J, PaLM.",
        rotary_interleaved,
    ),
    "interpolation": PositionEntry(
        "Position interpolation",
        "arXiv:2306.15595",
        "heads",
        "To factor times the trained length, after some further training.",
        "To lengthen a rotary model evenly when it can be trained a little more.",
        Interpolation,
    ),
    "ntk": PositionEntry(
        "NTK-aware rotary",
        "arXiv:2309.00071",
        "heads",
        "To somewhat less than factor times the trained length, without further training.",
        "To lengthen a rotary model that cannot be trained further.",
        NTK,
    ),
    "dynamic-ntk": PositionEntry(
        "Dynamic NTK",
        "arXiv:2309.00071",
        "heads",
        "Exactly as trained up to the trained length, then degrades gently.",
        "To lengthen a rotary model without loss on short texts.",
        DynamicNTK,
    ),
    "yarn": PositionEntry(
        "YaRN",
        "arXiv:2309.00071",
        "heads",
        "To factor times the trained length, best after some further training.",
        "To lengthen a rotary model as far as possible.",
        YaRN,
    ),
    "xpos": PositionEntry(
        "xPos: rotary that fades",
        "arXiv:2212.10554",
        "heads",
        "Distant keys fade, so longer texts disturb less; a window helps further.",
        "For causal models trained short and read long.",
        XPos,
    ),
    "alibi": PositionEntry(
        "ALiBi: linear biases",
        "arXiv:2108.12409",
        "scores",
        "Reads longer texts than trained on with little loss; distant keys fade.",
        "To train on short texts and read long ones.",
        ALiBi,
    ),
    "t5": PositionEntry(
        "T5's relative bias",
        "arXiv:1910.10683",
        "scores",
        "All distances from the greatest on share a bucket, so longer texts work.",
        "For encoders and decoders that should learn what distance means.",
        T5,
    ),
    "sinusoidal-2d": PositionEntry(
        "Sines and cosines on a grid",
        "arXiv:1802.05751",
        "inputs",
        "Defined for any grid.",
        "For features of images, added once.",
        sinusoidal_2d,
    ),
    "rotary-2d": PositionEntry(
        "Rotary on a grid",
        "arXiv:2403.13298",
        "heads",
        "Defined for any number of rows; works well on other sizes than trained on.",
        "For features of images: scores depend on the rows and columns between two positions.",
        Rotary2d,
    ),
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
