"""What the figures here share: colours that everyone can tell apart, and files that do not differ."""

import io
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito 2008, without the yellow, which white paper swallows.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")


def bytes_of(figure: "Figure") -> dict[str, bytes]:
    """Return a figure as PNG and as SVG, by ending; the same figure gives the same bytes."""
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    undated: dict[str, dict[str, Any]] = {"png": {"Software": None}, "svg": {"Date": None}}
    out = {}
    for ending, metadata in undated.items():
        data = io.BytesIO()
        with mpl.rc_context({"svg.hashsalt": "nhin", "svg.fonttype": "none"}):
            FigureCanvasAgg(figure)
            figure.savefig(data, format=ending, dpi=110, metadata=metadata)
        out[ending] = data.getvalue()
    return out


def plain(axes: "Axes") -> None:
    """Leave out what says nothing."""
    axes.grid(alpha=0.25)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
