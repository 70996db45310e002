"""A reading as Markdown (CommonMark, with the tables of GitHub's)."""

import re

from nhin.reading.result import PageResult, TextBlock

MARKDOWN_PAGE_BREAK = "\n---\n\n"
_MARKUP = re.compile(r"[\\`*_\[\]<>&~|]|#(?=[#\s]|$)")
_MARKUP_AT_START = re.compile(r"^(\d{1,9}(?=[.)](\s|$))|(?=[-+](\s|$))|(?=-[-\s]*$))")


def to_markdown(reading: PageResult, path: str) -> str:
    """Format headings, paragraphs and tables, whose first row is the head."""
    return "\n".join(map(_format_block, reading.blocks))


def escape_markdown(text: str) -> str:
    """Escape what Markdown would take as markup in a line of its own."""
    return _MARKUP_AT_START.sub(r"\1\\", _MARKUP.sub(r"\\\g<0>", " ".join(text.split())))


def _format_block(block: TextBlock) -> str:
    """Format a block as text that ends with a newline."""
    if block.kind != "table":
        words = escape_markdown(" ".join(" ".join(row) for row in block.texts))
        return f"{'#' * block.level}{' ' if block.level else ''}{words}\n"
    head, *rows = ["| " + " | ".join(map(escape_markdown, row)) + " |\n" for row in block.texts]
    return f"{head}|{' --- |' * len(block.rows[0])}\n{''.join(rows)}"
