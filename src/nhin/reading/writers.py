"""A reading as text a person reads, as a table, and as JSON a program reads."""

import json
from collections.abc import Callable
from dataclasses import asdict

from nhin.reading.result import Box, Reading

TSV_HEAD = "path\tline\ttext\tconfidence\tbox\n"
_NO_BREAKS = str.maketrans({"\t": " ", "\n": " ", "\r": " "})


def to_text(reading: Reading, path: str) -> str:
    """Write the lines alone, one a row; nothing for an empty reading."""
    return f"{reading.text}\n" if reading.lines else ""


def to_tsv(reading: Reading, path: str) -> str:
    """Write one row a line: path, line number, text, confidence, box (x1,y1,...,x4,y4)."""
    return "".join(
        f"{path.translate(_NO_BREAKS)}\t{number}\t{line.text.translate(_NO_BREAKS)}\t{line.confidence:.4f}\t{_format_box(line.box)}\n"
        for number, line in enumerate(reading.lines, start=1)
    )


def to_json_line(reading: Reading, path: str) -> str:
    """Write everything, down to the characters, as one JSON object on one line."""
    whole = {
        "path": path,
        "width": reading.width,
        "height": reading.height,
        "text": reading.text,
        "confidence": round(reading.confidence, 6),
        "lines": [asdict(line) for line in reading.lines],
    }
    return json.dumps(_round_floats(whole), ensure_ascii=False) + "\n"


WRITERS: dict[str, Callable[[Reading, str], str]] = {"text": to_text, "tsv": to_tsv, "json": to_json_line}


def _format_box(box: Box) -> str:
    return ",".join(f"{value:g}" for point in box for value in (round(point[0], 1), round(point[1], 1)))


def _round_floats(value: object) -> object:
    """Round every float to what it means: a hundredth of a pixel, a ten-thousandth of certainty."""
    if isinstance(value, float):
        return round(value, 4)
    if isinstance(value, dict):
        return {key: _round_floats(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_round_floats(item) for item in value]
    return value
