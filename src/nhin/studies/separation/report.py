"""The report: every sweep, which condition failed where, the agreement of the methods, and figures."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from nhin.format import markdown_table
from nhin.studies.plot_style import COLORS, new_figure, render_figure, style_axes
from nhin.studies.separation.measure import Measurement, group_by_sweep, measure_agreement, wilson_interval
from nhin.studies.separation.options import INNER_TITLES, RECONSTRUCTION
from nhin.studies.separation.outcomes import NET_TITLES, NETS
from nhin.studies.separation.sweeps import Family

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_INNER_COLORS = {"": COLORS[0], "eye": COLORS[0], "ones": COLORS[1]}
_DASHES = ("-", "--", "-.", ":")  # of the conditions, in the order of the networks
_AXIS_TITLES = {
    "n": "n",
    "d": "d, columns",
    "m": "m, random columns y",
    "a1": "a1, spike of D1",
    "a0": "a0, spike of D0",
    "c": "c, constant column",
}
_HIGH = 0.8
TITLES = {
    "regression": "Softmax regression",
    "self": "Self-attention",
    "cross": f"Cross-attention ({RECONSTRUCTION})",
}
_HEADER = (
    *("sweep", "X", "points", "least", "greatest"),
    *("crosses half its greatest at", "what fails where it is least"),
)


def format_report(families: Mapping[Family, Sequence[Measurement]], check: str = "") -> str:
    """Return the report of measurements by family; ``check`` is the result of the check by the definition."""
    lines = ["# Softmax against linear attention, replicated\n"]
    lines.append(
        "The experiments of arXiv:2310.11685. Success: softmax attention fires on D1, which holds a spike, "
        "and stays silent on D0, which does not, while linear attention stays silent on both. Points of the "
        "paper's sweeps; choices it leaves open are in manifest.json. The paper's own curves were not "
        "available.\n"
    )
    for family, results in families.items():
        lines += _format_family(family, results)
    if check:
        lines += ["## The definition, step by step\n", check]
    return "\n".join(lines).rstrip() + "\n"


def _format_family(family: str, results: Sequence[Measurement]) -> Iterator[str]:
    yield f"## {TITLES[family].split(' (')[0]}\n"
    if family == "cross":
        yield f"**Note: {RECONSTRUCTION}.**\n"
    yield f"![success]({family}.png)\n\n![conditions]({family}-conditions.png)\n"
    yield markdown_table(_HEADER, (_sweep_cells(*panel) for panel in group_by_sweep(results)))
    agreement = measure_agreement(results)
    if agreement is not None:
        yield (
            f"Of {agreement.points} points drawn with {results[0].repeats} repeats, {agreement.covered} "
            f"({agreement.covered / agreement.points:.1%}) have the exact chance within their 95% interval; "
            f"the mean squared distance is {agreement.square:.2f} squared standard errors, the largest "
            f"{agreement.worst:.1f} standard errors (points where fewer than one success or failure is "
            "expected aside).\n"
        )


def _sweep_cells(sweep: str, inner: str, group: Sequence[Measurement]) -> list[str]:
    # Rounded: of a plateau, whose rates differ by rounding, the first point.
    least, most = (pick(group, key=lambda r: round(r.success_rate, 9)) for pick in (min, max))
    return [
        sweep,
        INNER_TITLES[inner],
        str(len(group)),
        f"{least.success_rate:.3f} at {least.point.x:g}",
        f"{most.success_rate:.3f} at {most.point.x:g}",
        ", ".join(find_crossings(group)) or "nowhere",
        worst_condition(least),
    ]


def find_crossings(group: Sequence[Measurement]) -> list[str]:
    """Return where success rises or falls through half of its greatest rate."""
    half = max(result.success_rate for result in group) / 2
    crossings = []
    for one, two in pairwise(group):
        before, after = one.success_rate, two.success_rate
        if (before < half) != (after < half):
            x = one.point.x + (half - before) / (after - before) * (two.point.x - one.point.x)
            crossings.append(f"{'rises' if after > before else 'falls'} {x:.3g}")
    return crossings


def worst_condition(result: Measurement) -> str:
    """Return which condition fails most often at a point."""
    failures = [1 - result.rates[0], *result.rates[1:]]
    worst = max(range(len(NETS)), key=lambda net: failures[net])
    title = "softmax is silent on D1" if worst == 0 else NET_TITLES[NETS[worst]]
    return f"{title}: {failures[worst]:.3f}"


def plot_success(family: str, results: Sequence[Measurement]) -> dict[str, bytes]:
    """Draw how often softmax succeeds and linear does not, over every sweep; PNG and SVG by ending."""
    panels = list(dict.fromkeys(result.point.sweep for result in results))
    figure, axes = _make_grid(len(panels), f"{TITLES[family]}: softmax tells D1 from D0 and linear does not")
    for sweep, inner, group in group_by_sweep(results):
        _plot_curve(axes[panels.index(sweep)], group, inner)
    for sweep, panel in zip(panels, axes, strict=True):
        _set_axes(panel, sweep)
    axes[0].legend(frameon=False, fontsize=8, loc="upper right")
    return render_figure(figure)


def plot_conditions(family: str, results: Sequence[Measurement]) -> dict[str, bytes]:
    """Draw how often each condition of success holds, over every sweep; PNG and SVG by ending."""
    panels = sorted(group_by_sweep(results), key=lambda panel: panel[1])
    figure, axes = _make_grid(len(panels), f"{TITLES[family]}: which of the four conditions fails")
    for (sweep, inner, group), panel in zip(panels, axes, strict=True):
        x = [result.point.x for result in group]
        for number, net in enumerate(NETS):
            fires = net == "exp1"
            label = NET_TITLES[net] if fires else NET_TITLES[net].replace("fires", "silent")
            rates = [r.rates[number] if fires else 1 - r.rates[number] for r in group]
            line = {"color": COLORS[number], "lw": 1.8, "marker": _marker(group), "markersize": 4}
            panel.plot(x, rates, _DASHES[number], label=label, **line)
        success = [result.success_rate for result in group]
        panel.fill_between(x, success, color="#999999", alpha=0.25, lw=0, label="all four")
        _set_axes(panel, sweep)
        if inner:
            panel.set_title(f"X = {INNER_TITLES[inner]}", fontsize=9, loc="left")
    axes[0].legend(frameon=False, fontsize=8, loc="upper right")
    return render_figure(figure)


def _plot_curve(axes: "Axes", group: list[Measurement], inner: str) -> None:
    """Draw the exact probabilities of success, and the shares of samples with their intervals."""
    color, label = _INNER_COLORS[inner], f"X = {INNER_TITLES[inner]}, " if inner else ""
    if all(result.chance is not None for result in group):
        x, rates = [result.point.x for result in group], [result.success_rate for result in group]
        style = {"color": color, "lw": 1.5, "marker": _marker(group), "fillstyle": "none"}
        axes.plot(x, rates, label=f"{label}exact", **style)
    sampled = [result for result in group if result.repeats]
    if sampled:
        x = [result.point.x for result in sampled]
        low, high = zip(*(wilson_interval(r.successes, r.repeats) for r in sampled), strict=True)
        axes.fill_between(x, low, high, color=color, alpha=0.15, lw=0, label=f"{label}95% (Wilson)")
        shares = [result.successes / result.repeats for result in sampled]
        label = f"{label}{sampled[0].repeats} repeats"
        axes.plot(x, shares, ".", color=color, markersize=4, alpha=0.8, label=label)


def _marker(group: Sequence[Measurement]) -> str:
    return "o" if len(group) < 10 else ""


def _set_axes(axes: "Axes", sweep: str) -> None:
    low = min(float(np.asarray(line.get_ydata()).min()) for line in axes.lines)
    # Where all rates are high, the axis is cut to show their differences.
    axes.set_ylim(*((-0.03, 1.03) if low < _HIGH else (low - (1 - low) / 6, 1 + (1 - low) / 10)))
    style_axes(axes, _AXIS_TITLES[sweep], "how often")
    if sweep == "d":
        from matplotlib.ticker import FixedLocator, NullLocator, ScalarFormatter

        axes.set_xscale("log", base=2)
        axes.xaxis.set_major_locator(FixedLocator([4, 6, 10, 18, 34, 66]))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_major_formatter(ScalarFormatter())


def _make_grid(panels: int, title: str) -> tuple["Figure", list["Axes"]]:
    columns = min(panels, 3)
    rows = -(-panels // columns)
    figure = new_figure(4.3 * columns + 0.6, 3.1 * rows + 0.5)
    figure.suptitle(title, fontsize=12, x=0.01, ha="left")
    axes = list(figure.subplots(rows, columns, squeeze=False).flat)
    for spare in axes[panels:]:
        spare.set_visible(False)
    return figure, axes[:panels]
