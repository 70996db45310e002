"""What the docstring of a file says, taken apart: title, paragraphs, formulas, and labelled remarks.

The docstrings of mechanisms, positions and states are written once; lists, pages and pictures read them here.
"""

import re
from dataclasses import dataclass
from inspect import cleandoc

_LABEL = re.compile(r"([A-Z][a-z]+):\s+(?=\S)")
_MATH = ".. math::"


@dataclass(frozen=True, slots=True)
class Formula:
    """Displayed mathematics.

    Args:
        lines: Each a displayed formula in LaTeX.
    """

    lines: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ParsedDocstring:
    """A docstring taken apart.

    Args:
        title: Its first sentence.
        body: Paragraphs and formulas, in order.
        remarks: What stands behind labels such as ``Cost:`` and ``Differs:``.
    """

    title: str
    body: tuple[str | Formula, ...]
    remarks: dict[str, str]

    @property
    def formulas(self) -> tuple[Formula, ...]:
        """The formulas alone."""
        return tuple(part for part in self.body if isinstance(part, Formula))


def parse_docstring(docstring: str | None) -> ParsedDocstring:
    """Take the docstring of a file apart."""
    blocks = re.split(r"\n\s*\n", cleandoc(docstring or ""))
    body: list[str | Formula] = []
    remarks: dict[str, str] = {}
    mathematics = False
    for block in blocks[1:]:
        mathematics = block.startswith(_MATH) or (mathematics and block.startswith(" "))
        if mathematics:
            one = _join_lines(block.removeprefix(_MATH))
            if body and isinstance(body[-1], Formula) and not block.startswith(_MATH):
                body[-1] = Formula((*body[-1].lines, one))
            else:
                body.append(Formula((one,)))
        elif _LABEL.match(block):
            remarks |= _split_labels(block)
        else:
            body.append(_join_lines(block))
    return ParsedDocstring(_join_lines(blocks[0]), tuple(body), remarks)


def parse_arguments(docstring: str | None) -> dict[str, str]:
    """Return what a docstring says of each argument, by name."""
    section = re.search(r"^Args:\n((?:[ ]+.*\n?|\n)+)", cleandoc(docstring or ""), re.MULTILINE)
    if section is None:
        return {}
    entries = re.split(r"^ {4}(?=\S)", section[1], flags=re.MULTILINE)[1:]
    return {name: _join_lines(text) for name, text in (entry.split(":", 1) for entry in entries)}


def to_text(text: str) -> str:
    """Return text as a terminal shows it, without marks."""
    return re.sub(r":math:`([^`]*)`", r"\1", text).replace("``", "")


def _split_labels(block: str) -> dict[str, str]:
    """Split lines that begin with a label, each with the indented lines that follow it."""
    found: dict[str, str] = {}
    for part in re.split(r"\n(?=[A-Z][a-z]+:\s)", block):
        label, text = part.split(":", 1)
        found[label] = _join_lines(text)
    return found


def _join_lines(text: str) -> str:
    return " ".join(text.split())
