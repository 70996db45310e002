"""Figures of a family: success against every sweep, and which of the four conditions failed."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from nhin.replication.choices import RECONSTRUCTION
from nhin.replication.measure import Result
from nhin.replication.nets import NETS
from nhin.replication.pictures import bytes_of
from nhin.replication.rows import by_sweep
from nhin.replication.stats import wilson

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito's colours, which colour-blind people tell apart.
_OF_X = {"": "#0072B2", "eye": "#0072B2", "ones": "#D55E00"}
_NAMED = {"": "", "eye": "X = vec(I)", "ones": "X = 1"}
_CONDITIONS = {
    "exp1": ("softmax fires on D1", "#0072B2", "-"),
    "lin1": ("linear silent on D1", "#D55E00", "--"),
    "exp0": ("softmax silent on D0", "#009E73", "-."),
    "lin0": ("linear silent on D0", "#CC79A7", ":"),
}
_AXES = {
    "n": "n",
    "d": "d, columns",
    "m": "m, random columns y",
    "a1": "a1, spike of D1",
    "a0": "a0, spike of D0",
    "c": "c, constant column",
}
_WELL = 0.8
TITLES = {
    "regression": "Softmax regression",
    "self": "Self-attention",
    "cross": f"Cross-attention ({RECONSTRUCTION})",
}


def success(family: str, results: Sequence[Result]) -> dict[str, bytes]:
    """Draw how often softmax succeeds and linear does not, over every sweep.

    Args:
        family: Of the results.
        results: All of it.

    Returns:
        PNG and SVG, by ending.
    """
    panels = list(dict.fromkeys(result.point.sweep for result in results))
    figure, axes = _grid(len(panels), f"{TITLES[family]}: softmax tells D1 from D0 and linear does not")
    for sweep, inner, some in by_sweep(results):
        _success(axes[panels.index(sweep)], some, _OF_X[inner], _NAMED[inner])
    for sweep, of in zip(panels, axes, strict=True):
        _frame(of, sweep)
    axes[0].legend(frameon=False, fontsize=8, loc="best")
    return bytes_of(figure)


def conditions(family: str, results: Sequence[Result]) -> dict[str, bytes]:
    """Draw how often each of the four conditions of success holds, over every sweep.

    Args:
        family: Of the results.
        results: All of it.

    Returns:
        PNG and SVG, by ending.
    """
    panels = sorted(by_sweep(results), key=lambda panel: panel[1])
    figure, axes = _grid(len(panels), f"{TITLES[family]}: which of the four conditions fails")
    for place, ((sweep, inner, some), of) in enumerate(zip(panels, axes, strict=False)):
        x = [result.point.x for result in some]
        for net, (label, colour, style) in _CONDITIONS.items():
            at = NETS.index(net)
            held = [r.rates[at] if net == "exp1" else 1 - r.rates[at] for r in some]
            of.plot(x, held, style, color=colour, label=label, lw=1.8, marker=_marker(some), markersize=4)
        of.fill_between(
            x, [result.best for result in some], color="#999999", alpha=0.25, lw=0, label="all four"
        )
        _frame(of, sweep)
        if inner:
            of.set_title(_NAMED[inner], fontsize=9, loc="left")
        if place == 0:
            of.legend(frameon=False, fontsize=8, loc="best")
    return bytes_of(figure)


def _success(of: "Axes", some: list[Result], colour: str, label: str) -> None:
    x = [result.point.x for result in some]
    lead = f"{label}, " if label else ""
    if all(result.chance is not None for result in some):
        of.plot(
            x,
            [result.best for result in some],
            color=colour,
            lw=1.5,
            label=f"{lead}exact",
            marker=_marker(some),
            fillstyle="none",
        )
    drawn = [result for result in some if result.repeats]
    if drawn:
        x = [result.point.x for result in drawn]
        bounds = [wilson(result.successes, result.repeats) for result in drawn]
        low, high = [low for low, _ in bounds], [high for _, high in bounds]
        of.fill_between(x, low, high, color=colour, alpha=0.15, lw=0, label=f"{lead}95% (Wilson)")
        shares = [result.successes / result.repeats for result in drawn]
        label = f"{lead}{drawn[0].repeats} repeats"
        of.plot(x, shares, ".", color=colour, markersize=4, alpha=0.8, label=label)


def _marker(some: Sequence[Result]) -> str:
    return "o" if len(some) < 10 else ""


def _frame(of: "Axes", sweep: str) -> None:
    low = min(float(np.asarray(line.get_ydata()).min()) for line in of.lines)
    # Where all is well, what is left is worth seeing.
    of.set_ylim(*((-0.03, 1.03) if low < _WELL else (low - (1 - low) / 6, 1 + (1 - low) / 10)))
    of.set_xlabel(_AXES[sweep])
    of.set_ylabel("how often")
    of.grid(alpha=0.25)
    if sweep == "d":
        from matplotlib.ticker import FixedLocator, NullLocator, ScalarFormatter

        of.set_xscale("log", base=2)
        of.xaxis.set_major_locator(FixedLocator([4, 6, 10, 18, 34, 66]))
        of.xaxis.set_minor_locator(NullLocator())
        of.xaxis.set_major_formatter(ScalarFormatter())


def _grid(panels: int, title: str) -> tuple["Figure", list["Axes"]]:
    from matplotlib.figure import Figure

    columns = min(panels, 3)
    rows = -(-panels // columns)
    figure = Figure(figsize=(4.3 * columns + 0.6, 3.1 * rows + 0.5), dpi=110, layout="constrained")
    figure.suptitle(title, fontsize=12, x=0.01, ha="left")
    axes = list(figure.subplots(rows, columns, squeeze=False).flat)
    for spare in axes[panels:]:
        spare.set_visible(False)
    return figure, axes[:panels]
