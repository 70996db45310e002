"""``nhin show reading PICTURE``: where the decoder looked while it wrote each character."""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from nhin.cli.output import save_figures, write_file
from nhin.cli.show_run import TraceOptions, select_indices
from nhin.errors import UsageError
from nhin.reading.onnx_model import DEFAULT_MODEL

if TYPE_CHECKING:
    from nhin.reading.decoder_attention import TextAttention

MAX_LINES = 24
MAX_CHARS = 400


def show_reading(picture: Path, weights: str | None, out: Path, trace: TraceOptions) -> int:
    """Read a picture, draw for each line where the decoder looked, and write the figures."""
    import matplotlib  # noqa: F401 - a missing package is reported before anything is read

    from nhin.ocr.cross_attention import trace_reading
    from nhin.viz.reading_figures import draw_strips

    lines = trace_reading(weights or DEFAULT_MODEL, picture, trace.crop)
    if not lines:
        raise UsageError(f"{picture} has no text to show")
    numbers = _select_lines(trace.line, len(lines), picture)
    for number in numbers:
        parts = lines[number - 1]
        layers = select_indices("layer", trace.layer, len(parts[0].weights))
        heads = select_indices("head", trace.head, len(parts[0].weights[0]))
        text = " ".join(part.text for part in parts)
        if len(text) > MAX_CHARS:
            raise UsageError(f"line {number} has {len(text)} characters; a figure shows {MAX_CHARS}")
        title = f"{picture.name}, line {number}: {text if len(text) <= 60 else text[:59] + '…'}"
        name = f"{picture.stem}-line{number}"
        save_figures(
            out,
            [name],
            lambda _, title=title, parts=parts, chosen=(layers, heads): draw_strips(title, parts, *chosen),
        )
        if trace.matrices:
            write_file(out / f"{name}-attention.npz", _pack_matrices(parts))
    return 0


def _select_lines(chosen: Sequence[int], count: int, picture: Path) -> list[int]:
    """Return the numbers of the lines to draw, from 1."""
    for number in chosen:
        if not 1 <= number <= count:
            raise UsageError(f"--line is {number}; {picture} has 1 to {count}")
    numbers = sorted(set(chosen)) or list(range(1, count + 1))
    if len(numbers) > MAX_LINES:
        raise UsageError(f"{picture} has {len(numbers)} lines; choose up to {MAX_LINES} with --line")
    return numbers


def _pack_matrices(parts: "Sequence[TextAttention]") -> bytes:
    """Return an .npz of each part's text and weights (layers, heads, characters and end, rows, frames)."""
    import numpy as np

    arrays = {}
    for number, part in enumerate(parts):
        arrays |= {f"part{number}.text": np.array(part.text), f"part{number}.weights": part.weights}
    data = io.BytesIO()
    np.savez_compressed(data, **arrays)
    return data.getvalue()
