"""Rotary positions in a config.json: rope_theta and rope_scaling, or rope_parameters of transformers 5."""

import math
from collections.abc import Iterator
from typing import Any

from nhin.lm.huggingface.config_json import ConfigReader
from nhin.models.config import ModelConfig

BASE = 10000.0
KINDS = {
    "default": "rotary",
    "linear": "interpolation",
    "dynamic": "dynamic-ntk",
    "yarn": "yarn",
    "llama3": "llama3",
}
POSITIONS = (*KINDS.values(), "ntk")
CONTEXT = "nhin_context"  # our key for a context that a format does not state
_TRAINED = "original_max_position_embeddings"
# For each kind nhin's settings, by their names in the file; the number is the default there, None for none.
_SETTINGS: dict[str, dict[str, tuple[str, float | None]]] = {
    "default": {},
    "linear": {"factor": ("factor", None)},
    "dynamic": {"factor": ("factor", None)},
    "yarn": {"factor": ("factor", None), "beta_fast": ("fast", 32.0), "beta_slow": ("slow", 1.0)},
    "llama3": {
        "factor": ("factor", None),
        "high_freq_factor": ("fast", None),
        "low_freq_factor": ("slow", None),
    },
}
_OUR_DEFAULTS = {
    "linear": {"factor": 4.0},
    "dynamic": {"factor": 1.0, "trained": 2048},
    "yarn": {"factor": 4.0, "fast": 32.0, "slow": 1.0, "trained": 2048},
    "llama3": {"factor": 8.0, "fast": 4.0, "slow": 1.0, "trained": 8192},
}
# What other kinds than a file's own use, and the library ignores.
_KNOWN = {"rope_type", "type", "rope_theta", "factor", _TRAINED, "attention_factor", "beta_fast", "beta_slow",
          "low_freq_factor", "high_freq_factor", "mscale", "mscale_all_dim"}  # fmt: skip
_CARRIED = {"base", "context", "factor", "trained", "fast", "slow", "temperature"}


def read_rope(reader: ConfigReader, context: int) -> tuple[str, dict[str, Any], int]:
    """Return the name of the positions, their settings, and the context in tokens.

    Args:
        reader: The whole config.json.
        context: Its max_position_embeddings.

    Raises:
        UsageError: It asks for positions that nhin does not have; the message names the key.
        CheckpointError: A value is invalid.
    """
    base = reader.get_float("rope_theta", BASE)
    name = "rope_scaling" if reader.has_value("rope_scaling") else "rope_parameters"
    section = reader.get_section(name)
    plain = {"partial_rotary_factor": [1.0, 1], "truncate": [True]}
    reader.check_allowed({"partial_rotary_factor": plain["partial_rotary_factor"]})
    section.check_allowed(plain)
    section.check_keys(_KNOWN | plain.keys())
    kinds = {kind: kind for kind in KINDS}
    kind = section.get_choice("rope_type", kinds, section.get_choice("type", kinds, "default"))
    base = section.get_float("rope_theta", base)
    position: dict[str, Any] = {} if base == BASE else {"base": base}
    for theirs, (ours, default) in _SETTINGS[kind].items():
        if theirs == "factor" and kind == "yarn" and not section.has_value("factor"):
            default = context / _read_trained(reader, section, context)
        position[ours] = section.get_float(theirs, default)
    if kind in ("yarn", "llama3"):
        position["trained"] = _read_trained(reader, section, context)
    if kind == "yarn" and (scale := _read_attention_factor(section, position["factor"])) is not None:
        position["temperature"] = scale
    if kind == "dynamic":
        position["trained"] = context
        context = reader.get_int(CONTEXT, int(min(context * position["factor"], 2.0**31)))
    return KINDS[kind], position, context


def write_rope(config: ModelConfig) -> dict[str, Any]:
    """Return the keys of config.json that describe the positions and their length."""
    kind, position = _kind_of(config), config.position
    base = float(position.get("base", BASE))
    if config.positions == "ntk":  # the same as a larger base
        width = config.head_dim or (config.dim or 0) // (config.heads or 1)
        base *= position.get("factor", 4.0) ** (width / (width - 2) if width > 2 else 0)
    values = _OUR_DEFAULTS.get(kind, {}) | dict(position)
    scaling = {theirs: values[ours] for theirs, (ours, _) in _SETTINGS[kind].items()}
    if kind in ("yarn", "llama3"):
        scaling[_TRAINED] = values["trained"]
    if values.get("temperature") is not None:
        scaling["attention_factor"] = values["temperature"]
    length = values["trained"] if kind == "dynamic" else config.context
    tree: dict[str, Any] = {"max_position_embeddings": length}
    if kind == "dynamic" and config.context != int(length * values["factor"]):
        tree[CONTEXT] = config.context
    # transformers before version 5 reads rope_theta and rope_scaling, later versions rope_parameters.
    tree |= {"rope_theta": base, "rope_parameters": {"rope_type": kind, "rope_theta": base, **scaling}}
    return tree | (
        {} if kind == "default" else {"rope_scaling": {"rope_type": kind, "type": kind, **scaling}}
    )


def find_unsupported_rope(config: ModelConfig) -> Iterator[str]:
    """Yield the settings of rotary positions that a config.json cannot express."""
    for name, value in config.position.items():
        if (name, value) != ("pairs", "half") and name not in _CARRIED:
            yield f"position has {name} = {value!r}"


def _kind_of(config: ModelConfig) -> str:
    return next((theirs for theirs, ours in KINDS.items() if ours == config.positions), "default")


def _read_trained(reader: ConfigReader, section: ConfigReader, context: int) -> int:
    """Return the trained length; one outside the section comes first, as in the library."""
    return reader.get_int(_TRAINED, section.get_int(_TRAINED, context))


def _read_attention_factor(section: ConfigReader, factor: float) -> float | None:
    """Return YaRN's scale of queries and keys where it is not the one that follows from the factor."""
    if section.has_value("attention_factor"):
        return section.get_float("attention_factor", 1.0)
    if not (section.has_value("mscale") and section.has_value("mscale_all_dim")):
        return None
    growth = 0.1 * math.log(max(factor, 1.0))
    one, two = (growth * section.get_float(name, 1.0) + 1 for name in ("mscale", "mscale_all_dim"))
    return one / two
