"""Markdown for the generated pages: tables whose cells may hold a bar, and marks of docstrings."""

import re
from collections.abc import Iterable

from nhin.format import markdown_table

NOTE = "<!-- Made by `make pages`; change the docstring, not this file. -->"


def format_table(header: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """Return a Markdown table; bars in cells are escaped."""
    return markdown_table(header, ([cell.replace("|", "\\|") for cell in row] for row in rows)).rstrip("\n")


def to_markdown(text: str) -> str:
    """Mark code and mathematics of a docstring as Markdown does."""
    text = re.sub(r":math:`([^`]*)`", r"$`\1`$", text)
    return re.sub(r"``([^`]+)``", r"`\1`", text)
