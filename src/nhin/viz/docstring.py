"""Parse a module docstring into title, paragraphs, formulas and labeled remarks, for lists and pages."""

import re
from dataclasses import dataclass
from inspect import cleandoc

_LABEL = re.compile(r"([A-Z][a-z]+):\s+(?=\S)")
_MATH = ".. math::"


@dataclass(frozen=True, slots=True)
class Formula:
    """Displayed mathematics.

    Args:
        lines: Displayed formulas in LaTeX.
    """

    lines: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ParsedDocstring:
    """A parsed docstring.

    Args:
        title: Its first sentence.
        body: Paragraphs and formulas, in order.
        remarks: The text after labels such as ``Cost:`` and ``Differs:``.
    """

    title: str
    body: tuple[str | Formula, ...]
    remarks: dict[str, str]

    @property
    def formulas(self) -> tuple[Formula, ...]:
        """The formulas alone."""
        return tuple(part for part in self.body if isinstance(part, Formula))


def parse_docstring(docstring: str | None) -> ParsedDocstring:
    """Parse the docstring of a module."""
    blocks = re.split(r"\n\s*\n", cleandoc(docstring or ""))
    body: list[str | Formula] = []
    remarks: dict[str, str] = {}
    is_math = False
    for block in blocks[1:]:
        is_math = block.startswith(_MATH) or (is_math and block.startswith(" "))
        if is_math:
            formula = _join_lines(block.removeprefix(_MATH))
            if body and isinstance(body[-1], Formula) and not block.startswith(_MATH):
                body[-1] = Formula((*body[-1].lines, formula))
            else:
                body.append(Formula((formula,)))
        elif _LABEL.match(block):
            remarks |= _split_labels(block)
        else:
            body.append(_join_lines(block))
    return ParsedDocstring(_join_lines(blocks[0]), tuple(body), remarks)


def parse_arguments(docstring: str | None) -> dict[str, str]:
    """Return the description of each argument in a docstring."""
    section = re.search(r"^Args:\n((?:[ ]+.*\n?|\n)+)", cleandoc(docstring or ""), re.MULTILINE)
    if section is None:
        return {}
    entries = re.split(r"^ {4}(?=\S)", section[1], flags=re.MULTILINE)[1:]
    return {name: _join_lines(text) for name, text in (entry.split(":", 1) for entry in entries)}


def to_text(text: str) -> str:
    """Return text without marks, for a terminal."""
    return re.sub(r":math:`([^`]*)`", r"\1", text).replace("``", "")


def _split_labels(block: str) -> dict[str, str]:
    """Split a block into labels and the text after each."""
    remarks: dict[str, str] = {}
    for part in re.split(r"\n(?=[A-Z][a-z]+:\s)", block):
        label, text = part.split(":", 1)
        remarks[label] = _join_lines(text)
    return remarks


def _join_lines(text: str) -> str:
    return " ".join(text.split())
