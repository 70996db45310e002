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

NAMED = 48  # most rows or columns whose names are written
_STYLE: dict[Any, Any] = {
    "svg.hashsalt": "nhin",
    "font.family": "DejaVu Sans",
    "font.size": 8,
    "image.origin": "upper",
}
# A file that says when it was made differs each time.
_UNDATED: Mapping[str, dict[str, Any]] = {"png": {"Software": None}, "svg": {"Date": None}}


@dataclass(frozen=True, slots=True)
class Panel:
    """One matrix of a table of them.

    Args:
        title: Stands above it.
        matrix: The matrix; its first head is drawn.
        seen: It says only who sees whom.
    """

    title: str
    matrix: Matrix
    seen: bool = False


def card(title: str, panels: Sequence[tuple[str, Matrix, bool]]) -> Figure:
    """Draw several matrices side by side.

    Args:
        title: Stands above all.
        panels: A title, a matrix (its heads averaged), and whether it says only who sees whom (from head 0).
    """
    figure, axes = _grid(title, len(panels), len(panels))
    for axis, (name, matrix, seen) in zip(axes, panels, strict=True):
        values = matrix.values[0] != 0 if seen else matrix.values.mean(0)
        _image(axis, name, values, matrix, seen=seen)
    return figure


def heads(title: str, matrix: Matrix) -> Figure:
    """Draw the matrix of every head."""
    count = len(matrix.values)
    rows, columns = matrix.shape
    tall = min(1.5, max(0.35, rows / max(1, columns)))
    figure, axes = _grid(title, count, min(count, 4), _size(matrix), tall)
    for number, (axis, values) in enumerate(zip(axes, matrix.values, strict=True)):
        _image(axis, f"head {number}" if count > 1 else "", values, matrix)
    return figure


def table(title: str, rows: Sequence[Sequence[Panel]], *, bars: bool = True) -> Figure:
    """Draw rows of panels; without ``bars`` each is small and its colours go from nothing to its largest."""
    columns = max(map(len, rows))
    inches = max([_size(panel.matrix) for row in rows for panel in row], default=2.9) if bars else 1.7
    figure, axes = _grid(title, len(rows) * columns, columns, inches)
    for row, places in zip(rows, range(0, len(axes), columns), strict=True):
        for panel, axis in zip(row, axes[places:], strict=False):
            _image(axis, panel.title, panel.matrix.values[0], panel.matrix, seen=panel.seen, bar=bars)
            if not bars:
                axis.set(xlabel="", ylabel="")
    return figure


def steps(title: str, shown: Sequence[tuple[str, np.ndarray, bool]]) -> Figure:
    """Draw the intermediates of a formula in order.

    Args:
        title: Stands above all.
        shown: A name, two axes of numbers, and whether they only say yes or no; what is no number is grey.
    """
    figure, axes = _grid(title, len(shown), min(len(shown), 4))
    for axis, (name, values, seen) in zip(axes, shown, strict=True):
        _image(axis, name, values, Matrix(values[None], values.shape), seen=seen, aspect="auto")
        axis.set(xlabel="", ylabel="")
    return figure


def written(figure: Figure, format: str, dpi: int = 120) -> bytes:
    """Return a figure as the bytes of a file, png or svg; ``dpi`` says how fine a png is."""
    data = io.BytesIO()
    with mpl.rc_context(_STYLE):
        FigureCanvasAgg(figure)
        figure.savefig(data, format=format, dpi=dpi, metadata=_UNDATED[format])
    return data.getvalue()


def _grid(
    title: str, count: int, columns: int, inches: float = 2.9, tall: float = 1.0
) -> tuple[Figure, list[Axes]]:
    with mpl.rc_context(_STYLE):
        rows = -(-count // columns)
        size = (max(3.4, inches * columns), ((inches - 0.6) * tall + 0.75) * rows + 0.3)
        figure = Figure(size, layout="constrained")
        figure.suptitle(textwrap.fill(title, int(13 * size[0])), fontsize=9)
        axes = figure.subplots(rows, columns, squeeze=False).ravel().tolist()
        for axis in axes[count:]:
            axis.set_axis_off()
        return figure, axes[:count]


def _size(matrix: Matrix) -> float:
    """Return how wide a panel must be for the names it shows, in inches."""
    named = max(len(matrix.keys), len(matrix.queries))
    return 2.9 if named > NAMED else max(2.9, 0.19 * named + 1)


def _image(
    axis: Axes,
    title: str,
    values: np.ndarray,
    matrix: Matrix,
    *,
    seen: bool = False,
    bar: bool = True,
    aspect: Literal["equal", "auto"] = "equal",
) -> None:
    with mpl.rc_context(_STYLE):
        values = np.where(np.isfinite(values), values, np.nan).astype(float)
        largest = float(np.nanmax(np.abs(values))) if np.isfinite(values).any() else 1.0
        negative = bool((values < 0).any())
        colours = mpl.colormaps["RdBu_r" if negative else "Blues" if seen else "magma_r"].with_extremes(
            bad="lightgrey"
        )
        least, most = (-largest if negative else 0.0), (1.4 if seen else largest or 1.0)
        image = axis.imshow(
            values, cmap=colours, vmin=least, vmax=most, aspect=aspect, interpolation="nearest",
            extent=_extent(values, matrix),
        )  # fmt: skip
        axis.set_title(title, fontsize=8)
        _named(axis, matrix)
        if bar and not seen:
            scale = axis.figure.colorbar(image, ax=axis, fraction=0.046, pad=0.03)
            scale.ax.tick_params(labelsize=6)


def _extent(values: np.ndarray, matrix: Matrix) -> tuple[float, float, float, float]:
    """Return the corners in places, whatever the points stand for."""
    rows, columns = matrix.shape
    return (-0.5, max(columns, 1) - 0.5, max(rows, 1) - 0.5, -0.5)


def _named(axis: Axes, matrix: Matrix) -> None:
    axis.set_xlabel("key")
    axis.set_ylabel("query")
    for one, names in ((axis.xaxis, matrix.keys), (axis.yaxis, matrix.queries)):
        if 0 < len(names) <= NAMED:
            rotation = 90 if one is axis.xaxis else 0
            one.set_ticks(range(len(names)), labels=[_safe(name) for name in names], rotation=rotation)
        else:
            one.set_major_locator(MaxNLocator(5, integer=True))
        one.set_tick_params(labelsize=7)
    if matrix.keys and len(matrix.keys) <= NAMED:
        axis.xaxis.tick_top()


def _safe(name: str) -> str:
    """Return a name that is drawn as it is: a dollar would begin mathematics."""
    return (name if len(name) <= 24 else name[:23] + "…").replace("$", r"\$")
