"""Matplotlib setup of the figures here: colors, frames, and files that are equal for equal figures."""

import io
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito 2008, distinct to color-blind people; without the yellow, which is invisible on white.
COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
MARKERS = "os^Dv<>pX*"
DPI = 110
_METADATA: dict[str, dict[str, Any]] = {"png": {"Software": None}, "svg": {"Date": None}}


def new_figure(width: float, height: float) -> "Figure":
    """Return an empty figure of a size in inches."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), dpi=DPI, layout="constrained")


def line_style(number: int) -> dict[str, Any]:
    """Return color and marker of the line of a number."""
    return {"color": COLORS[number % len(COLORS)], "marker": MARKERS[number % len(MARKERS)]}


def render_figure(figure: "Figure") -> dict[str, bytes]:
    """Render a figure as PNG and as SVG, by file ending; the same figure gives the same bytes."""
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    out = {}
    for ending, metadata in _METADATA.items():
        data = io.BytesIO()
        with mpl.rc_context({"svg.hashsalt": "nhin", "svg.fonttype": "none"}):
            FigureCanvasAgg(figure)
            figure.savefig(data, format=ending, dpi=DPI, metadata=metadata)
        out[ending] = data.getvalue()
    return out


def style_axes(axes: "Axes", xlabel: str = "", ylabel: str = "", title: str = "") -> None:
    """Set a light grid, no frame above and to the right, and the labels that are given."""
    axes.grid(alpha=0.25)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    axes.set(**{name: text for name, text in (("xlabel", xlabel), ("ylabel", ylabel)) if text})
    if title:
        axes.set_title(title, fontsize=10, loc="left")
