"""Plot matrices of attention as PNG or SVG; the same values give the same bytes."""

import io
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from nhin.viz.matrices import Matrix

MAX_LABELS = 48  # rows or columns whose names are written
_STYLE: dict[Any, Any] = {
    "svg.hashsalt": "nhin",
    "font.family": "DejaVu Sans",
    "font.size": 8,
    "image.origin": "upper",
}
# Without a date, so that the same figure is the same file.
_NO_DATE: Mapping[str, dict[str, Any]] = {"png": {"Software": None}, "svg": {"Date": None}}


@dataclass(frozen=True, slots=True)
class Panel:
    """One matrix of a table.

    Args:
        title: Above the matrix.
        matrix: The matrix; its first head is drawn.
        is_mask: Whether to draw only which values are not zero.
    """

    title: str
    matrix: Matrix
    is_mask: bool = False


def plot_row(title: str, panels: Sequence[tuple[str, Matrix, bool]]) -> Figure:
    """Draw several matrices side by side.

    Args:
        title: Above all.
        panels: A title, a matrix, and whether it is a mask (of head 0); else its heads are averaged.
    """
    figure, axes = _make_axes(title, len(panels), len(panels))
    for axis, (name, matrix, is_mask) in zip(axes, panels, strict=True):
        values = matrix.values[0] != 0 if is_mask else matrix.values.mean(0)
        _plot_matrix(axis, name, values, matrix, is_mask=is_mask)
    return figure


def plot_heads(title: str, matrix: Matrix) -> Figure:
    """Draw the matrix of every head."""
    count = len(matrix.values)
    rows, columns = matrix.shape
    aspect = min(1.5, max(0.35, rows / max(1, columns)))
    figure, axes = _make_axes(title, count, min(count, 4), _panel_inches(matrix), aspect)
    for head, (axis, values) in enumerate(zip(axes, matrix.values, strict=True)):
        _plot_matrix(axis, f"head {head}" if count > 1 else "", values, matrix)
    return figure


def plot_table(title: str, rows: Sequence[Sequence[Panel]], *, colorbars: bool = True) -> Figure:
    """Draw rows of panels; without ``colorbars`` panels are small and each has its own scale."""
    columns = max(map(len, rows))
    widths = [_panel_inches(panel.matrix) for row in rows for panel in row]
    inches = max(widths, default=2.9) if colorbars else 1.7
    figure, axes = _make_axes(title, len(rows) * columns, columns, inches)
    for row, start in zip(rows, range(0, len(axes), columns), strict=True):
        for panel, axis in zip(row, axes[start:], strict=False):
            title, matrix, is_mask = panel.title, panel.matrix, panel.is_mask
            _plot_matrix(axis, title, matrix.values[0], matrix, is_mask=is_mask, colorbar=colorbars)
            if not colorbars:
                axis.set(xlabel="", ylabel="")
    return figure


def plot_steps(title: str, panels: Sequence[tuple[str, np.ndarray, bool]]) -> Figure:
    """Draw the intermediates of a formula in order.

    Args:
        title: Above all.
        panels: A name, two axes of values, and whether they are a mask; NaN and infinity are gray.
    """
    figure, axes = _make_axes(title, len(panels), min(len(panels), 4))
    for axis, (name, values, is_mask) in zip(axes, panels, strict=True):
        _plot_matrix(axis, name, values, Matrix(values[None], values.shape), is_mask=is_mask, aspect="auto")
        axis.set(xlabel="", ylabel="")
    return figure


def format_step(name: str, value: Any) -> str:
    """Return the title of an intermediate: its name and shape."""
    return f"{name}  {' × '.join(map(str, value.shape))}"


def encode_figure(figure: Figure, format: str, dpi: int = 120) -> bytes:
    """Return a figure as the bytes of a png or svg file."""
    data = io.BytesIO()
    with mpl.rc_context(_STYLE):
        FigureCanvasAgg(figure)
        figure.savefig(data, format=format, dpi=dpi, metadata=_NO_DATE[format])
    return data.getvalue()


def _make_axes(
    title: str, count: int, columns: int, inches: float = 2.9, aspect: float = 1.0
) -> tuple[Figure, list[Axes]]:
    with mpl.rc_context(_STYLE):
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


def _plot_matrix(
    axis: Axes,
    title: str,
    values: np.ndarray,
    matrix: Matrix,
    *,
    is_mask: bool = False,
    colorbar: bool = True,
    aspect: Literal["equal", "auto"] = "equal",
) -> None:
    with mpl.rc_context(_STYLE):
        values = np.where(np.isfinite(values), values, np.nan).astype(float)
        largest = float(np.nanmax(np.abs(values))) if np.isfinite(values).any() else 1.0
        negative = bool((values < 0).any())
        name = "RdBu_r" if negative else "Blues" if is_mask else "magma_r"
        rows, columns = matrix.shape  # axes count positions even when the values are pooled
        image = axis.imshow(
            values,
            cmap=mpl.colormaps[name].with_extremes(bad="lightgrey"),
            vmin=-largest if negative else 0.0,
            vmax=1.4 if is_mask else largest or 1.0,
            aspect=aspect,
            interpolation="nearest",
            extent=(-0.5, max(columns, 1) - 0.5, max(rows, 1) - 0.5, -0.5),
        )
        axis.set_title(title, fontsize=8)
        _label_axes(axis, matrix)
        if colorbar and not is_mask:
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
