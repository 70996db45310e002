"""What every layout says of itself: which designs it can hold, its config, and its names for our weights."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from nhin.attention.registry import MECHANISMS
from nhin.lm.huggingface.config_json import ConfigReader
from nhin.models.config import ModelConfig

Weights = Mapping[str, Tensor]


@dataclass(frozen=True, slots=True)
class CheckpointFormat:
    """One of Hugging Face's models, as functions of a settled design.

    Args:
        name: Its ``model_type``.
        find_unsupported: What of a design it cannot hold, one sentence each.
        to_hf_config: Its config.json, without what all have.
        from_hf_config: The design that a config describes.
        to_hf_weights: Our weights by its names.
        from_hf_weights: Its weights by ours.
        buffer_suffixes: Tensors of its checkpoints that are no weights, by how their names end.
    """

    name: str
    find_unsupported: Callable[[ModelConfig], Iterator[str]]
    to_hf_config: Callable[[ModelConfig], dict[str, Any]]
    from_hf_config: Callable[[ConfigReader], ModelConfig]
    to_hf_weights: Callable[[Weights, ModelConfig], dict[str, Tensor]]
    from_hf_weights: Callable[[Weights, ModelConfig], dict[str, Tensor]]
    buffer_suffixes: tuple[str, ...]


def find_unsupported_settings(
    config: ModelConfig, requirements: Mapping[str, tuple[object, ...]]
) -> Iterator[str]:
    """Say which settings stand in the way of any layout, or of one that wants some to be otherwise."""
    common = {
        "order": ("pre",),
        "final_norm": (True,),
        "qk_norm": (False,),
        "experts": (0,),
        "memory": (0,),
    }
    for name, allowed in (common | dict(requirements)).items():
        value = getattr(config, name)
        if value not in allowed:
            yield f"{name} is {value!r}, not {' or '.join(map(repr, allowed))}"
    if not MECHANISMS[config.mechanism].facts.exact:
        yield f"mechanism is {config.mechanism!r}, not 'softmax'"
    if not config.depth:
        yield "depth is 0"
