"""The figure of a ladder: nats over training time, and the time of a step over depth."""

from typing import TYPE_CHECKING

from nhin.studies.ladder.models import SINGLE, STACKS
from nhin.studies.ladder.results import LadderResults, LadderRow
from nhin.studies.plot_style import COLORS, new_figure, render_figure, style_axes

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_COLORS = dict(zip(("lm-ngram", *SINGLE, *STACKS), ("0.4", *COLORS), strict=False))


def plot_ladder(results: LadderResults) -> bytes:
    """Draw a ladder as PNG."""
    figure = new_figure(12, 5.4)
    nats, time = figure.subplots(1, 2, width_ratios=(3, 2))
    _plot_nats(nats, results)
    _plot_step_time(time, results)
    return render_figure(figure)["png"]


def _plot_nats(axes: "Axes", results: LadderResults) -> None:
    """Draw nats over the CPU-seconds of a run, with the n-grams as levels."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    rows = [row for row in results.rows if row.mean is not None]
    networks = [row for row in rows if row.family != "lm-ngram"]
    for row in rows:
        if row.family == "lm-ngram":
            name, height, color = f"{row.depth}-gram", row.mean or 0.0, _COLORS["lm-ngram"]
            style = {"xycoords": ("axes fraction", "data"), "ha": "right", "va": "bottom"}
            axes.axhline(height, color=color, lw=0.9, ls="--")
            axes.annotate(name, (0.995, height), color=color, fontsize=8, **style)
    for family in dict.fromkeys(row.family for row in networks):
        _plot_family(axes, [row for row in networks if row.family == family])
    axes.set_xscale("log")
    if networks:
        # Space on the right for the names of the levels; intervals of few seeds may be cut off.
        times, levels = [row.cpu_seconds for row in networks], [row.mean or 0.0 for row in rows]
        axes.set_xlim(max(1e-3, min(times)) / 1.3, max(1e-3, *times) * 2)
        pad = 0.08 * (max(levels) - min(levels)) + 0.05
        axes.set_ylim(min(levels) - pad, max(levels) + pad)
        axes.legend(frameon=False, fontsize=8)
    axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda seconds, _: f"{seconds:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    split = results.about["split"]
    title = "Loss of each model: means, 95% intervals, seeds; numbers are depths"
    style_axes(axes, "CPU-seconds of a run", f"nats per token, {split} split", title)


def _plot_family(axes: "Axes", rows: list[LadderRow]) -> None:
    """Draw the models of one family, joined in the order of their depths."""
    family = rows[0].family
    color = _COLORS.get(family)
    times, means = [row.cpu_seconds for row in rows], [row.mean or 0.0 for row in rows]
    halves = [row.half or 0.0 for row in rows]
    axes.errorbar(times, means, halves, fmt="o-", color=color, label=family, capsize=3, lw=1.2, markersize=5)
    for row, time, mean in zip(rows, times, means, strict=True):
        axes.plot([time] * len(row.nats), row.finite_nats, "_", color=color, alpha=0.6)
        if len(rows) > 1:
            offset = {"xytext": (6, 5), "textcoords": "offset points"}
            axes.annotate(str(row.depth), (time, mean), fontsize=8, color=color, **offset)


def _plot_step_time(axes: "Axes", results: LadderResults) -> None:
    """Draw the time of a step over depth, with its lines."""
    depths = {row.depth for row in results.rows if row.family in results.lines}
    deepest = 0
    for family, lines in results.lines.items():
        points = [(row.depth, row.ms) for row in results.rows if row.family == family and row.ms is not None]
        color = _COLORS.get(family)
        axes.plot([x for x, _ in points], [y for _, y in points], "o", color=color, markersize=5)
        deepest = max([deepest, *(depth for depth, _ in points)])
        if "time" in lines:
            line = lines["time"]
            ends = [line.predict(0), line.predict(deepest)]
            label = f"{family}: {line.start:.1f} + {line.slope:.1f} depth, R² {line.fit:.4f}"
            axes.plot([0, deepest], ends, color=color, lw=1.2, label=label)
    axes.set_xlim(0, deepest * 1.05 or 1)
    axes.set_xticks(sorted({0, *depths}))
    axes.set_ylim(bottom=0)
    title = "Time of a step, all models in turn, and a line fitted to it"
    style_axes(axes, "depth", "CPU-ms of a step", title)
    if results.lines:
        axes.legend(frameon=False, fontsize=8)
