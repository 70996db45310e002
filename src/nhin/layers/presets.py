"""The attention layers of known models as named settings of one layer.

A preset says what its model's paper says about attention: how many key/value heads, how far a place looks,
how it knows its place, and what stands outside the layer. Sizes are yours: ``build_preset("mistral", dim=64,
heads=8)``. Norms, feed-forwards and the order of blocks are not attention, and ``outside`` names those that
must be there for the layer to make sense.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from nhin.errors import UnknownName
from nhin.layers.multihead import MultiHead


@dataclass(frozen=True, slots=True)
class Preset:
    """The attention of a known model, as data.

    Args:
        name: Its key in the table.
        title: Its name in plain words.
        source: Where it comes from.
        group: Query heads that share a key/value head: 1 is multi-head, 0 is all of them (multi-query).
        causal: The layer is called with ``causal=True``.
        mechanism: What looks, a name in ``attention.registry.MECHANISMS``.
        settings: The mechanism's own settings.
        rotary: How queries and keys are turned; see ``MultiHead``.
        bias: The projections have a bias.
        inputs: The position that is added to the inputs, a name in ``attention.position_registry.POSITIONS``.
        outside: What the model does around the layer for it to know places, in one sentence.
    """

    name: str
    title: str
    source: str
    group: int = 1
    causal: bool = True
    mechanism: str = "softmax"
    settings: Mapping[str, object] = field(default_factory=dict)
    rotary: bool | str | Mapping[str, object] = False
    bias: bool = False
    inputs: str | None = None
    outside: str = "Nothing: places are known within the layer."

    def kv_heads(self, heads: int) -> int:
        """Return the key/value heads of a layer with so many query heads: whole groups, at least one."""
        return heads // self.group if self.group and heads % self.group == 0 else 1


_LEARNED = "Learned positions are added to the inputs: attention.positions.Learned."

_ALL = (
    Preset(
        "gpt2",
        "GPT-2: multi-head, learned positions",
        "Radford et al. 2019, Language Models are Unsupervised Multitask Learners",
        bias=True,
        inputs="learned",
        outside=_LEARNED,
    ),
    Preset(
        "bert",
        "BERT: multi-head, looks both ways, learned positions",
        "arXiv:1810.04805",
        causal=False,
        bias=True,
        inputs="learned",
        outside=_LEARNED,
    ),
    Preset(
        "llama2",
        "LLaMA-2 (34B, 70B): grouped by eight, rotary",
        "arXiv:2307.09288",
        group=8,
        rotary="rotary",
    ),
    Preset(
        "mistral",
        "Mistral 7B: grouped by four, sliding window, rotary",
        "arXiv:2310.06825",
        group=4,
        mechanism="window",
        settings={"window": 4096},
        rotary="rotary",
    ),
    Preset(
        "falcon",
        "Falcon 7B: multi-query, rotary",
        "arXiv:2311.16867",
        group=0,
        rotary="rotary",
    ),
    Preset(
        "palm",
        "PaLM: multi-query, rotary",
        "arXiv:2204.02311",
        group=0,
        rotary="rotary-interleaved",
    ),
    Preset(
        "starcoder",
        "StarCoder: multi-query, learned positions",
        "arXiv:2305.06161",
        group=0,
        bias=True,
        inputs="learned",
        outside=_LEARNED,
    ),
    Preset(
        "mpt",
        "MPT: multi-head, ALiBi",
        "MosaicML 2023, Introducing MPT-7B; ALiBi: arXiv:2108.12409",
        mechanism="alibi",
    ),
)

PRESETS: dict[str, Preset] = {preset.name: preset for preset in _ALL}


def build_preset(name: str, *, dim: int, heads: int, **overrides: Any) -> MultiHead:
    """Build one layer as a known model has it.

    Args:
        name: A key of ``PRESETS``.
        dim: Width of inputs and outputs.
        heads: Query heads.
        **overrides: Arguments of ``MultiHead`` to give otherwise than the preset has them.

    Raises:
        UnknownName: No preset is called that, or ``MultiHead`` has no such argument.
    """
    if name not in PRESETS:
        raise UnknownName("preset", name, PRESETS)
    preset = PRESETS[name]
    arguments: dict[str, Any] = {
        "kv_heads": preset.kv_heads(heads),
        "mechanism": preset.mechanism,
        "settings": preset.settings,
        "rotary": preset.rotary,
        "bias": preset.bias,
        "dropout": 0.0,
    }
    for argument in overrides:
        if argument not in arguments:
            raise UnknownName("argument of MultiHead", argument, arguments)
    if "mechanism" in overrides:
        # Settings belong to the mechanism they were written for.
        arguments["settings"] = {}
    return MultiHead(dim, heads, **arguments | overrides)
