"""What the test of kernels found: as rows, as a table for people, and as a figure."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nhin.replication.beyond.kernels import GROUPS, kernels
from nhin.replication.beyond.trial import Estimate, Point, Trial, titles
from nhin.replication.folder import whole
from nhin.replication.pictures import COLOURS, bytes_of, plain
from nhin.replication.table import Cell, csv, markdown

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_REFERENCE = "dot"
_MARKS = "os^Dv<>pX*"
_DASHES = ("-", "-", "--", "-.")


def save(trial: Trial, points: Sequence[Point], out: Path) -> None:
    """Write the results to a folder that is there whole or not at all.

    Raises:
        UsageError: There is something at ``out`` already, or it cannot be made.
    """
    with whole(out) as folder:
        for name, data in files(trial, points).items():
            (folder / name).write_bytes(data)


def files(trial: Trial, points: Sequence[Point]) -> dict[str, bytes]:
    """Return every file of the results by name."""
    figures = figure(trial, points)
    return {
        "kernels.csv": csv(rows(trial, points)).encode(),
        "kernels.md": page(trial, points).encode(),
        "kernels.png": figures["png"],
        "kernels.svg": figures["svg"],
        "settings.json": (json.dumps(asdict(trial), indent=1) + "\n").encode(),
    }


def rows(trial: Trial, points: Sequence[Point]) -> list[dict[str, Cell]]:
    """Return one row for each kernel and size of the spike."""
    fixed: dict[str, Cell] = {**trial.setting.numbers(), "kind": trial.setting.kind}
    del fixed["a1"]
    out = []
    for point in points:
        row: dict[str, Cell] = {"kernel": point.kernel, "a1": point.a1}
        for name in ("fires1", "fires0", "separates", "auc"):
            estimate: Estimate = getattr(point, name)
            row |= {name: estimate.value, f"{name}_error": estimate.error}
        out.append(row | fixed | {"draws": trial.draws, "ys": trial.ys, "seed": trial.seed})
    return out


def page(trial: Trial, points: Sequence[Point]) -> str:
    """Write the table down for people, at the sizes it was asked for; at all when at none."""
    spikes = trial.spikes or trial.every
    found = {(point.kernel, point.a1): point for point in points}
    header = ["kernel", *(f"a1 = {a1:g}" for a1 in spikes)]
    body = [[title, *(_cell(found[name, a1]) for a1 in spikes)] for name, title in titles(points).items()]
    setting = trial.setting
    about = (
        f"n = {setting.n}, d = {setting.d}, m = {setting.m}, X = I, a0 = {setting.a0:g}, b = {setting.b:g}, "
        f"c = {setting.c:g}, margin {setting.margin:g}; {trial.draws} draws of spikes with {trial.ys} y "
        "each. P_sep / AUC, each with its standard error over the draws of spikes."
    )
    return f"{markdown(header, body)}\n{about}\n"


def figure(trial: Trial, points: Sequence[Point]) -> dict[str, bytes]:
    """Draw AUC and P_sep over the size of the spike, a column for each group of kernels."""
    from matplotlib.figure import Figure

    chosen = kernels(titles(points))
    groups = [group for group in GROUPS if any(kernel.group == group for kernel in chosen)]
    drawn = Figure(figsize=(1 + 4.2 * len(groups), 7.4), layout="constrained")
    grid = drawn.subplots(2, len(groups), sharex=True, sharey="row", squeeze=False)
    for place, group in enumerate(groups):
        members = [(kernel.name, kernel.title) for kernel in chosen if kernel.group == group]
        for axes, name in zip(grid[:, place], ("auc", "separates"), strict=True):
            _panel(axes, points, members, name)
        grid[0, place].set_title(GROUPS[group], loc="left", fontsize=10)
        grid[1, place].set_xlabel("a1, the spike of D1")
        grid[1, place].legend(
            *_named(grid[1, place], members), frameon=False, fontsize=7.5, ncols=2, handlelength=2.5,
            columnspacing=1, loc="upper center", bbox_to_anchor=(0.5, -0.16),
        )  # fmt: skip
    grid[0, 0].set_ylabel("AUC")
    grid[1, 0].set_ylabel("P(fires on D1) · P(silent on D0)")
    drawn.suptitle(
        f"The paper's random networks with other kernels: n = {trial.setting.n}, d = {trial.setting.d}; "
        "bands are standard errors over draws of spikes",
        fontsize=10,
    )
    return bytes_of(drawn)


def _panel(axes: "Axes", points: Sequence[Point], members: Sequence[tuple[str, str]], name: str) -> None:
    if _REFERENCE not in [member for member, _ in members]:
        _curve(axes, points, _REFERENCE, name, {"color": "0.6", "lw": 4, "alpha": 0.5, "zorder": 1})
    for number, (member, _) in enumerate(members):
        style: dict[str, Any] = {
            "color": COLOURS[number % len(COLOURS)],
            "marker": _MARKS[number % len(_MARKS)],
        }
        # Each thinner than the one below it, so that of two that agree both are seen.
        style |= {"lw": max(1.0, 3.0 - 0.7 * number), "markersize": max(3.0, 6.0 - number)}
        _curve(axes, points, member, name, style | {"ls": _DASHES[number % len(_DASHES)]})
    if name == "auc":
        axes.axhline(0.5, color="0.4", lw=0.8, ls=":")
    plain(axes)


def _curve(axes: "Axes", points: Sequence[Point], kernel: str, name: str, style: dict[str, Any]) -> None:
    mine = [(point.a1, getattr(point, name)) for point in points if point.kernel == kernel]
    if not mine:
        return
    places, values = [a1 for a1, _ in mine], [estimate.value for _, estimate in mine]
    axes.plot(places, values, label=kernel, **style)
    errors = [estimate.error or 0.0 for _, estimate in mine]
    low, high = ([v + sign * e for v, e in zip(values, errors, strict=True)] for sign in (-1, 1))
    axes.fill_between(places, low, high, color=style["color"], alpha=0.15, lw=0)


def _named(axes: "Axes", members: Sequence[tuple[str, str]]) -> tuple[list, list[str]]:
    titles = {**dict(members), _REFERENCE: "softmax, unscaled (the paper's)"}
    handles, labels = axes.get_legend_handles_labels()
    return handles, [titles[label] for label in labels]


def _cell(point: Point) -> str:
    return f"{_short(point.separates, 2)} / {_short(point.auc, 3)}"


def _short(estimate: Estimate, digits: int) -> str:
    error = "" if estimate.error is None else f" ± {estimate.error:.{digits}f}"
    return f"{estimate.value:.{digits}f}{error}"
