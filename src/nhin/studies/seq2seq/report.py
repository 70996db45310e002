"""The table, the sentences and the figure of the study."""

from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING

from nhin.files import write_atomic
from nhin.format import Cell, count_noun, markdown_table
from nhin.metrics.statistics import Interval, confidence_interval
from nhin.studies.files import report_files
from nhin.studies.plot_style import COLORS, line_style, new_figure, style_axes
from nhin.studies.seq2seq.run import Seq2SeqStudyRun
from nhin.studies.seq2seq.settings import Seq2SeqStudy

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

NAME = "seq2seq"
Values = Callable[[Seq2SeqStudyRun], Sequence[float]]


def save_report(study: Seq2SeqStudy, runs: Sequence[Seq2SeqStudyRun], out: Path) -> str:
    """Write the report, a CSV of every run and length, and the figure; return the report."""
    text = format_report(study, runs)
    for name, data in report_files(NAME, _list_rows(runs), text, draw_study(study, runs)).items():
        write_atomic(out / name, data)
    return text


def format_report(study: Seq2SeqStudy, runs: Sequence[Seq2SeqStudyRun]) -> str:
    """Return the report as Markdown."""
    length = study.length
    rows = []
    for model in study.models:
        own = _finite_runs(runs, model)
        if not own:
            rows.append([model, "", "", "", "", "", "diverged"])
            continue
        cells = [
            _format_interval([fmean(run.exact[:length]) for run in own]),
            _format_interval([fmean(run.exact[length : length + 2]) for run in own]),
            _format_interval([fmean(run.exact[length:]) for run in own]),
            _format_interval([fmean(run.aligned[:length]) for run in own if run.aligned]),
        ]
        rows.append([model, f"{own[0].weights:,}", *cells, f"{fmean(run.ms for run in own):.1f}"])
    header = ["model", "weights", f"exact, lengths 1-{length}", f"{length + 1}-{length + 2}"]
    header += [f"{length + 1}-{2 * length}", "attends to its origin or beside", "CPU-ms a step"]
    return (
        f"# Encoder-decoder models on {study.task}\n\n"
        f"Trained on sources of length 1 to {length}: {count_noun(study.steps, 'step')} of {study.batch} "
        f"pairs, width {study.dim}, {count_noun(study.seeds, 'seed')}; {study.pairs} fresh pairs of each "
        "length. Means over seeds with 95% intervals. The alignment is that of the trained lengths.\n\n"
        + markdown_table(header, rows, numeric=True)
        + f"\n![Exact targets and alignment by length]({NAME}.png)\n"
    )


def draw_study(study: Seq2SeqStudy, runs: Sequence[Seq2SeqStudyRun]) -> "Figure":
    """Draw accuracy and alignment by length, with intervals over seeds."""
    figure = new_figure(10.5, 4.2)
    left, right = figure.subplots(1, 2)
    _draw_lines(left, study, runs, lambda run: run.exact)
    _draw_lines(right, study, runs, lambda run: run.aligned)
    style_axes(left, "length of the source", "exact targets", f"{study.task}: accuracy")
    style_axes(right, "length of the source", "share of target tokens", "attends to its origin or beside")
    left.legend(fontsize=7, loc="lower left")
    return figure


def _draw_lines(axes: "Axes", study: Seq2SeqStudy, runs: Sequence[Seq2SeqStudyRun], values: Values) -> None:
    lengths = range(1, 2 * study.length + 1)
    axes.axvspan(0.5, study.length + 0.5, color="0.93")
    axes.set(xlim=(0.5, 2 * study.length + 0.5), ylim=(-0.02, 1.02))
    for number, model in enumerate(study.models):
        own = [values(run) for run in _finite_runs(runs, model) if values(run)]
        if not own:
            continue
        intervals = [confidence_interval([one[i] for one in own]) for i in range(len(lengths))]
        style = line_style(number) | {"label": model, "markersize": 3, "linewidth": 1.2}
        style |= {"linestyle": "--" if number >= len(COLORS) else "-"}
        axes.plot(lengths, [one.mean for one in intervals], **style)
        if len(own) > 1:
            low, high = zip(*(map(_clip, (one.low, one.high)) for one in intervals), strict=True)
            axes.fill_between(lengths, low, high, color=style["color"], alpha=0.12, linewidth=0)


def _list_rows(runs: Sequence[Seq2SeqStudyRun]) -> list[dict[str, Cell]]:
    return [
        {
            "model": run.model,
            "seed": run.seed,
            "length": length,
            "exact": exact,
            "aligned": run.aligned[length - 1] if run.aligned else None,
            "on_origin": run.on_origin[length - 1] if run.on_origin else None,
            "ms": run.ms,
            "weights": run.weights,
        }
        for run in runs
        for length, exact in enumerate(run.exact, start=1)
    ]


def _finite_runs(runs: Sequence[Seq2SeqStudyRun], model: str) -> list[Seq2SeqStudyRun]:
    return [run for run in runs if run.model == model and not run.diverged]


def _format_interval(values: Sequence[float]) -> str:
    if not values:
        return "-"
    interval: Interval = confidence_interval(values)
    return f"{interval.mean:.1%}" + (f" ± {100 * interval.half_width:.1f}" if len(values) > 1 else "")


def _clip(share: float) -> float:
    return min(1.0, max(0.0, share))
