"""A page as text, as TSV and as JSON, and the tables of all formats of pages and files."""

import json
from collections.abc import Callable, Iterable
from dataclasses import asdict
from typing import Any

from nhin.errors import PictureError
from nhin.reading.alto import ALTO_FOOT, make_alto_head, to_alto
from nhin.reading.hocr import HOCR_FOOT, make_hocr_head, to_hocr
from nhin.reading.markdown import MARKDOWN_PAGE_BREAK, to_markdown
from nhin.reading.page_xml import PAGE_XML_FOOT, make_page_xml_head, to_page_xml
from nhin.reading.result import Line, PageResult

TSV_HEAD = "path\tpage\tline\ttext\tconfidence\tbox\n"
JSON_VERSION = 1
"""Of the JSON; it changes when a field gets another meaning or goes."""
PAGE_BREAK = "\f"
"""Between the texts of two pages, as other readers write it."""
_NO_BREAKS = str.maketrans({"\t": " ", "\n": " ", "\r": " "})


def to_text(reading: PageResult, path: str) -> str:
    """Format the lines, one per row, and table rows with tabs; an empty string without lines."""
    return f"{reading.text}\n" if reading.lines else ""


def to_tsv(reading: PageResult, path: str) -> str:
    """Format one row per line: path, page, line number, text, confidence, box (x1,y1,...,x4,y4)."""
    rows, name = [], path.translate(_NO_BREAKS)
    for number, line in enumerate(reading.lines, start=1):
        text = line.text.translate(_NO_BREAKS)
        box = ",".join(f"{round(value, 1):g}" for point in line.box for value in point)
        rows.append(f"{name}\t{reading.page}\t{number}\t{text}\t{line.confidence:.4f}\t{box}\n")
    return "".join(rows)


def to_json_line(reading: PageResult, path: str) -> str:
    """Format everything, down to the characters, as one line of JSON; see ``reading.schema.json``.

    What is no text in the name of the file becomes ``?``: JSON is UTF-8.
    """
    tree = {
        "version": JSON_VERSION,
        "path": path,
        "page": reading.page,
        "width": reading.width,
        "height": reading.height,
        "text": reading.text,
        "confidence": round(reading.confidence, 6),
        "turn": reading.turn,
        "source": reading.source,
        "lines": [_line_to_dict(line) for line in reading.lines],
        "blocks": _number_blocks(reading),
        "warnings": [asdict(warning) for warning in reading.warnings],
    }
    return json.dumps(_round_floats(tree), ensure_ascii=False).encode("utf-8", "replace").decode() + "\n"


WRITERS: dict[str, Callable[[PageResult, str], str]] = {
    "text": to_text,
    "markdown": to_markdown,
    "tsv": to_tsv,
    "json": to_json_line,
    "hocr": to_hocr,
    "alto": to_alto,
    "page": to_page_xml,
}
PAGE_BREAKS = {"text": PAGE_BREAK, "markdown": MARKDOWN_PAGE_BREAK}
"""Between two pages of a file."""
HEADS = {
    "tsv": lambda path: TSV_HEAD,
    "hocr": make_hocr_head,
    "alto": make_alto_head,
    "page": make_page_xml_head,
}
FEET = {"hocr": HOCR_FOOT, "alto": ALTO_FOOT, "page": PAGE_XML_FOOT}
"""Before the first page of a file, and after the last."""


def check_page_count(count: int, format: str, path: str) -> None:
    """Refuse several pages where a file of a format holds one.

    Raises:
        PictureError: The message says what to do.
    """
    if format == "page" and count > 1:
        reason = "a file of PAGE XML holds one; choose it with --pages, or take hocr or alto"
        raise PictureError(f"{path} has several pages: {reason}")


def format_pages(pages: Iterable[PageResult], format: str, path: str) -> str:
    """Format the pages of a file as a whole document; an empty string without pages."""
    parts = [WRITERS[format](page, path) for page in pages]
    if not parts:
        return ""
    check_page_count(len(parts), format, path)
    head = HEADS[format](path) if format in HEADS else ""
    return head + PAGE_BREAKS.get(format, "").join(parts) + FEET.get(format, "")


def _number_blocks(reading: PageResult) -> list[dict[str, Any]]:
    """Describe blocks by the places of their lines in ``lines``, counted from 0; tables by rows and cells."""
    numbers = iter(range(len(reading.lines)))
    blocks: list[dict[str, Any]] = []
    for block in reading.blocks:
        rows = [[[next(numbers) for _ in cell] for cell in row] for row in block.rows]
        lines = [number for row in rows for cell in row for number in cell]
        extra = {"table": {"rows": rows}, "heading": {"level": block.level}}.get(block.kind, {})
        blocks.append({"kind": block.kind, "lines": lines, **extra})
    return blocks


def _line_to_dict(line: Line) -> dict[str, Any]:
    """Return a line's fields; each of its alternatives as an object with names."""
    others = [{"text": text, "probability": probability} for text, probability in line.alternatives]
    words = [asdict(word) for word in line.words]
    return asdict(line) | {"words": words, "alternatives": others}


def _round_floats(value: object) -> object:
    """Round every float to four places."""
    if isinstance(value, float):
        return round(value, 4)
    if isinstance(value, dict):
        return {key: _round_floats(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_round_floats(item) for item in value]
    return value
