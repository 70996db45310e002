"""The report of a benchmark: tables in Markdown, and log-log plots with the fitted exponents."""

import math
from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from typing import TYPE_CHECKING

from nhin.bench.cells import BASELINE, BenchCell, BenchRow
from nhin.bench.growth import fit_growth, group_curves
from nhin.bench.results import BenchResults
from nhin.format import format_bytes, markdown_table
from nhin.viz.plots import encode_figure, make_axes

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_COLUMNS = 3
_COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
_MARKERS = "os^Dv<>pX*"


def format_bench_report(results: BenchResults) -> str:
    """Return the report: a table of each situation, then what was left out and why."""
    parts = [
        "# Attention on this machine\n",
        _describe(results),
        "Milliseconds, in brackets the ratio to PyTorch's kernel (`sdpa`) with its 95% interval; the last "
        "column is p of time that grows as length^p, fitted over the three longest lengths, with the 95% "
        "interval that the spread of the rounds gives. `*`: a "
        "generation whose steps were timed at eight lengths and summed.\n",
    ]
    for title, rows in _split_by_situation(results.rows):
        parts += [
            f"## {title}\n",
            _format_times(rows),
            "Memory besides the inputs, and what the formula says:\n",
        ]
        parts.append(_format_memory(rows))
    if any(row.skipped for row in results.rows):
        parts += ["## Left out\n", _format_skipped(results.rows)]
    return "\n".join(parts)


def _describe(results: BenchResults) -> str:
    machine, settings = results.machine, results.settings
    dates = sorted({row.date for row in results.rows if row.date})
    clock = "time of the processor" if settings.threads == 1 else "time on the clock"
    return (
        f"{machine.gpu or machine.processor}, {machine.cores} cores, {machine.system}, Python "
        f"{machine.python}, torch {machine.torch}, nhin {machine.nhin}; "
        f"threads: {settings.threads} ({clock}); up to {settings.repeats} rounds, seed {settings.seed}"
        f"{'; ' + ' to '.join(dict.fromkeys((dates[0], dates[-1]))) if dates else ''}.\n"
    )


def _title(cell: BenchCell) -> str:
    mask = (
        "" if cell.phase not in ("forward", "train") else ", causal" if cell.causal else ", every key visible"
    )
    return (
        f"{cell.phase}, {cell.dtype}{mask}: {cell.heads} heads on {cell.kv_heads}, width {cell.head_dim}, "
        f"batch {cell.batch}, {cell.device}"
    )


def _split_by_situation(rows: Sequence[BenchRow]) -> Iterator[tuple[str, list[BenchRow]]]:
    measured = sorted((row for row in rows if row.seconds), key=lambda row: _title(row.cell))
    for title, group in groupby(measured, key=lambda row: _title(row.cell)):
        yield title, list(group)


def _format_times(rows: Sequence[BenchRow]) -> str:
    def cell(row: BenchRow) -> str:
        ratio = "" if row.ratio is None or row.cell.mechanism == BASELINE else (
            f" ({row.ratio:.2f}: {row.ratio_low:.2f} to {row.ratio_high:.2f})"
        )  # fmt: skip
        return f"{1e3 * (row.seconds or 0):.4g}{'*' * row.sampled}{ratio}"

    def last(curve: Sequence[BenchRow]) -> str:
        fit = fit_growth(curve)
        if fit is None:
            return ""
        return f"{fit.mean:.2f}" + (f" ± {fit.half_width:.2f}" if math.isfinite(fit.half_width) else "")

    return _format_table(rows, cell, last, "p")


def _format_memory(rows: Sequence[BenchRow]) -> str:
    def cell(row: BenchRow) -> str:
        return " / ".join(
            "?" if size is None else format_bytes(size) for size in (row.peak_bytes, row.predicted_bytes)
        )

    def last(curve: Sequence[BenchRow]) -> str:
        row = curve[-1]
        kernel = f", {row.kernel}" if row.kernel else ""
        return f"{(row.flops or 0) / 1e9:.4g} GFLOP{kernel}"

    return _format_table(rows, cell, last, "operations at the longest")


def _format_table(
    rows: Sequence[BenchRow],
    cell: Callable[[BenchRow], str],
    last: Callable[[Sequence[BenchRow]], str],
    heading: str,
) -> str:
    lengths = sorted({row.cell.length for row in rows})
    lines = []
    for curve in group_curves(rows).values():
        known = {row.cell.length: row for row in curve}
        cells = [cell(known[length]) if length in known else "–" for length in lengths]
        lines.append([f"`{curve[0].cell.mechanism}`", *cells, last(curve)])
    return markdown_table(("mechanism", *map(str, lengths), heading), lines, numeric=True)


def _format_skipped(rows: Sequence[BenchRow]) -> str:
    """Return a line for each mechanism, situation and reason, with the lengths that it holds for."""
    lengths: dict[tuple[str, str, str], list[str]] = {}
    for row in rows:
        if row.skipped:
            key = (row.cell.mechanism, row.skipped, _title(row.cell))
            lengths.setdefault(key, []).append(str(row.cell.length))
    lines = [(f"`{name}`", ", ".join(at), why, title) for (name, why, title), at in lengths.items()]
    return markdown_table(("mechanism", "lengths", "reason", "situation"), lines)


def plot_bench(results: BenchResults, format: str) -> bytes:
    """Draw time over length of every situation, both axes logarithmic, as a png or svg file."""
    situations = list(_split_by_situation(results.rows))
    figure, axes = make_axes(
        "Time by length, and the exponent of its growth", max(1, len(situations)), _COLUMNS, 5.0
    )
    names = list(dict.fromkeys(row.cell.mechanism for row in results.rows))
    for axis, (title, rows) in zip(axes, situations, strict=False):
        _plot_situation(axis, title, rows, names)
    return encode_figure(figure, format)


def _plot_situation(axis: "Axes", title: str, rows: Sequence[BenchRow], names: Sequence[str]) -> None:
    for curve in group_curves(rows).values():
        number, fit = names.index(curve[0].cell.mechanism), fit_growth(curve)
        label = names[number] + ("" if fit is None else f" {fit.mean:.2f}")
        xs = [row.cell.length for row in curve]
        axis.plot(
            xs, [1e3 * (row.seconds or 0) for row in curve], label=label, linewidth=1, markersize=3.5,
            color=_COLORS[number % len(_COLORS)], marker=_MARKERS[number % len(_MARKERS)],
        )  # fmt: skip
        axis.fill_between(
            xs, [1e3 * (row.low or 0) for row in curve], [1e3 * (row.high or 0) for row in curve],
            color=_COLORS[number % len(_COLORS)], alpha=0.15, linewidth=0,
        )  # fmt: skip
    axis.set_xscale("log", base=2)
    axis.set_yscale("log")
    axis.set(xlabel="length", ylabel="ms")
    axis.set_title(title, fontsize=7)
    axis.grid(alpha=0.25)
    axis.legend(fontsize=5.5, loc="upper left")
