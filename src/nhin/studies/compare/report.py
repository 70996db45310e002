"""The table and the figure: accuracy of every mechanism on every task, beside what a step costs."""

from collections.abc import Sequence
from pathlib import Path
from statistics import fmean, geometric_mean
from typing import TYPE_CHECKING

from nhin.files import write_atomic
from nhin.format import Cell, count_noun, markdown_table
from nhin.recommend.quality import REFERENCE, TASK_TITLES, CompareResults, QualityRow, interval_of
from nhin.studies.files import report_files
from nhin.studies.plot_style import line_style, new_figure, style_axes

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

NAME = "compare"


def save_report(results: CompareResults, out: Path) -> str:
    """Write the report, a CSV of every training, and the figure; return the report."""
    text = format_compare(results)
    for name, data in report_files(NAME, _list_rows(results.rows), text, draw_compare(results)).items():
        write_atomic(out / name, data)
    return text


def format_compare(results: CompareResults) -> str:
    """Return the report as Markdown."""
    tasks, names = list_tasks(results.rows), list_mechanisms(results.rows)
    header = ["mechanism", *(TASK_TITLES[task] for task in tasks), "steps", "time of a step"]
    rows = [
        [
            name,
            *(_format_cell(select(results.rows, task, name)) for task in tasks),
            *_format_costs(results, name),
        ]
        for name in names
    ]
    chances = {row.task: row.chance for row in results.rows if row.chance is not None}
    rows.append(["chance", *(f"{chances[task]:.1%}" if task in chances else "" for task in tasks), "", ""])
    return f"# Mechanisms on tiny tasks\n\n{_describe(results)}\n\n" + "\n".join(
        [markdown_table(header, rows, numeric=True), *_format_skipped(results.rows)]
    )


def draw_compare(results: CompareResults) -> "Figure":
    """Draw accuracy over the time of a step, a panel for each task."""
    tasks, names = list_tasks(results.rows), list_mechanisms(results.rows)
    figure = new_figure(3.1 * max(1, len(tasks)) + 1.6, 3.8)
    panels = figure.subplots(1, max(1, len(tasks)), sharey=True, squeeze=False)[0]
    for task, axes in zip(tasks, panels, strict=False):
        for number, name in enumerate(names):
            _draw_point(axes, results, task, name, number)
        chance = next(
            (row.chance for row in results.rows if row.task == task and row.chance is not None), 0.0
        )
        axes.axhline(chance, color="0.6", linestyle=":", linewidth=1)
        axes.set(xscale="log", ylim=(-0.03, 1.05))
        axes.set_xticks(ticks := (0.5, 1, 2, 4, 8), [f"{tick:g}" for tick in ticks])
        axes.minorticks_off()
        style_axes(axes, f"time of a step, {REFERENCE} = 1", "", TASK_TITLES[task])
    panels[0].set_ylabel("right answers")
    handles = {
        label: one for axes in panels for one, label in zip(*axes.get_legend_handles_labels(), strict=True)
    }
    figure.legend(handles.values(), handles.keys(), loc="outside right center", fontsize=7)
    return figure


def list_tasks(rows: Sequence[QualityRow]) -> list[str]:
    """Return the tasks that occur, in the order of ``TASK_TITLES``."""
    return [task for task in TASK_TITLES if any(row.task == task for row in rows)]


def list_mechanisms(rows: Sequence[QualityRow]) -> list[str]:
    """Return the mechanisms that occur, in the order of the file."""
    return list(dict.fromkeys(row.mechanism for row in rows))


def select(rows: Sequence[QualityRow], task: str, mechanism: str) -> list[QualityRow]:
    """Return the trainings of a mechanism on a task."""
    own = (row for row in rows if row.task == task and row.mechanism == mechanism)
    return [row for row in own if row.accuracy is not None]


def compare_times(results: CompareResults, task: str, mechanism: str) -> float | None:
    """Return the mean time of a step over that of softmax; None where either was not trained."""
    own, reference = (_step_seconds(select(results.rows, task, name)) for name in (mechanism, REFERENCE))
    return own / reference if own and reference else None


def _step_seconds(rows: Sequence[QualityRow]) -> float | None:
    return fmean((row.seconds or 0.0) / row.steps for row in rows) if rows else None


def _format_cell(rows: Sequence[QualityRow]) -> str:
    interval = interval_of(rows)
    if interval is None:
        return "–"
    return f"{interval.mean:.1%}" + (f" ± {100 * interval.half_width:.1f}" if len(rows) > 1 else "")


def _format_costs(results: CompareResults, mechanism: str) -> tuple[str, str]:
    """Return the mean over tasks of steps and of the time of a step, as multiples of those of softmax."""
    steps, times = [], []
    for task in list_tasks(results.rows):
        own, reference = (select(results.rows, task, name) for name in (mechanism, REFERENCE))
        ratio = compare_times(results, task, mechanism)
        if ratio is not None:
            times.append(ratio)
            steps.append(own[0].steps / reference[0].steps)
    return tuple(f"{geometric_mean(values):.2f}x" if values else "" for values in (steps, times))  # pyright: ignore[reportReturnType]


def _format_skipped(rows: Sequence[QualityRow]) -> list[str]:
    reasons: dict[tuple[str, str], list[str]] = {}
    for row in rows:
        if row.skipped is not None:
            reasons.setdefault((row.mechanism, row.skipped), []).append(row.task)
    return [
        f"\n{name} on {', '.join(dict.fromkeys(tasks))}: {reason}."
        for (name, reason), tasks in reasons.items()
    ]


def _describe(results: CompareResults) -> str:
    machine, dates = results.machine, sorted({row.date for row in results.rows if row.date})
    seeds = {row.seed for row in results.rows}
    effort = "" if results.settings.effort == 1 else f", times {results.settings.effort:g}"
    when = ", " + " to ".join(dict.fromkeys((dates[0], dates[-1]))) if dates else ""
    return (
        f"Right answers of fresh test samples: means over {count_noun(len(seeds), 'seed')} with intervals of "
        "95% (Student's t). Every mechanism gets the operations that softmax takes in the steps of a task "
        f"(matrix products and fused attention, forward and backward{effort}) at one learning rate. `steps` "
        "and `time of a step` are multiples of those of softmax, geometric means over tasks; time is that of "
        f"one core of {machine.processor}, torch {machine.torch}, nhin {machine.nhin}{when}."
    )


def _draw_point(axes: "Axes", results: CompareResults, task: str, name: str, number: int) -> None:
    interval, time = interval_of(rows := select(results.rows, task, name)), compare_times(results, task, name)
    if interval is None or time is None:
        return
    accuracies = [row.accuracy or 0.0 for row in rows]
    ends = [[interval.mean - min(accuracies)], [max(accuracies) - interval.mean]]
    style = line_style(number) | {"markersize": 5, "linestyle": "none", "label": name, "elinewidth": 1}
    axes.errorbar([time], [interval.mean], yerr=ends, **style)


def _list_rows(rows: Sequence[QualityRow]) -> list[dict[str, Cell]]:
    names = ("task", "mechanism", "seed", "accuracy", "chance", "steps", "flops", "seconds")
    return [{name: getattr(row, name) for name in names} for row in rows if row.accuracy is not None]
