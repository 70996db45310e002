"""What the study of training found: as rows, as tables for people, and as a figure."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from nhin.files import write_atomic
from nhin.replication.beyond.detectors import DETECTORS, HELD, accuracies
from nhin.replication.beyond.mixers import MIXERS
from nhin.replication.beyond.study import Plan, Run
from nhin.replication.beyond.task import KINDS
from nhin.replication.pictures import COLOURS, bytes_of, plain
from nhin.replication.table import Cell, csv, markdown

if TYPE_CHECKING:
    from matplotlib.axes import Axes

EXAMPLES = 20000
Place = tuple[int, float]  # n and sigma
Known = dict[Place, dict[str, float]]
_MARKS = "os^Dv"
_DASHES = {"bayes": "-", "second-moment": "--", "mean": ":"}  # the maximum lies under Bayes


def files(plan: Plan, runs: Sequence[Run]) -> dict[str, bytes]:
    """Return every file of the results by name."""
    known = detected(plan)
    figures = figure(plan, runs, known)
    return {
        "training.csv": csv(rows(plan, runs, known)).encode(),
        "training.md": page(plan, runs, known).encode(),
        "training.png": figures["png"],
        "training.svg": figures["svg"],
    }


def save(plan: Plan, runs: Sequence[Run], out: Path) -> None:
    """Write the results into the folder of a study, over those of before.

    Raises:
        CheckpointError: There is no room or no permission.
    """
    for name, data in files(plan, runs).items():
        write_atomic(out / name, data)


def detected(plan: Plan) -> Known:
    """Return how often each detector is right, by n and sigma: the queries tell it nothing more."""
    tasks = {(task.setting.n, task.sigma): task for task in plan.tasks()}
    return {place: accuracies(task, _examples(place[0]), plan.seed) for place, task in tasks.items()}


def rows(plan: Plan, runs: Sequence[Run], known: Known) -> list[dict[str, Cell]]:
    """Return a row for each run, then one for each detector."""
    out: list[dict[str, Cell]] = [
        {
            "what": "network",
            "name": run.kernel,
            "kind": run.kind,
            "n": run.n,
            "sigma": run.sigma,
            "seed": run.seed,
            "accuracy": run.accuracy,
            "loss": run.loss,
            "examples": plan.course.tried,
        }
        for run in runs
    ]
    for (n, sigma), found in known.items():
        for name, accuracy in found.items():
            row = {"what": "detector", "name": name, "n": n, "sigma": sigma, "accuracy": accuracy}
            out.append(row | {"examples": 2 * _examples(n)})
    return out


def page(plan: Plan, runs: Sequence[Run], known: Known) -> str:
    """Write two tables down for people: over the noise, and over the length."""
    setting, course, longest = plan.setting, plan.course, max(n for n, _ in known)
    kinds = "; ".join(f"{kind}: {KINDS[kind]}" for kind in plan.kinds)
    about = (
        f"d = {setting.d}, m = {setting.m}, a0 = {setting.a0:g}, a1 = {setting.a1:g}, b = {setting.b:g}, "
        f"c = {setting.c:g}; Adam, {course.steps} steps of {course.batch} matrices, tried on "
        f"{course.tried}. Share of right answers: the mean over {plan.seeds} seeds, and the least and the "
        f"most. Detectors: {2 * _examples(longest)} matrices, thresholds chosen on as many others. "
        f"{kinds}."
    )
    parts = [about]
    for title, header, places in _axes(plan):
        body = [
            [f"{MIXERS[kernel].title}, {kind}", *(_cell(runs, kernel, kind, place) for place in places)]
            for kernel in plan.kernels
            for kind in plan.kinds
        ]
        body += [
            [f"{detector.title} detector", *(f"{known[place][name]:.3f}" for place in places)]
            for name, detector in DETECTORS.items()
        ]
        parts += [title, markdown([" ", *header], body).rstrip()]
    return "\n\n".join(parts) + "\n"


def figure(plan: Plan, runs: Sequence[Run], known: Known) -> dict[str, bytes]:
    """Draw how often networks are right, over the noise and over the length, a column for each kind."""
    from matplotlib.figure import Figure

    axes_of = _axes(plan)
    drawn = Figure(figsize=(1.2 + 4.6 * len(plan.kinds), 0.8 + 3.4 * len(axes_of)), layout="constrained")
    grid = drawn.subplots(len(axes_of), len(plan.kinds), sharex="row", sharey=True, squeeze=False)
    for row, (title, _, places) in zip(grid, axes_of, strict=True):
        over = 0 if len({n for n, _ in places}) > 1 else 1
        for axes, kind in zip(row, plan.kinds, strict=True):
            _panel(axes, plan, runs, known, (kind, places, over))
            axes.set_title(f"{KINDS[kind]}; {title}", loc="left", fontsize=9)
            axes.set_xlabel(("n", "sigma")[over])
        row[0].set_ylabel("right answers")
    drawn.legend(
        *grid[0, 0].get_legend_handles_labels(),
        frameon=False,
        fontsize=8,
        ncols=3,
        loc="outside lower center",
    )
    drawn.suptitle(
        f"Trained networks and what can be told at all: means, least and most of {plan.seeds} seeds",
        fontsize=10,
    )
    return bytes_of(drawn)


def _panel(
    axes: "Axes", plan: Plan, runs: Sequence[Run], known: Known, where: tuple[str, list[Place], int]
) -> None:
    kind, places, over = where
    at = [place[over] for place in places]
    for name, dash in _DASHES.items():
        heights = [known[place][name] for place in places]
        label = f"{DETECTORS[name].title} detector"
        axes.plot(at, heights, dash, color="0.35", lw=1.2, label=label, zorder=1)
    # Side by side, so that none hides another.
    step = 0.012 * ((max(at) - min(at)) or 1.0)
    for number, kernel in enumerate(plan.kernels):
        found = [_accuracies(runs, kernel, kind, place) for place in places]
        means = [sum(values) / len(values) for values in found]
        reach = [
            [mean - min(values) for mean, values in zip(means, found, strict=True)],
            [max(values) - mean for mean, values in zip(means, found, strict=True)],
        ]
        shifted = [x + step * (number - (len(plan.kernels) - 1) / 2) for x in at]
        axes.errorbar(
            shifted, means, reach, color=COLOURS[number % len(COLOURS)], marker=_MARKS[number % len(_MARKS)],
            label=MIXERS[kernel].title, lw=1.3, markersize=4.5, capsize=2,
        )  # fmt: skip
    axes.set_xticks(at)
    plain(axes)


def _examples(n: int) -> int:
    """Return how many matrices of each kind detectors are tried on: fewer where all would take too much."""
    return min(EXAMPLES, HELD // (2 * n))


def _axes(plan: Plan) -> list[tuple[str, list[str], list[Place]]]:
    """Return the tables there are: a title, the heads of the columns, and n and sigma of each."""
    out = []
    if plan.sigmas:
        n, sigmas = plan.setting.n, sorted(plan.sigmas)
        heads = [f"sigma = {sigma:g}" for sigma in sigmas]
        out.append((f"n = {n}", heads, [(n, sigma) for sigma in sigmas]))
    if plan.lengths:
        sigma, lengths = plan.sigma, sorted(plan.lengths)
        heads = [f"n = {n}" for n in lengths]
        out.append((f"sigma = {sigma:g}", heads, [(n, sigma) for n in lengths]))
    return out


def _cell(runs: Sequence[Run], kernel: str, kind: str, place: Place) -> str:
    values = _accuracies(runs, kernel, kind, place)
    return f"{sum(values) / len(values):.3f} ({min(values):.3f} to {max(values):.3f})"


def _accuracies(runs: Sequence[Run], kernel: str, kind: str, place: Place) -> list[float]:
    return [
        run.accuracy for run in runs if (run.kernel, run.kind, run.n, run.sigma) == (kernel, kind, *place)
    ]
