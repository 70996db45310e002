"""The results of the test of kernels: CSV rows, a table and a figure."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nhin.format import Cell, markdown_table
from nhin.studies.files import atomic_folder, report_files
from nhin.studies.plot_style import line_style, new_figure, style_axes
from nhin.studies.separation.kernels_study.attention_kernels import (
    GROUPS,
    REFERENCE,
    AttentionKernel,
    select_kernels,
)
from nhin.studies.separation.kernels_study.kernel_test import Estimate, KernelScore, KernelTest, kernel_titles

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_DASHES = ("-", "-", "--", "-.")


def save_report(test: KernelTest, scores: Sequence[KernelScore], out: Path) -> None:
    """Write the results to a folder atomically."""
    with atomic_folder(out) as folder:
        for name, data in make_files(test, scores).items():
            (folder / name).write_bytes(data)


def make_files(test: KernelTest, scores: Sequence[KernelScore]) -> dict[str, bytes]:
    """Return every file of the results by name."""
    files = report_files("kernels", _make_rows(test, scores), format_page(test, scores), _plot(test, scores))
    return files | {"settings.json": (json.dumps(asdict(test), indent=1) + "\n").encode()}


def _make_rows(test: KernelTest, scores: Sequence[KernelScore]) -> list[dict[str, Cell]]:
    names = ("n", "d", "m", "a0", "b", "c", "margin", "kind")
    fixed: dict[str, Cell] = {name: getattr(test.setting, name) for name in names}
    fixed |= {"draws": test.draws, "ys": test.ys, "seed": test.seed}
    rows = []
    for score in scores:
        row: dict[str, Cell] = {"kernel": score.kernel, "a1": score.a1}
        for name in ("fires1", "fires0", "separates", "auc"):
            estimate: Estimate = getattr(score, name)
            row |= {name: estimate.value, f"{name}_error": estimate.error}
        rows.append(row | fixed)
    return rows


def format_page(test: KernelTest, scores: Sequence[KernelScore]) -> str:
    """Return a table in Markdown, of ``spikes``, or of all sizes when there are none."""
    spikes = test.spikes or test.all_spikes
    by_key = {(score.kernel, score.a1): score for score in scores}
    header = ["kernel", *(f"a1 = {a1:g}" for a1 in spikes)]
    body = []
    for name, title in kernel_titles(scores).items():
        row = [by_key[name, a1] for a1 in spikes]
        body.append([title, *(f"{_format(one.separates, 2)} / {_format(one.auc, 3)}" for one in row)])
    config = test.setting
    about = (
        f"n = {config.n}, d = {config.d}, m = {config.m}, X = I, a0 = {config.a0:g}, b = {config.b:g}, "
        f"c = {config.c:g}, margin {config.margin:g}; {test.draws} draws of spikes with {test.ys} y "
        "each. P_sep / AUC, each with its standard error over the draws of spikes."
    )
    return f"{markdown_table(header, body)}\n{about}\n"


def _format(estimate: Estimate, digits: int) -> str:
    error = "" if estimate.error is None else f" ± {estimate.error:.{digits}f}"
    return f"{estimate.value:.{digits}f}{error}"


def _plot(test: KernelTest, scores: Sequence[KernelScore]) -> "Figure":
    kernels = select_kernels(kernel_titles(scores))
    groups = [group for group in GROUPS if any(kernel.group == group for kernel in kernels)]
    figure = new_figure(1 + 4.2 * len(groups), 7.4)
    grid = figure.subplots(2, len(groups), sharex=True, sharey="row", squeeze=False)
    for column, group in enumerate(groups):
        members = [kernel for kernel in kernels if kernel.group == group]
        for axes, name in zip(grid[:, column], ("auc", "separates"), strict=True):
            _plot_panel(axes, scores, members, name)
        style_axes(grid[0, column], title=GROUPS[group])
        style_axes(grid[1, column], "a1, the spike of D1")
        grid[1, column].legend(
            frameon=False, fontsize=7.5, ncols=2, handlelength=2.5,
            columnspacing=1, loc="upper center", bbox_to_anchor=(0.5, -0.16),
        )  # fmt: skip
    grid[0, 0].set_ylabel("AUC")
    grid[1, 0].set_ylabel("P(fires on D1) · P(silent on D0)")
    figure.suptitle(
        f"The paper's random networks with other kernels: n = {test.setting.n}, d = {test.setting.d}; "
        "bands are standard errors over draws of spikes",
        fontsize=10,
    )
    return figure


def _plot_panel(
    axes: "Axes", scores: Sequence[KernelScore], kernels: Sequence[AttentionKernel], name: str
) -> None:
    if REFERENCE not in [kernel.name for kernel in kernels]:
        style = {"color": "0.6", "lw": 4, "alpha": 0.5, "zorder": 1}
        _plot_curve(axes, scores, select_kernels([REFERENCE])[0], name, style)
    for number, kernel in enumerate(kernels):
        # Each thinner than the one below it, so that of two equal ones both are visible.
        style = line_style(number) | {"ls": _DASHES[number % len(_DASHES)]}
        style |= {"lw": max(1.0, 3.0 - 0.7 * number), "markersize": max(3.0, 6.0 - number)}
        _plot_curve(axes, scores, kernel, name, style)
    if name == "auc":
        axes.axhline(0.5, color="0.4", lw=0.8, ls=":")


def _plot_curve(
    axes: "Axes", scores: Sequence[KernelScore], kernel: AttentionKernel, name: str, style: dict[str, Any]
) -> None:
    curve = [(score.a1, getattr(score, name)) for score in scores if score.kernel == kernel.name]
    if not curve:
        return
    x, values = [a1 for a1, _ in curve], [estimate.value for _, estimate in curve]
    errors = [estimate.error or 0.0 for _, estimate in curve]
    axes.plot(x, values, label=kernel.title, **style)
    low, high = ([v + sign * e for v, e in zip(values, errors, strict=True)] for sign in (-1, 1))
    axes.fill_between(x, low, high, color=style["color"], alpha=0.15, lw=0)
