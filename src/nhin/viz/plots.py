"""Matrices of attention as figures: PNG for people, SVG for papers, the same numbers the same bytes."""

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

MAX_LABELS = 48  # most rows or columns whose names are written
_STYLE: dict[Any, Any] = {
    "svg.hashsalt": "nhin",
    "font.family": "DejaVu Sans",
    "font.size": 8,
    "image.origin": "upper",
}
# A file that says when it was made differs each time.
_NO_DATE: Mapping[str, dict[str, Any]] = {"png": {"Software": None}, "svg": {"Date": None}}


@dataclass(frozen=True, slots=True)
class Panel:
    """One matrix of a table of them.

    Args:
        title: Stands above it.
        matrix: The matrix; its first head is drawn.
        is_mask: It says only who sees whom.
    """

    title: str
    matrix: Matrix
    is_mask: bool = False


def plot_row(title: str, panels: Sequence[tuple[str, Matrix, bool]]) -> Figure:
    """Draw several matrices side by side.

    Args:
        title: Stands above all.
        panels: A title, a matrix (its heads averaged), and whether it says only who sees whom (from head 0).
    """
    figure, axes = _make_axes(title, len(panels), len(panels))
    for axis, (name, matrix, seen) in zip(axes, panels, strict=True):
        values = matrix.values[0] != 0 if seen else matrix.values.mean(0)
        _plot_matrix(axis, name, values, matrix, is_mask=seen)
    return figure


def plot_heads(title: str, matrix: Matrix) -> Figure:
    """Draw the matrix of every head."""
    count = len(matrix.values)
    rows, columns = matrix.shape
    tall = min(1.5, max(0.35, rows / max(1, columns)))
    figure, axes = _make_axes(title, count, min(count, 4), _panel_inches(matrix), tall)
    for number, (axis, values) in enumerate(zip(axes, matrix.values, strict=True)):
        _plot_matrix(axis, f"head {number}" if count > 1 else "", values, matrix)
    return figure


def plot_table(title: str, rows: Sequence[Sequence[Panel]], *, colorbars: bool = True) -> Figure:
    """Draw rows of panels; without ``colorbars`` each is small and its colours go from nothing to its largest."""
    columns = max(map(len, rows))
    inches = (
        max([_panel_inches(panel.matrix) for row in rows for panel in row], default=2.9) if colorbars else 1.7
    )
    figure, axes = _make_axes(title, len(rows) * columns, columns, inches)
    for row, places in zip(rows, range(0, len(axes), columns), strict=True):
        for panel, axis in zip(row, axes[places:], strict=False):
            _plot_matrix(
                axis,
                panel.title,
                panel.matrix.values[0],
                panel.matrix,
                is_mask=panel.is_mask,
                colorbar=colorbars,
            )
            if not colorbars:
                axis.set(xlabel="", ylabel="")
    return figure


def plot_steps(title: str, panels: Sequence[tuple[str, np.ndarray, bool]]) -> Figure:
    """Draw the intermediates of a formula in order.

    Args:
        title: Stands above all.
        panels: A name, two axes of numbers, and whether they only say yes or no; what is no number is grey.
    """
    figure, axes = _make_axes(title, len(panels), min(len(panels), 4))
    for axis, (name, values, seen) in zip(axes, panels, strict=True):
        _plot_matrix(axis, name, values, Matrix(values[None], values.shape), is_mask=seen, aspect="auto")
        axis.set(xlabel="", ylabel="")
    return figure


def encode_figure(figure: Figure, format: str, dpi: int = 120) -> bytes:
    """Return a figure as the bytes of a file, png or svg; ``dpi`` says how fine a png is."""
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
    """Return how wide a panel must be for the names it shows, in inches."""
    named = max(len(matrix.keys), len(matrix.queries))
    return 2.9 if named > MAX_LABELS else max(2.9, 0.19 * named + 1)


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
        colours = mpl.colormaps["RdBu_r" if negative else "Blues" if is_mask else "magma_r"].with_extremes(
            bad="lightgrey"
        )
        least, most = (-largest if negative else 0.0), (1.4 if is_mask else largest or 1.0)
        image = axis.imshow(
            values, cmap=colours, vmin=least, vmax=most, aspect=aspect, interpolation="nearest",
            extent=_extent(values, matrix),
        )  # fmt: skip
        axis.set_title(title, fontsize=8)
        _label_axes(axis, matrix)
        if colorbar and not is_mask:
            scale = axis.figure.colorbar(image, ax=axis, fraction=0.046, pad=0.03)
            scale.ax.tick_params(labelsize=6)


def _extent(values: np.ndarray, matrix: Matrix) -> tuple[float, float, float, float]:
    """Return the corners in places, whatever the points stand for."""
    rows, columns = matrix.shape
    return (-0.5, max(columns, 1) - 0.5, max(rows, 1) - 0.5, -0.5)


def _label_axes(axis: Axes, matrix: Matrix) -> None:
    axis.set_xlabel("key")
    axis.set_ylabel("query")
    for one, names in ((axis.xaxis, matrix.keys), (axis.yaxis, matrix.queries)):
        if 0 < len(names) <= MAX_LABELS:
            rotation = 90 if one is axis.xaxis else 0
            one.set_ticks(
                range(len(names)), labels=[_escape_label(name) for name in names], rotation=rotation
            )
        else:
            one.set_major_locator(MaxNLocator(5, integer=True))
        one.set_tick_params(labelsize=7)
    if matrix.keys and len(matrix.keys) <= MAX_LABELS:
        axis.xaxis.tick_top()


def _escape_label(name: str) -> str:
    """Return a name that is drawn as it is: a dollar would begin mathematics."""
    return (name if len(name) <= 24 else name[:23] + "…").replace("$", r"\$")
