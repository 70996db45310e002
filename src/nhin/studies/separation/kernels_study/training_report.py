"""The results of the study of training: CSV rows, tables and a figure."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from nhin.format import Cell, markdown_table
from nhin.studies.files import report_files, write_atomic
from nhin.studies.plot_style import line_style, new_figure, style_axes
from nhin.studies.separation.kernels_study.attention_kernels import TRAINED_KERNELS
from nhin.studies.separation.kernels_study.detectors import (
    DETECTORS,
    MAX_NUMBERS,
    NOISY_KINDS,
    measure_detectors,
)
from nhin.studies.separation.kernels_study.training_study import StudyPlan, StudyRun

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

EXAMPLES = 20000
StudyPoint = tuple[int, float]  # n and sigma
DetectorScores = dict[StudyPoint, dict[str, float]]
_DASHES = {"bayes": "-", "second-moment": "--", "mean": ":"}  # the maximum coincides with Bayes


def save_report(plan: StudyPlan, runs: Sequence[StudyRun], out: Path) -> None:
    """Write the results into the folder of a study, and replace those of before."""
    detectors = score_detectors(plan)
    rows, page = _make_rows(plan, runs, detectors), format_page(plan, runs, detectors)
    for name, data in report_files("training", rows, page, _plot(plan, runs, detectors)).items():
        write_atomic(out / name, data)


def score_detectors(plan: StudyPlan) -> DetectorScores:
    """Return the accuracy of each detector, by n and sigma; the queries do not matter."""
    tasks = {(task.setting.n, task.sigma): task for task in plan.tasks()}
    return {point: measure_detectors(task, _examples(point[0]), plan.seed) for point, task in tasks.items()}


def _examples(n: int) -> int:
    """Return how many matrices of each kind detectors are tested on: fewer where memory is short."""
    return min(EXAMPLES, MAX_NUMBERS // (2 * n))


def _make_rows(plan: StudyPlan, runs: Sequence[StudyRun], detectors: DetectorScores) -> list[dict[str, Cell]]:
    rows: list[dict[str, Cell]] = []
    for run in runs:
        row: dict[str, Cell] = {"what": "network", "name": run.kernel}
        row |= {name: getattr(run, name) for name in ("kind", "n", "sigma", "seed", "accuracy", "loss")}
        rows.append(row | {"examples": plan.course.tried})
    for (n, sigma), accuracies in detectors.items():
        for name, accuracy in accuracies.items():
            row = {"what": "detector", "name": name, "n": n, "sigma": sigma, "accuracy": accuracy}
            rows.append(row | {"examples": 2 * _examples(n)})
    return rows


def format_page(plan: StudyPlan, runs: Sequence[StudyRun], detectors: DetectorScores) -> str:
    """Return two tables in Markdown: over the noise, and over the length."""
    setting, course, longest = plan.setting, plan.course, max(n for n, _ in detectors)
    kinds = "; ".join(f"{kind}: {NOISY_KINDS[kind]}" for kind in plan.kinds)
    parts = [
        f"d = {setting.d}, m = {setting.m}, a0 = {setting.a0:g}, a1 = {setting.a1:g}, b = {setting.b:g}, "
        f"c = {setting.c:g}; Adam, {course.steps} steps of {course.batch} matrices, tested on "
        f"{course.tried}. Share of right answers: the mean over {plan.seeds} seeds, and the least and the "
        f"most. Detectors: {2 * _examples(longest)} matrices, thresholds chosen on as many others. "
        f"{kinds}."
    ]
    for title, header, points in _axes_of(plan):
        body = []
        for kernel in plan.kernels:
            for kind in plan.kinds:
                cells = [f"{TRAINED_KERNELS[kernel].title}, {kind}"]
                for point in points:
                    mean, low, high = _summarize(runs, kernel, kind, point)
                    cells.append(f"{mean:.3f} ({low:.3f} to {high:.3f})")
                body.append(cells)
        body += [
            [f"{detector.title} detector", *(f"{detectors[point][name]:.3f}" for point in points)]
            for name, detector in DETECTORS.items()
        ]
        parts += [title, markdown_table([" ", *header], body).rstrip()]
    return "\n\n".join(parts) + "\n"


def _axes_of(plan: StudyPlan) -> list[tuple[str, list[str], list[StudyPoint]]]:
    """Return the axes of the study: a title, the column headers, and n and sigma of each column."""
    axes = []
    if plan.sigmas:
        n, sigmas = plan.setting.n, sorted(plan.sigmas)
        headers = [f"sigma = {sigma:g}" for sigma in sigmas]
        axes.append((f"n = {n}", headers, [(n, sigma) for sigma in sigmas]))
    if plan.lengths:
        sigma, lengths = plan.sigma, sorted(plan.lengths)
        axes.append((f"sigma = {sigma:g}", [f"n = {n}" for n in lengths], [(n, sigma) for n in lengths]))
    return axes


def _summarize(
    runs: Sequence[StudyRun], kernel: str, kind: str, point: StudyPoint
) -> tuple[float, float, float]:
    """Return the mean, least and greatest accuracy over seeds."""
    key = kernel, kind, *point
    values = [run.accuracy for run in runs if run.key[:4] == key]
    return sum(values) / len(values), min(values), max(values)


def _plot(plan: StudyPlan, runs: Sequence[StudyRun], detectors: DetectorScores) -> "Figure":
    rows = _axes_of(plan)
    figure = new_figure(1.2 + 4.6 * len(plan.kinds), 0.8 + 3.4 * len(rows))
    grid = figure.subplots(len(rows), len(plan.kinds), sharex="row", sharey=True, squeeze=False)
    for row, (title, _, points) in zip(grid, rows, strict=True):
        over = 0 if len({n for n, _ in points}) > 1 else 1
        for axes, kind in zip(row, plan.kinds, strict=True):
            _plot_panel(axes, plan, runs, detectors, (kind, points, over))
            axes.set_title(f"{NOISY_KINDS[kind]}; {title}", loc="left", fontsize=9)
            style_axes(axes, ("n", "sigma")[over])
        row[0].set_ylabel("right answers")
    handles, labels = grid[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, frameon=False, fontsize=8, ncols=3, loc="outside lower center")
    figure.suptitle(
        f"Accuracy of trained networks and of detectors: means, least and most of {plan.seeds} seeds",
        fontsize=10,
    )
    return figure


def _plot_panel(
    axes: "Axes",
    plan: StudyPlan,
    runs: Sequence[StudyRun],
    detectors: DetectorScores,
    panel: tuple[str, list[StudyPoint], int],
) -> None:
    kind, points, over = panel
    x = [point[over] for point in points]
    for name, dash in _DASHES.items():
        accuracies = [detectors[point][name] for point in points]
        label = f"{DETECTORS[name].title} detector"
        axes.plot(x, accuracies, dash, color="0.35", lw=1.2, label=label, zorder=1)
    # Side by side, so that none hides another.
    step = 0.012 * ((max(x) - min(x)) or 1.0)
    for number, kernel in enumerate(plan.kernels):
        summaries = [_summarize(runs, kernel, kind, point) for point in points]
        means = [mean for mean, _, _ in summaries]
        bars = [[mean - low for mean, low, _ in summaries], [high - mean for mean, _, high in summaries]]
        shifted = [value + step * (number - (len(plan.kernels) - 1) / 2) for value in x]
        style = line_style(number) | {"lw": 1.3, "markersize": 4.5, "capsize": 2}
        axes.errorbar(shifted, means, bars, label=TRAINED_KERNELS[kernel].title, **style)
    axes.set_xticks(x)
