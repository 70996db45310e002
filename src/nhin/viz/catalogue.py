"""The catalogue of the library: mechanisms, positions, head sharing, caches and presets, as one list."""

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from inspect import Parameter, getmodule, signature
from typing import Any

from nhin.attention.base import ABILITIES, CacheSpec, Facts
from nhin.attention.position_registry import POSITIONS
from nhin.attention.registry import CACHES, MECHANISMS, build
from nhin.errors import UnknownName
from nhin.layers.head_sharing import SHARING
from nhin.layers.presets import PRESETS
from nhin.viz.docstring import ParsedDocstring, parse_arguments, parse_docstring

FAMILIES: Mapping[str, str] = {
    "exact": "Exact: softmax attention",
    "scores": "Scores: other ways to compare a query with a key",
    "reach": "Reach: how much of the source an alignment model attends to",
    "bias": "Bias: the score gets an addend that depends on the distance",
    "linear": "Linear: feature maps instead of a softmax",
    "low-rank": "Low rank: keys are compressed to a few",
    "sparse": "Sparse: a softmax over some of the keys",
}
KINDS: Mapping[str, str] = {
    "mechanism": "Mechanisms",
    "position": "Position encodings",
    "sharing": "Heads: how they share keys and values",
    "state": "Caches for decoding",
    "preset": "Presets: the attention of known models",
}


@dataclass(frozen=True)
class Entry:
    """One entry of the catalogue.

    Args:
        kind: A key of ``KINDS``.
        name: Its name in code.
        title: Its name in words.
        doc: The docstring of its module.
        use: When to choose it.
        source: Its paper.
        facts: Further data, by name.
        settings: Default and meaning of each setting.
        mechanism: Facts of a mechanism; None for other kinds.
    """

    kind: str
    name: str
    title: str
    doc: ParsedDocstring
    use: str = ""
    source: str = ""
    facts: Mapping[str, str] = field(default_factory=dict)
    settings: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    mechanism: Facts | None = None


@cache
def list_entries() -> tuple[Entry, ...]:
    """Return all entries, in the order of the tables."""
    return (*_mechanisms(), *_positions(), *_sharing(), *_caches(), *_presets())


def find_entry(name: str) -> Entry:
    """Return one entry by name.

    Raises:
        UnknownName: There is none of that name; the message has the nearest.
    """
    known = {entry.name: entry for entry in list_entries()}
    if name not in known:
        raise UnknownName("mechanism, position, state or preset", name, known)
    return known[name]


def entry_to_dict(entry: Entry) -> dict[str, Any]:
    """Return an entry as JSON data."""
    data: dict[str, Any] = {name: getattr(entry, name) for name in ("kind", "name", "title", "source")}
    if entry.mechanism is not None:
        facts = entry.mechanism
        data |= {"family": facts.family, "time": facts.time, "memory": facts.memory, "exact": facts.exact}
        data |= {"state": facts.state, "abilities": [a for a in ABILITIES if a in facts.abilities]}
    return data | {
        **{key: value for key, value in entry.facts.items() if key not in data},
        "use": entry.use,
        "settings": {name: default for name, (default, _) in entry.settings.items()},
        "formula": [line for formula in entry.doc.formulas for line in formula.lines],
        "differs": entry.doc.remarks.get("Differs", ""),
    }


def list_settings(make: Callable[..., object]) -> dict[str, tuple[str, str]]:
    """Return the default of each parameter of a class or function, and its description."""
    meanings: dict[str, str] = {}
    for owner in reversed(getattr(make, "__mro__", (make,))):
        meanings |= parse_arguments(owner.__doc__)
    return {
        p.name: ("" if p.default is Parameter.empty else repr(p.default), meanings.get(p.name, ""))
        for p in signature(make).parameters.values()
        if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)
    }


def _parse_module_doc(source: object) -> ParsedDocstring:
    module = getmodule(source)
    return parse_docstring(None if module is None else module.__doc__)


def _mechanisms() -> Iterator[Entry]:
    for family in FAMILIES:
        for name, mechanism in MECHANISMS.items():
            facts = mechanism.facts
            if facts.family == family:
                doc, settings = _parse_module_doc(mechanism), list_settings(mechanism)
                yield Entry("mechanism", name, facts.title, doc, facts.use, facts.source, {}, settings, facts)


def _positions() -> Iterator[Entry]:
    for name, position in POSITIONS.items():
        if name in MECHANISMS:  # ALiBi and T5 are listed once
            continue
        doc, settings = _parse_module_doc(position.make), list_settings(position.make)
        extends, use = (doc.remarks.pop(label, "") for label in ("Extends", "Use"))
        facts = {"where": position.where, "extends": extends}
        yield Entry("position", name, position.title, doc, use, _first_source(doc), facts, settings)


def _sharing() -> Iterator[Entry]:
    doc = parse_docstring(sys.modules["nhin.layers.head_sharing"].__doc__)
    for name, sharing in SHARING.items():
        facts = {"given": sharing.settings, "state": sharing.state}
        yield Entry("sharing", name, sharing.title, doc, sharing.use, sharing.source, facts)


def _caches() -> Iterator[Entry]:
    used: dict[type, list[str]] = {}
    for name, mechanism in MECHANISMS.items():
        if "decode" in mechanism.facts.abilities:
            cache = build(name, heads=1, head_dim=2).init_cache(CacheSpec(1, 1, 1, 2))
            used.setdefault(type(cache), []).append(name)
    for name, kind in CACHES.items():
        doc = _parse_module_doc(kind)
        facts = {"class": kind.__name__, "used by": ", ".join(used.get(kind, ()))}
        yield Entry("state", name, doc.title.rstrip("."), doc, source=_first_source(doc), facts=facts)


def _presets() -> Iterator[Entry]:
    doc = parse_docstring(sys.modules["nhin.layers.presets"].__doc__)
    for name, preset in PRESETS.items():
        heads = {0: "all share one", 1: "one each"}.get(preset.group, f"{preset.group} share one")
        facts = {
            "keys and values": heads,
            "mechanism": preset.mechanism,
            "settings": ", ".join(f"{key}={value}" for key, value in preset.settings.items()),
            "rotary": str(preset.rotary or "no"),
            "causal": "yes" if preset.causal else "no",
            "outside": preset.outside,
        }
        yield Entry("preset", name, preset.title, doc, source=preset.source, facts=facts)


def _first_source(doc: ParsedDocstring) -> str:
    source = doc.remarks.get("Source", "").rstrip(".")
    start = source.find("arXiv:")
    return source[start:].split(",")[0].split(" ")[0].rstrip(";,") if start >= 0 else source


def filter_entries(entries: Iterable[Entry], family: str | None, abilities: str | None) -> list[Entry]:
    """Return the mechanisms of a family with some abilities, joined by commas; all entries without either.

    Raises:
        UnknownName: There is no such family or ability.
    """
    needed = [] if abilities is None else [ability.strip() for ability in abilities.split(",")]
    for kind, name, known in (("family", family, FAMILIES), *(("ability", a, ABILITIES) for a in needed)):
        if name is not None and name not in known:
            raise UnknownName(kind, name, known)
    if family is None and abilities is None:
        return list(entries)
    return [
        entry
        for entry in entries
        if (facts := entry.mechanism) is not None
        and family in (None, facts.family)
        and facts.abilities.issuperset(needed)
    ]
