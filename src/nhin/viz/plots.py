"""Plot matrices of attention as PNG or SVG; the same values give the same bytes."""

import io
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from nhin.viz.matrices import Matrix

MAX_LABELS = 48  # rows or columns whose names are written
STYLE: dict[Any, Any] = {
    "svg.hashsalt": "nhin",
    "font.family": "DejaVu Sans",
    "font.size": 8,
    "image.origin": "upper",
}
# Without a date, so that the same figure is the same file.
_NO_DATE: Mapping[str, dict[str, Any]] = {"png": {"Software": None}, "svg": {"Date": None}}


@dataclass(frozen=True, slots=True)
class Panel:
    """One matrix of a figure.

    Args:
        title: Above the matrix.
        matrix: Its first head is drawn; NaN and infinity are gray.
        is_mask: Whether to draw only which values are not zero.
    """

    title: str
    matrix: Matrix
    is_mask: bool = False


def plot_panels(
    title: str, panels: Sequence[Panel], columns: int, inches: float | None = None, *, is_plain: bool = False
) -> Figure:
    """Draw matrices in rows of ``columns``, wide enough for labels when ``inches`` is None.

    A plain figure has no colorbars and no names of axes.
    """
    if inches is None:
        inches = max((_panel_inches(panel.matrix) for panel in panels), default=2.9)
    figure, axes = make_axes(title, len(panels), columns, inches)
    for axis, panel in zip(axes, panels, strict=True):
        _plot_panel(axis, panel, has_colorbar=not is_plain)
        if is_plain:
            axis.set(xlabel="", ylabel="")
    return figure


def plot_heads(title: str, matrix: Matrix) -> Figure:
    """Draw the matrix of every head."""
    count = len(matrix.values)
    rows, columns = matrix.shape
    aspect = min(1.5, max(0.35, rows / max(1, columns)))
    figure, axes = make_axes(title, count, min(count, 4), _panel_inches(matrix), aspect)
    for head, (axis, values) in enumerate(zip(axes, matrix.values, strict=True)):
        _plot_panel(axis, Panel(f"head {head}" if count > 1 else "", replace(matrix, values=values[None])))
    return figure


def plot_steps(title: str, steps: Mapping[str, np.ndarray], shapes: Mapping[str, Sequence[int]]) -> Figure:
    """Draw the intermediates of a formula in order; boolean ones are masks.

    Args:
        title: Above all.
        steps: Two axes of each intermediate.
        shapes: The shape of each, for its title.
    """
    figure, axes = make_axes(title, len(steps), min(len(steps), 4))
    for axis, (name, values) in zip(axes, steps.items(), strict=True):
        panel_title = f"{name}  {' × '.join(map(str, shapes[name]))}"
        panel = Panel(panel_title, Matrix(values[None], values.shape), values.dtype == bool)
        _plot_panel(axis, panel, aspect="auto")
        axis.set(xlabel="", ylabel="")
    return figure


def encode_figure(figure: Figure, format: str, dpi: int = 120) -> bytes:
    """Return a figure as the bytes of a png or svg file."""
    data = io.BytesIO()
    with mpl.rc_context(STYLE):
        FigureCanvasAgg(figure)
        figure.savefig(data, format=format, dpi=dpi, metadata=_NO_DATE[format])
    return data.getvalue()


def make_axes(
    title: str, count: int, columns: int, inches: float = 2.9, aspect: float = 1.0
) -> tuple[Figure, list[Axes]]:
    """Make a figure with ``count`` axes in rows of ``columns``, each about ``inches`` wide."""
    with mpl.rc_context(STYLE):
        rows = -(-count // columns)
        size = (max(3.4, inches * columns), ((inches - 0.6) * aspect + 0.75) * rows + 0.3)
        figure = Figure(size, layout="constrained")
        figure.suptitle(textwrap.fill(title, int(13 * size[0])), fontsize=9)
        axes = figure.subplots(rows, columns, squeeze=False).ravel().tolist()
        for axis in axes[count:]:
            axis.set_axis_off()
        return figure, axes[:count]


def _panel_inches(matrix: Matrix) -> float:
    """Return the width of a panel that fits its labels, in inches."""
    labels = max(len(matrix.keys), len(matrix.queries))
    return 2.9 if labels > MAX_LABELS else max(2.9, 0.19 * labels + 1)


def _plot_panel(
    axis: Axes, panel: Panel, *, has_colorbar: bool = True, aspect: Literal["equal", "auto"] = "equal"
) -> None:
    matrix, values = panel.matrix, panel.matrix.values[0]
    with mpl.rc_context(STYLE):
        values = np.where(np.isfinite(values), values != 0 if panel.is_mask else values, np.nan).astype(float)
        largest = float(np.nanmax(np.abs(values))) if np.isfinite(values).any() else 1.0
        has_negative = bool((values < 0).any())
        name = "RdBu_r" if has_negative else "Blues" if panel.is_mask else "magma_r"
        rows, columns = matrix.shape  # axes count positions even when the values are pooled
        image = axis.imshow(
            values,
            cmap=mpl.colormaps[name].with_extremes(bad="lightgrey"),
            vmin=-largest if has_negative else 0.0,
            vmax=1.4 if panel.is_mask else largest or 1.0,
            aspect=aspect,
            interpolation="nearest",
            extent=(-0.5, max(columns, 1) - 0.5, max(rows, 1) - 0.5, -0.5),
        )
        axis.set_title(panel.title, fontsize=8)
        _label_axes(axis, matrix)
        if has_colorbar and not panel.is_mask:
            scale = axis.figure.colorbar(image, ax=axis, fraction=0.046, pad=0.03)
            scale.ax.tick_params(labelsize=6)


def _label_axes(axis: Axes, matrix: Matrix) -> None:
    axis.set_xlabel("key")
    axis.set_ylabel("query")
    for side, names, rotation in ((axis.xaxis, matrix.keys, 90), (axis.yaxis, matrix.queries, 0)):
        if 0 < len(names) <= MAX_LABELS:
            side.set_ticks(range(len(names)), labels=[*map(_escape_label, names)], rotation=rotation)
        else:
            side.set_major_locator(MaxNLocator(5, integer=True))
        side.set_tick_params(labelsize=7)
    if matrix.keys and len(matrix.keys) <= MAX_LABELS:
        axis.xaxis.tick_top()


def _escape_label(name: str) -> str:
    """Shorten a name and escape dollar signs, which would begin mathematics."""
    return (name if len(name) <= 24 else name[:23] + "…").replace("$", r"\$")
