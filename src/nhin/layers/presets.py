"""The attention layers of known models, as named settings of one layer.

A preset holds what its model's paper says about attention: how many key/value heads, the span of attention,
the position encoding, and what the model needs outside the layer. Sizes are yours: ``build_preset("mistral",
dim=64, heads=8)``. Norms, MLPs and the order of sublayers are not attention.
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
        source: The paper.
        group: Query heads that share a key/value head: 1 is multi-head, 0 is all of them (multi-query).
        causal: The layer is called with ``causal=True``.
        mechanism: A name in ``attention.registry.MECHANISMS``.
        settings: The mechanism's own settings.
        rotary: Rotation of queries and keys; see ``MultiHead``.
        bias: The projections have a bias.
        inputs: The position embedding of the inputs, a name in ``attention.position_registry.POSITIONS``.
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

    @property
    def outside(self) -> str:
        """What the model does outside the layer to encode positions, in one sentence."""
        if self.inputs == "learned":
            return "Learned positions are added to the inputs: attention.positions.LearnedEmbedding."
        return "Nothing: the layer encodes positions."

    def kv_heads(self, heads: int) -> int:
        """Return the key/value heads of a layer with ``heads`` query heads: whole groups, at least one."""
        return heads // self.group if self.group and heads % self.group == 0 else 1


_LEARNED: dict[str, Any] = {"bias": True, "inputs": "learned"}

_ALL = (
    Preset(
        "gpt2",
        "GPT-2: multi-head, learned positions",
        "Radford et al. 2019, Language Models are Unsupervised Multitask Learners",
        **_LEARNED,
    ),
    Preset(
        "bert",
        "BERT: multi-head, bidirectional, learned positions",
        "arXiv:1810.04805",
        causal=False,
        **_LEARNED,
    ),
    Preset(
        "llama2", "LLaMA-2 (34B, 70B): grouped by eight, rotary", "arXiv:2307.09288", group=8, rotary="rotary"
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
    Preset("falcon", "Falcon 7B: multi-query, rotary", "arXiv:2311.16867", group=0, rotary="rotary"),
    Preset("palm", "PaLM: multi-query, rotary", "arXiv:2204.02311", group=0, rotary="rotary-interleaved"),
    Preset("starcoder", "StarCoder: multi-query, learned positions", "arXiv:2305.06161", group=0, **_LEARNED),
    Preset(
        "mpt",
        "MPT: multi-head, ALiBi",
        "MosaicML 2023, Introducing MPT-7B; ALiBi: arXiv:2108.12409",
        mechanism="alibi",
    ),
)

PRESETS: dict[str, Preset] = {preset.name: preset for preset in _ALL}


def build_preset(name: str, *, dim: int, heads: int, **overrides: Any) -> MultiHead:
    """Build the attention layer of a known model.

    Args:
        name: A key of ``PRESETS``.
        dim: Width of inputs and outputs.
        heads: Query heads.
        **overrides: Arguments of ``MultiHead`` that replace the preset's.

    Raises:
        UnknownName: There is no such preset, or ``MultiHead`` has no such argument.
    """
    if name not in PRESETS:
        raise UnknownName("preset", name, PRESETS)
    preset = PRESETS[name]
    arguments: dict[str, Any] = {
        "kv_heads": preset.kv_heads(heads),
        "mechanism": preset.mechanism,
        # Settings belong to the mechanism they were written for.
        "settings": {} if "mechanism" in overrides else preset.settings,
        "rotary": preset.rotary,
        "bias": preset.bias,
        "dropout": 0.0,
    }
    for argument in overrides:
        if argument not in arguments:
            raise UnknownName("argument of MultiHead", argument, arguments)
    return MultiHead(dim, heads, **arguments | overrides)
