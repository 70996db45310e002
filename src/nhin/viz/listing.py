"""Lists and single entries as text for a terminal."""

from collections.abc import Iterable, Sequence
from textwrap import fill, indent

from nhin.attention.base import ABILITIES
from nhin.viz.catalogue import FAMILIES, KINDS, Entry
from nhin.viz.formula import readable
from nhin.viz.told import Formula, plain

WIDTH = 100
_LETTERS = dict(
    zip(ABILITIES, ("C", "K", "X", "G", "1", "U", "D", "T"), strict=True)
)  # one for each ability, in their order


def overview(entries: Sequence[Entry]) -> str:
    """Return a table for each kind, mechanisms in families, and what the letters mean."""
    parts = []
    for family, title in FAMILIES.items():
        chosen = [one for one in entries if one.mechanism is not None and one.mechanism.family == family]
        parts.append(_table(title, ("time", "memory", "decoding keeps", "can"), chosen))
    for kind, title in KINDS.items():
        if kind != "mechanism":
            parts.append(_table(title, _HEADS[kind], [one for one in entries if one.kind == kind]))
    if any(one.mechanism is not None for one in entries):
        parts.append(_legend())
    return "\n".join(part for part in parts if part)


def single(one: Entry) -> str:
    """Return all there is to say about one entry."""
    parts = [f"{one.name}: {plain(one.told.title) if one.mechanism else one.title}"]
    parts += [_shown(part) for part in one.told.body]
    rows = list(_rows(one))
    width = max((len(label) for label, _ in rows), default=0) + 2
    parts.append("\n".join(_row(label, text, width) for label, text in rows))
    return "\n\n".join(part for part in parts if part) + "\n"


_HEADS = {
    "position": ("where", "extends"),
    "sharing": ("given", "state"),
    "state": ("class", "used by"),
    "preset": ("keys and values", "mechanism", "rotary"),
}


def _cells(one: Entry, heads: Sequence[str]) -> list[str]:
    if one.mechanism is None:
        return [one.name, one.title, *(one.facts[head] for head in heads), one.source]
    facts = one.mechanism
    able = "".join(letter for ability, letter in _LETTERS.items() if ability in facts.abilities)
    return [one.name, one.title, facts.time, facts.memory, facts.state or "-", able, one.source]


def _table(title: str, heads: Sequence[str], entries: Iterable[Entry]) -> str:
    rows = [_cells(one, heads) for one in entries]
    if not rows:
        return ""
    rows = [[_short(cell) for cell in row] for row in [["name", "", *heads, "source"], *rows]]
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    ]
    return "\n".join([title, *(f"  {line}" for line in lines), ""])


def _short(cell: str, most: int = 44) -> str:
    """Return a cell no wider than a table bears; the entry itself has all of it."""
    return cell if len(cell) <= most else cell[: most - 1].rstrip() + "…"


def _legend() -> str:
    said = "\n".join(f"  {letter}  {ability}: {ABILITIES[ability]}" for ability, letter in _LETTERS.items())
    return f"can\n{said}\n\nnhin list NAME says more of one; nhin show attention NAME draws it.\n"


def _shown(part: str | Formula) -> str:
    if isinstance(part, str):
        return fill(plain(part), WIDTH)
    return "\n".join(_folded(readable(line)) for line in part.lines)


def _folded(line: str) -> str:
    first, further = " " * 4, " " * 8
    return fill(
        line,
        WIDTH,
        initial_indent=first,
        subsequent_indent=further,
        break_long_words=False,
        break_on_hyphens=False,
    )


def _rows(one: Entry) -> Iterable[tuple[str, str]]:
    facts = one.mechanism
    if one.use:
        yield "When", one.use
    for label in ("Causal", "Cost"):
        if label in one.told.remarks:
            yield label, one.told.remarks[label]
    if facts is not None:
        yield "Exact", "yes: softmax attention up to rounding" if facts.exact else "no"
        yield "Decoding", f"keeps {facts.state} numbers for one sequence" if facts.state else "not able"
        yield "Can", "\n".join(f"{a}: {ABILITIES[a]}" for a in ABILITIES if a in facts.abilities)
    yield from ((key.capitalize(), value) for key, value in one.facts.items() if value)
    if one.settings:
        yield "Settings", "\n".join(_setting(name, *said) for name, said in one.settings.items())
    yield "Source", one.told.remarks.get("Source", one.source)
    for label, text in one.told.remarks.items():
        if label not in ("Causal", "Cost", "Source"):
            yield label, text


def _setting(name: str, default: str, said: str) -> str:
    given = f"{name}={default}" if default else name
    return f"{given}: {said}" if said else given


def _row(label: str, text: str, width: int) -> str:
    lines = (fill(line, WIDTH - width, subsequent_indent="  ") for line in plain(text).split("\n"))
    return (label.ljust(width) + indent("\n".join(lines), " " * width).lstrip()).rstrip()
