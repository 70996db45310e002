"""The report of a ladder: all models, the stacks by depth, the claims of the sources, and a figure."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from nhin.format import count_noun, format_bytes, format_duration, markdown_table
from nhin.studies.ladder.results import UNKNOWN, LadderResults, LadderRow
from nhin.studies.ladder.settings import SINGLE, STACKS
from nhin.studies.plot_style import COLORS, new_figure, render_figure, style_axes

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_COLORS = dict(zip(("lm-ngram", *SINGLE, *STACKS), ("0.4", *COLORS), strict=False))
# Depth: perplexity and milliseconds of a step, as the sources print them.
SOURCES = {2: (38.5, 1.2), 4: (29.4, 2.3), 8: (21.7, 4.8), 12: (18.9, 7.5)}
_COLUMNS = (
    *("rung", "parameters", "nats per token", "each seed", "bits per byte"),
    *("perplexity", "ms a step", "memory", "rate", "CPU-s"),
)
_NOTES = (
    "Nats are means over seeds with their 95% intervals (Student's t). The time of a step is CPU time, the "
    "median of {rounds} rounds in which every model took one step. Memory is the activations that one "
    "sequence keeps for the gradient. The parameters of n-grams are the different ones counted. Rates were "
    "tried for a third of the steps, with seed 0, on the validation split; ! marks one at the edge of those "
    "tried."
)
_HEADINGS = {"yes": "Reproduced", "no": "Did NOT reproduce", UNKNOWN: "Cannot be decided from these runs"}


def format_report(results: LadderResults) -> str:
    """Return the report of a ladder."""
    return "\n\n".join(_sections(results)) + "\n"


def _sections(results: LadderResults) -> Iterator[str]:
    about = results.about
    yield "# The ladder"
    yield (
        f"{about['text']}, {about['tokenizer']} ({about['vocab']:,} ids): trained on {about['trained_on']:,} "
        f"tokens, evaluated on the whole {about['split']} split, {about['measured_tokens']:,} tokens. "
        f"Every network has width {about['dim']}, context {about['context']} and "
        f"{count_noun(about['heads'], 'head')}, except lm-one-head; every run takes "
        f"{about['steps']:,} steps of {about['batch']} sequences, {about['tokens']:,} tokens."
    )
    yield (
        f"{format_duration(about['spent'])} of CPU time, of a budget of {format_duration(about['budget'])}, "
        f"on {count_noun(about['threads'], 'thread')}: {about['machine']}."
    )
    yield markdown_table(_COLUMNS, map(_model_cells, results.rows), numeric=True).rstrip()
    notes = _NOTES.format(rounds=about["rounds"])
    if about["split"] == "validation":
        notes += "\nThere is no test split: models were evaluated where their rates were chosen."
    yield notes
    yield "## By depth"
    yield _depth_table(results).rstrip()
    for answer, heading in _HEADINGS.items():
        claims = [f"* **{one.claim}**: {one.figures}." for one in results.verdicts if one.answer == answer]
        if claims:
            yield f"## {heading}"
            yield "\n".join(claims)


def _model_cells(row: LadderRow) -> tuple[str, ...]:
    return (
        row.rung,
        f"{row.parameters:,}",
        _number(row.mean, 4) + ("" if row.half is None else f" ± {row.half:.4f}"),
        "" if len(row.nats) < 2 else " ".join(_number(one, 4) for one in row.nats),
        _number(row.bits_per_byte, 4),
        _number(row.perplexity, 2),
        "" if row.ms is None else f"{row.ms:.1f}",
        "" if row.memory is None else format_bytes(row.memory),
        "" if row.rate is None else f"{row.rate:g}{'!' if row.edge else ''}",
        f"{row.cpu_seconds:.1f}",
    )


def _depth_table(results: LadderResults) -> str:
    """Return the table of the stacks by depth, with the lines fitted to time and memory."""
    by_depth = {(row.family, row.depth): row for row in results.rows if row.family in STACKS}
    families = [family for family in STACKS if any(family == name for name, _ in by_depth)]
    columns = [f"{family}: {what}" for family in families for what in ("perplexity", "ms a step", "memory")]
    rows = []
    for depth in sorted({depth for _, depth in by_depth}):
        cells = [str(depth)]
        for family in families:
            row = by_depth[family, depth]
            cells += [_number(row.perplexity, 2), _number(row.ms, 1), _memory(row.memory)]
        rows.append([*cells, *map(str, SOURCES.get(depth, ("", "")))])
    for name, field in (("at depth 0", "start"), ("a block", "slope"), ("R²", "fit")):
        cells = [name]
        for family in families:
            lines = results.lines.get(family, {})
            time, memory = (getattr(lines.get(key), field, None) for key in ("time", "memory"))
            fit = field == "fit"
            cells += ["", _number(time, 5 if fit else 1), _number(memory, 5) if fit else _memory(memory)]
        rows.append([*cells, "", ""])
    return markdown_table(("depth", *columns, "sources: perplexity", "sources: ms"), rows, numeric=True)


def _number(value: float | None, digits: int) -> str:
    return "none" if value is None else f"{value:,.{digits}f}"


def _memory(value: float | None) -> str:
    return "none" if value is None else format_bytes(value)


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
        axes.legend(frameon=False, fontsize=8, loc="upper right")
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
        axes.legend(frameon=False, fontsize=8, loc="upper right")
