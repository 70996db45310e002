"""Plot a run's log: training loss, validation and learning rate over steps."""

import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

_COLORS = ("#3b5b92", "#c1653a", "#4f8f5b", "#8a5aa0")
_HIDDEN = ("event", "step", "time", "rate", "samples_per_second", "grad_norm", "cpu_seconds")

Rows = list[dict[str, Any]]


def read_log(path: Path) -> Rows:
    """Read a ``log.jsonl``; a line that is not complete is left out."""
    rows: Rows = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            row = json.loads(line)
        except ValueError:
            continue
        if isinstance(row, dict) and isinstance(row.get("step"), int):
            rows.append(row)
    return rows


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
            steps = [row["step"] for row in matching if name in row]
            values = [row[name] for row in matching if name in row]
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
        losses.legend(frameon=False, fontsize=8)
    steps_with_rate = [row for row in rows if row.get("event") == "step" and "rate" in row]
    x, y = ([row[key] for row in steps_with_rate] for key in ("step", "rate"))
    rates.plot(x, y, color=_COLORS[0], lw=1.2)
    rates.set_ylabel("rate")
    rates.set_xlabel("step")
    rates.grid(alpha=0.25)
    out = io.BytesIO()
    figure.savefig(out, format="png", metadata={"Software": None})
    return out.getvalue()


def _numbers(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the names of the numbers to plot, in order of first appearance."""
    names = dict.fromkeys(name for row in rows for name, x in row.items() if isinstance(x, int | float))
    return [name for name in names if name not in _HIDDEN]
