"""What every layout says of itself: which designs it can hold, its config, and its names for our weights."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from nhin.attention.registry import MECHANISMS
from nhin.lm.huggingface.config import Config
from nhin.models.design import Design

Weights = Mapping[str, Tensor]


@dataclass(frozen=True, slots=True)
class Layout:
    """One of Hugging Face's models, as functions of a settled design.

    Args:
        name: Its ``model_type``.
        obstacles: What of a design it cannot hold, one sentence each.
        config: Its config.json, without what all have.
        design: The design that a config describes.
        outward: Our weights by its names.
        inward: Its weights by ours.
        tables: Tensors of its checkpoints that are no weights, by how their names end.
    """

    name: str
    obstacles: Callable[[Design], Iterator[str]]
    config: Callable[[Design], dict[str, Any]]
    design: Callable[[Config], Design]
    outward: Callable[[Weights, Design], dict[str, Tensor]]
    inward: Callable[[Weights, Design], dict[str, Tensor]]
    tables: tuple[str, ...]


def in_the_way(design: Design, wanted: Mapping[str, tuple[object, ...]]) -> Iterator[str]:
    """Say which settings stand in the way of any layout, or of one that wants some to be otherwise."""
    common = {
        "order": ("pre",),
        "final_norm": (True,),
        "qk_norm": (False,),
        "experts": (0,),
        "memory": (0,),
    }
    for name, allowed in (common | dict(wanted)).items():
        value = getattr(design, name)
        if value not in allowed:
            yield f"{name} is {value!r}, not {' or '.join(map(repr, allowed))}"
    if not MECHANISMS[design.mechanism].facts.exact:
        yield f"mechanism is {design.mechanism!r}, not 'softmax'"
    if not design.depth:
        yield "depth is 0"
