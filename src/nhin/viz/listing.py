"""Format the catalogue and its entries as text for a terminal."""

from collections.abc import Iterable, Sequence
from textwrap import TextWrapper, fill, indent

from nhin.attention.base import ABILITIES
from nhin.viz.catalogue import FAMILIES, KINDS, Entry
from nhin.viz.docstring import Formula, to_text
from nhin.viz.formula import latex_to_text

WIDTH = 100
_ABILITY_LETTERS = dict(zip(ABILITIES, "CKXG1UDT", strict=True))


def format_overview(entries: Sequence[Entry]) -> str:
    """Return a table for each family of mechanisms and each other kind, and the meaning of the letters."""
    parts = []
    for family, title in FAMILIES.items():
        members = [entry for entry in entries if entry.mechanism and entry.mechanism.family == family]
        parts.append(_format_table(title, ("time", "memory", "cache", "can"), members))
    for kind, title in KINDS.items():
        if kind != "mechanism":
            members = [entry for entry in entries if entry.kind == kind]
            parts.append(_format_table(title, _HEADERS[kind], members))
    if any(entry.mechanism for entry in entries):
        parts.append(_format_legend())
    return "\n".join(part for part in parts if part)


def format_entry(entry: Entry) -> str:
    """Return all information about one entry."""
    parts = [f"{entry.name}: {to_text(entry.doc.title) if entry.mechanism else entry.title}"]
    parts += [_format_part(part) for part in entry.doc.body]
    rows = list(_list_rows(entry))
    width = max((len(label) for label, _ in rows), default=0) + 2
    parts.append("\n".join(_format_row(label, text, width) for label, text in rows))
    return "\n\n".join(part for part in parts if part) + "\n"


_HEADERS = {
    "position": ("where", "extends"),
    "sharing": ("given", "state"),
    "state": ("class", "used by"),
    "preset": ("keys and values", "mechanism", "rotary"),
}


def _entry_cells(entry: Entry, headers: Sequence[str]) -> list[str]:
    if entry.mechanism is None:
        return [entry.name, entry.title, *(entry.facts[head] for head in headers), entry.source]
    facts = entry.mechanism
    letters = "".join(letter for ability, letter in _ABILITY_LETTERS.items() if ability in facts.abilities)
    return [entry.name, entry.title, facts.time, facts.memory, facts.state or "-", letters, entry.source]


def _format_table(title: str, headers: Sequence[str], entries: Iterable[Entry]) -> str:
    rows = [_entry_cells(entry, headers) for entry in entries]
    if not rows:
        return ""
    rows = [[_shorten(cell) for cell in row] for row in [["name", "", *headers, "source"], *rows]]
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    ]
    return "\n".join([title, *(f"  {line}" for line in lines), ""])


def _shorten(cell: str, max_length: int = 44) -> str:
    """Shorten a cell to the width of a column; the entry itself has all of it."""
    return cell if len(cell) <= max_length else cell[: max_length - 1].rstrip() + "…"


def _format_legend() -> str:
    lines = [f"  {letter}  {name}: {ABILITIES[name]}" for name, letter in _ABILITY_LETTERS.items()]
    return "\n".join(["can", *lines, "", "nhin list NAME shows more; nhin show attention NAME draws it.", ""])


def _format_part(part: str | Formula) -> str:
    if isinstance(part, str):
        return fill(to_text(part), WIDTH)
    wrapper = TextWrapper(WIDTH, " " * 4, " " * 8, break_long_words=False, break_on_hyphens=False)
    return "\n".join(wrapper.fill(latex_to_text(line)) for line in part.lines)


def _list_rows(entry: Entry) -> Iterable[tuple[str, str]]:
    facts = entry.mechanism
    if entry.use:
        yield "When", entry.use
    for label in ("Causal", "Cost"):
        if label in entry.doc.remarks:
            yield label, entry.doc.remarks[label]
    if facts is not None:
        yield "Exact", "yes: softmax attention up to rounding" if facts.exact else "no"
        yield "Decoding", f"caches {facts.state} values for one sequence" if facts.state else "no"
        yield "Can", "\n".join(f"{a}: {ABILITIES[a]}" for a in ABILITIES if a in facts.abilities)
    yield from ((key.capitalize(), value) for key, value in entry.facts.items() if value)
    if entry.settings:
        yield (
            "Settings",
            "\n".join(_format_setting(name, *setting) for name, setting in entry.settings.items()),
        )
    yield "Source", entry.doc.remarks.get("Source", entry.source)
    for label, text in entry.doc.remarks.items():
        if label not in ("Causal", "Cost", "Source"):
            yield label, text


def _format_setting(name: str, default: str, meaning: str) -> str:
    setting = f"{name}={default}" if default else name
    return f"{setting}: {meaning}" if meaning else setting


def _format_row(label: str, text: str, width: int) -> str:
    lines = (fill(line, WIDTH - width, subsequent_indent="  ") for line in to_text(text).split("\n"))
    return (label.ljust(width) + indent("\n".join(lines), " " * width).lstrip()).rstrip()
