"""A climb as a picture: what rungs cost and give, and how the time of a step grows with depth."""

import io
from typing import TYPE_CHECKING

from nhin.lm.ladder.rows import Row
from nhin.lm.ladder.table import Ladder

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_COLOURS = {
    "lm-bigram": "#8a5aa0",
    "lm-one-head": "#b08a3e",
    "lm-one-block": "#777777",
    "lm-blocks": "#3b5b92",
    "lm-modern": "#c1653a",
}
_CONTROL = "#4f8f5b"


def draw(ladder: Ladder) -> bytes:
    """Draw a climb as PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 5.4), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    cost, time = figure.subplots(1, 2, width_ratios=(3, 2))
    _costs(cost, ladder)
    _times(time, ladder)
    out = io.BytesIO()
    figure.savefig(out, format="png", metadata={"Software": None})
    return out.getvalue()


def _costs(axes: "Axes", ladder: Ladder) -> None:
    """Draw nats over the CPU-seconds of a run, with the n-grams as levels."""
    rows = [row for row in ladder.rows if row.mean is not None]
    networks = [row for row in rows if row.family != "lm-ngram"]
    for row in rows:
        if row.family == "lm-ngram":
            _level(axes, f"{row.depth}-gram", row.mean or 0.0)
    for family in dict.fromkeys(row.family for row in networks):
        _family(axes, [row for row in networks if row.family == family])
    axes.set_xscale("log")
    if networks:
        # Wide to the right for the levels' names; bars of few seeds may be longer than all that matters.
        times, levels = [row.cpu_seconds for row in networks], [row.mean or 0.0 for row in rows]
        axes.set_xlim(max(1e-3, min(times)) / 1.3, max(1e-3, *times) * 2)
        pad = 0.08 * (max(levels) - min(levels)) + 0.05
        axes.set_ylim(min(levels) - pad, max(levels) + pad)
        axes.legend(frameon=False, fontsize=8)
    _plain(axes)
    axes.set_xlabel("CPU-seconds of a run")
    axes.set_ylabel(f"nats per token, {ladder.about['split']} split")
    axes.set_title(
        "What each rung buys: means, 95% intervals, seeds; numbers are depths", fontsize=10, loc="left"
    )
    axes.grid(alpha=0.25)


def _level(axes: "Axes", name: str, height: float) -> None:
    axes.axhline(height, color=_CONTROL, lw=0.9, ls="--")
    place, coordinates = (0.995, height), ("axes fraction", "data")
    axes.annotate(name, place, xycoords=coordinates, ha="right", va="bottom", color=_CONTROL, fontsize=8)


def _family(axes: "Axes", rows: list[Row]) -> None:
    """Draw the rungs of one recipe, joined in the order of their depths."""
    colour, family = _COLOURS.get(rows[0].family), rows[0].family
    places = [row.cpu_seconds for row in rows]
    heights, halves = [row.mean or 0.0 for row in rows], [row.half or 0.0 for row in rows]
    axes.errorbar(
        places, heights, halves, fmt="o-", color=colour, label=family, capsize=3, lw=1.2, markersize=5
    )
    for row in rows:
        axes.plot([row.cpu_seconds] * len(row.whole), row.whole, "_", color=colour, alpha=0.6)
        if len(rows) > 1:
            place = (row.cpu_seconds, row.mean or 0.0)
            axes.annotate(str(row.depth), place, (6, 5), textcoords="offset points", fontsize=8, color=colour)


def _plain(axes: "Axes") -> None:
    """Write the seconds as people do, not as powers of ten."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda seconds, _: f"{seconds:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())


def _times(axes: "Axes", ladder: Ladder) -> None:
    """Draw the time of a step over depth, with its lines."""
    deepest = 0
    for family, both in ladder.lines.items():
        rows = [row for row in ladder.rows if row.family == family and row.ms is not None]
        colour = _COLOURS.get(family)
        axes.plot(
            [row.depth for row in rows], [row.ms or 0.0 for row in rows], "o", color=colour, markersize=5
        )
        deepest = max([deepest, *(row.depth for row in rows)])
        if "time" in both:
            line = both["time"]
            label = f"{family}: {line.start:.1f} + {line.slope:.1f} depth, R² {line.fit:.4f}"
            axes.plot(
                [0, deepest], [line.predict(0), line.predict(deepest)], color=colour, lw=1.2, label=label
            )
    axes.set_xlim(0, deepest * 1.05 or 1)
    axes.set_xticks(sorted({0, *(row.depth for row in ladder.rows if row.family in ladder.lines)}))
    axes.set_ylim(bottom=0)
    axes.set_xlabel("depth")
    axes.set_ylabel("CPU-ms of a step")
    axes.set_title("Time of a step, all rungs in turn, and the line through it", fontsize=10, loc="left")
    axes.grid(alpha=0.25)
    if ladder.lines:
        axes.legend(frameon=False, fontsize=8)
