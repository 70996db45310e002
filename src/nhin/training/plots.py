"""Plot a run's log: training loss, validation and learning rate over steps."""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from nhin.training.logger import parse_log

_COLORS = ("#3b5b92", "#c1653a", "#4f8f5b", "#8a5aa0")
_HIDDEN = ("event", "step", "time", "rate", "samples_per_second", "grad_norm", "cpu_seconds")
_MAX_NUMBER = 1e100  # Matplotlib cannot draw larger ones

Rows = list[dict[str, Any]]


def read_log(path: Path) -> Rows:
    """Read a ``log.jsonl``; damaged lines, and a last one that is not complete, are left out.

    Raises:
        CheckpointError: The file cannot be read, or is too large.
    """
    return [row for _, row in parse_log(path)[0]]


def plot_log(rows: Rows, lines: Mapping[str, float] | None = None) -> bytes:
    """Draw a log as PNG.

    Args:
        rows: Of ``log.jsonl``.
        lines: Levels to compare with, by name, such as the loss of a guess.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 5.4), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    losses, rates = figure.subplots(2, 1, sharex=True, height_ratios=(4, 1))
    count = 0
    for event, style in (("step", "-"), ("validation", "o-")):
        matching = [row for row in rows if row.get("event") == event]
        for name in _numbers(matching):
            steps, values = _points(matching, name)
            label = f"{event if event == 'validation' else 'training'} {name}"
            losses.plot(steps, values, style, color=_COLORS[count % 4], label=label, markersize=3, lw=1.2)
            count += 1
    for name, level in (lines or {}).items():
        losses.axhline(level, color="#888888", lw=0.9, ls="--")
        where = {"xycoords": ("axes fraction", "data"), "ha": "right", "va": "bottom"}
        losses.annotate(name, (0.995, level), color="#555555", fontsize=8, **where)
    losses.set_ylabel("nats")
    losses.grid(alpha=0.25)
    if count:
        losses.legend(frameon=False, fontsize=8, loc="upper right")
    step_rows = [row for row in rows if row.get("event") == "step"]
    rates.plot(*_points(step_rows, "rate"), color=_COLORS[0], lw=1.2)
    rates.set_ylabel("rate")
    rates.set_xlabel("step")
    rates.grid(alpha=0.25)
    out = io.BytesIO()
    figure.savefig(out, format="png", metadata={"Software": None})
    return out.getvalue()


def _points(rows: Sequence[Mapping[str, Any]], name: str) -> tuple[list[float], list[float]]:
    """Return the steps and the values of the rows that have a number of this name."""
    points = [
        (row["step"], row[name]) for row in rows if _is_number(row.get(name)) and _is_number(row["step"])
    ]
    return [step for step, _ in points], [value for _, value in points]


def _is_number(x: Any) -> bool:
    return isinstance(x, int | float) and abs(x) < _MAX_NUMBER


def _numbers(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the names of the numbers to plot, in order of first appearance."""
    names = dict.fromkeys(name for row in rows for name, x in row.items() if _is_number(x))
    return [name for name in names if name not in _HIDDEN]
