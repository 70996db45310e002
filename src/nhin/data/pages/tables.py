"""Tables of a page: with and without borders, with colored heads, striped, with cells of several lines."""

from dataclasses import dataclass

import numpy as np

from nhin.data.pages.blocks import BlockWriter
from nhin.data.pages.page_writer import Align, Color, TextStyle
from nhin.image.render import Rng

_ALIGNS: tuple[Align, ...] = ("left", "middle", "right")


@dataclass(frozen=True, slots=True)
class _TableLook:
    """How a table is drawn."""

    borders: str
    head: Color | None
    stripe: Color | None
    padding: float
    color: Color
    thick: int


def _draw_look(writer: BlockWriter) -> _TableLook:
    rng, paper = writer.rng, writer.theme.paper
    ink = writer.theme.body.color

    def mix(share: float) -> Color:
        red, green, blue = (int(p + share * (i - p)) for p, i in zip(paper, ink, strict=True))
        return red, green, blue

    return _TableLook(
        borders=("all", "all", "all", "rows", "outer", "none")[int(rng.integers(6))],
        head=mix(float(rng.uniform(0.05, 0.3))) if rng.random() < 0.35 else None,
        stripe=mix(float(rng.uniform(0.03, 0.12))) if rng.random() < 0.25 else None,
        padding=writer.size * float(rng.uniform(0.15, 0.6)),
        color=mix(float(rng.uniform(0.35, 1))),
        thick=max(1, round(writer.size * float(rng.uniform(0.02, 0.09)))),
    )


def draw_column_widths(rng: Rng, width: float, columns: int) -> list[float]:
    """Draw the widths of columns that share a width."""
    shares = rng.uniform(0.35, 1.0, columns)
    shares[int(rng.integers(columns))] += 1.0
    return (shares / shares.sum() * width).tolist()


def write_table(writer: BlockWriter, x1: float, x2: float, y: float, rows: int, columns: int) -> float:
    """Write a table with a head; return where it ends."""
    rng, look = writer.rng, _draw_look(writer)
    style = writer.theme.body.scale(float(rng.choice((1.0, 1.0, 0.9, 0.8))))
    size = style.size
    widths = draw_column_widths(rng, x2 - x1, columns)
    edges = np.cumsum([x1, *widths]).tolist()
    kinds = [int(rng.integers(4)) for _ in range(columns)]
    aligns: list[Align] = [_ALIGNS[int(rng.integers(3))] if kind else _ALIGNS[0] for kind in kinds]
    has_gaps = rng.random() < 0.3
    tops = [y]
    for row in range(rows):
        bold = writer.theme.bold.scale(style.size / writer.size) if row == 0 else style
        cells = [
            [] if has_gaps and row and rng.random() < 0.3 else
            writer.wrap(_draw_cell(writer, kinds[i], row), bold, max(widths[i] - 2 * look.padding, size))
            for i in range(columns)
        ]  # fmt: skip
        step = style.size * 1.2
        height = max(1, *map(len, cells)) * step + 2 * look.padding
        shade = look.head if row == 0 else look.stripe if row % 2 else None
        if shade:
            writer.page.fill((x1, tops[-1], x2, tops[-1] + height), shade)
        for i, texts in enumerate(cells):
            where = edges[i], edges[i + 1], tops[-1]
            align: Align = "middle" if row == 0 else aligns[i]
            _write_cell(writer, texts, where, look.padding, bold, align)
        tops.append(tops[-1] + height)
    _draw_borders(writer, look, edges, tops)
    return tops[-1] + 0.3 * writer.size


def _draw_cell(writer: BlockWriter, kind: int, row: int) -> str:
    if row == 0:
        text = writer.words(2, 20)
        return text.upper() if writer.rng.random() < 0.3 else text.capitalize()
    if kind == 0:
        return writer.words(3, 40).capitalize()
    if kind == 1:
        return str(row)
    return writer.figure() if kind == 2 else writer.value()


def _write_cell(
    writer: BlockWriter,
    texts: list[str],
    where: tuple[float, float, float],
    padding: float,
    style: TextStyle,
    align: Align,
) -> None:
    """Write the lines of a cell (left, right, top); those that are too wide for it are left out."""
    left, right, top = where
    x = {"left": left + padding, "middle": (left + right) / 2, "right": right - padding}[align]
    writer.page.begin_block()
    for number, text in enumerate(texts):
        if writer.page.measure(text, style) <= right - left:
            writer.page.write(x, top + padding + style.size * (0.95 + 1.2 * number), text, style, align)


def _draw_borders(writer: BlockWriter, look: _TableLook, edges: list[float], tops: list[float]) -> None:
    page, (x1, x2), (y1, y2) = writer.page, (edges[0], edges[-1]), (tops[0], tops[-1])
    rows = {"all": tops, "rows": tops, "outer": [y1, y2], "none": []}[look.borders]
    columns = {"all": edges, "rows": [], "outer": [x1, x2], "none": []}[look.borders]
    for y in rows:
        page.rule(x1, y, x2, y, look.color, look.thick)
    for x in columns:
        page.rule(x, y1, x, y2, look.color, look.thick)
