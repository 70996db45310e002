"""Everything attention is made of, as one list: mechanisms, positions, head sharing, states, presets."""

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
    "exact": "Exact: softmax attention, however it is computed",
    "scores": "Scores: other ways to compare a query with a key",
    "reach": "Reach: how much of the source an alignment looks at",
    "bias": "Bias: a number for the distance is added to the score",
    "linear": "Linear: features instead of a softmax",
    "low-rank": "Low rank: few mixtures stand for many keys",
    "sparse": "Sparse: a softmax over some of the keys",
}
KINDS: Mapping[str, str] = {
    "mechanism": "Mechanisms",
    "position": "Positions: how a place is known",
    "sharing": "Heads: how they share keys and values",
    "state": "States: what decoding remembers",
    "preset": "Presets: the attention of known models",
}


@dataclass(frozen=True)
class Entry:
    """One thing that can be listed.

    Args:
        kind: A key of ``KINDS``.
        name: What it is called in code.
        title: Its name in plain words.
        doc: What its file says of it.
        use: When to choose it.
        source: Where it comes from.
        facts: What else is known of it as data, by name.
        settings: Each setting with its default and what it means.
        mechanism: The facts of a mechanism, for mechanisms.
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
    """Return everything there is, in the order of the tables."""
    return (*_mechanisms(), *_positions(), *_sharing(), *_states(), *_presets())


def find_entry(name: str) -> Entry:
    """Return one thing by name.

    Raises:
        UnknownName: There is nothing of that name; the message has the nearest.
    """
    known = {one.name: one for one in list_entries()}
    if name not in known:
        raise UnknownName("mechanism, position, state or preset", name, known)
    return known[name]


def entry_to_dict(entry: Entry) -> dict[str, Any]:
    """Return an entry for programs."""
    data: dict[str, Any] = {
        "kind": entry.kind,
        "name": entry.name,
        "title": entry.title,
        "source": entry.source,
    }
    if entry.mechanism is not None:
        facts = entry.mechanism
        data |= {"family": facts.family, "time": facts.time, "memory": facts.memory, "exact": facts.exact}
        data |= {"state": facts.state, "abilities": [a for a in ABILITIES if a in facts.abilities]}
    formulas = [line for formula in entry.doc.formulas for line in formula.lines]
    return data | {
        **{key: value for key, value in entry.facts.items() if key not in data},
        "use": entry.use,
        "settings": {name: default for name, (default, _) in entry.settings.items()},
        "formula": formulas,
        "differs": entry.doc.remarks.get("Differs", ""),
    }


def list_settings(make: Callable[..., object]) -> dict[str, tuple[str, str]]:
    """Return what a class or function may be given: the default of each, and what its docstring says."""
    said: dict[str, str] = {}
    for owner in reversed(getattr(make, "__mro__", (make,))):
        said |= parse_arguments(owner.__doc__)
    kept = (p for p in signature(make).parameters.values() if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD))
    return {
        p.name: ("" if p.default is Parameter.empty else repr(p.default), said.get(p.name, "")) for p in kept
    }


def _parse_module_doc(source: object) -> ParsedDocstring:
    module = getmodule(source)
    return parse_docstring(None if module is None else module.__doc__)


def _mechanisms() -> Iterator[Entry]:
    for family in FAMILIES:
        for name, made in MECHANISMS.items():
            facts = made.facts
            if facts.family == family:
                yield Entry(
                    "mechanism",
                    name,
                    facts.title,
                    _parse_module_doc(made),
                    facts.use,
                    facts.source,
                    settings=list_settings(made),
                    mechanism=facts,
                )


def _positions() -> Iterator[Entry]:
    for name, position in POSITIONS.items():
        told, settings = _parse_module_doc(position.make), list_settings(position.make)
        extends, use = (told.remarks.pop(label, "") for label in ("Extends", "Use"))
        facts = {"where": position.where, "extends": extends}
        # ALiBi and T5 are mechanisms too, and stand in the list once.
        if name not in MECHANISMS:
            yield Entry("position", name, position.title, told, use, _first_source(told), facts, settings)


def _sharing() -> Iterator[Entry]:
    told = parse_docstring(sys.modules["nhin.layers.head_sharing"].__doc__)
    for name, way in SHARING.items():
        facts = {"given": way.settings, "state": way.state}
        yield Entry("sharing", name, way.title, told, way.use, way.source, facts)


def _states() -> Iterator[Entry]:
    used: dict[type, list[str]] = {}
    for name, made in MECHANISMS.items():
        if "decode" in made.facts.abilities:
            state = build(name, heads=1, head_dim=2).init_cache(CacheSpec(1, 1, 1, 2))
            used.setdefault(type(state), []).append(name)
    for name, kind in CACHES.items():
        told = _parse_module_doc(kind)
        facts = {"class": kind.__name__, "used by": ", ".join(used.get(kind, ()))}
        yield Entry("state", name, told.title.rstrip("."), told, source=_first_source(told), facts=facts)


def _presets() -> Iterator[Entry]:
    told = parse_docstring(sys.modules["nhin.layers.presets"].__doc__)
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
        yield Entry("preset", name, preset.title, told, source=preset.source, facts=facts)


def _first_source(doc: ParsedDocstring) -> str:
    source = doc.remarks.get("Source", "").rstrip(".")
    start = source.find("arXiv:")
    return source[start:].split(",")[0].split(" ")[0].rstrip(";,") if start >= 0 else source


def filter_entries(entries: Iterable[Entry], family: str | None, abilities: str | None) -> list[Entry]:
    """Return the mechanisms of a family that have some abilities, joined by commas; all entries for None.

    Raises:
        UnknownName: There is no such family or ability.
    """
    wanted = [] if abilities is None else [ability.strip() for ability in abilities.split(",")]
    for kind, name, known in (("family", family, FAMILIES), *(("ability", a, ABILITIES) for a in wanted)):
        if name is not None and name not in known:
            raise UnknownName(kind, name, known)
    if family is None and abilities is None:
        return list(entries)
    return [
        one
        for one in entries
        if one.mechanism is not None
        and family in (None, one.mechanism.family)
        and one.mechanism.abilities.issuperset(wanted)
    ]
