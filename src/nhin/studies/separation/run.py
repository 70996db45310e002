"""Run the paper's sweeps: measure every point, and write the CSV file, figures, report and manifest."""

import hashlib
import json
import math
import platform
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import numpy as np

from nhin import __version__
from nhin.config import check_fields
from nhin.format import Cell, format_csv
from nhin.ranges import SEED, Range
from nhin.studies.files import atomic_folder
from nhin.studies.separation.config import AttentionConfig
from nhin.studies.separation.measure import (
    Measurement,
    count_point,
    group_by_sweep,
    measure_points,
    wilson_interval,
)
from nhin.studies.separation.options import AMBIGUITIES, KINDS, RECONSTRUCTION, Inner, Method, Variant
from nhin.studies.separation.outcomes import NETS, firing_rates
from nhin.studies.separation.report import format_report, plot_conditions, plot_success
from nhin.studies.separation.sweeps import INNERS, REPEATS, Family, SweepPoint, sweep_points

DEFAULT = Variant()
CHECKED = 10  # repeats in the middle of every sweep that are checked against the definition

Results = dict[Family, list[Measurement]]


@dataclass(frozen=True, slots=True)
class SweepRequest:
    """What is to be run."""

    families: tuple[Family, ...]
    inners: tuple[Inner, ...] = INNERS  # which X of the families with attention
    sweep: str = "all"  # one of them, or "all"
    method: Method = "mc"  # "exact" samples nothing; "mc" and "dense" use the same samples
    repeats: Annotated[int | None, Range(1, 10**7)] = None  # samples of a point; the paper's number when None
    seed: Annotated[int, SEED] = 0
    variant: Variant = DEFAULT  # a choice for what the paper leaves open

    def __post_init__(self) -> None:
        check_fields(self)

    def points(self, family: Family) -> list[SweepPoint]:
        """Return the points of a family."""
        return sweep_points(family, self.variant, self.inners, self.sweep)

    def repeats_for(self, family: Family) -> int:
        """Return the number of samples of a point of a family."""
        return REPEATS[family] if self.repeats is None else self.repeats


def run_sweeps(
    request: SweepRequest, out: Path, on_progress: Callable[[int], object] | None = None
) -> Results:
    """Run, and write everything to a folder atomically; ``on_progress`` is called with 1 after every point.

    Raises:
        UsageError: The folder holds something, or an option is out of range.
        UnknownName: A family has no such sweep.
    """
    points: dict[Family, list[SweepPoint]] = {family: request.points(family) for family in request.families}
    results: Results = {family: [] for family in request.families}
    with atomic_folder(out) as folder:
        for family, some in points.items():
            repeats, independent = request.repeats_for(family), request.variant.independent
            for result in measure_points(some, request.method, repeats, request.seed, independent):
                results[family].append(result)
                if on_progress is not None:
                    on_progress(1)
        _write_results(request, folder, results)
    return results


def _write_results(request: SweepRequest, folder: Path, results: Results) -> None:
    rows = [make_row(result, request.method, request.seed) for some in results.values() for result in some]
    (folder / "results.csv").write_text(format_csv(rows), encoding="utf-8")
    for family, some in results.items():
        for name, plot in ((family, plot_success), (f"{family}-conditions", plot_conditions)):
            for ending, data in plot(family, some).items():
                (folder / f"{name}.{ending}").write_bytes(data)
    check = check_definition(request, results) if request.method == "mc" else ""
    (folder / "report.md").write_text(format_report(results, check), encoding="utf-8")
    (folder / "manifest.json").write_text(_format_manifest(request, folder), encoding="utf-8")


def make_row(result: Measurement, method: Method, seed: int) -> dict[str, Cell]:
    """Return one row of the CSV file."""
    point, config = result.point, result.point.config
    cells: dict[str, Cell] = {"family": point.family, "X": point.inner, "sweep": point.sweep, "x": point.x}
    cells["definition"] = "reconstruction" if point.family == "cross" else "paper"
    attention = isinstance(config, AttentionConfig)
    for name in ("n", "d", "m", "a0", "a1", "b", "c", "margin"):
        cells[name] = getattr(config, name, None)
    cells["tau"] = config.threshold * math.sqrt(config.log_n) if attention else config.tau
    cells |= {"kind": config.kind if attention else "", "weights": config.weights, "method": method}
    cells["exact"] = result.chance
    low, high = wilson_interval(result.successes, result.repeats) if result.repeats else (None, None)
    cells |= {"k": result.successes, "R": result.repeats, "lo": low, "hi": high}
    rates = None if result.exact is None else firing_rates(result.exact)
    counts = None if result.counts is None else firing_rates(result.counts.astype(float))
    for number, net in enumerate(NETS):
        cells[f"{net}_exact"] = None if rates is None else float(rates[number])
        cells[f"{net}_k"] = None if counts is None else int(counts[number])
    return cells | {"seed": seed, "version": __version__}


def check_definition(request: SweepRequest, results: Results) -> str:
    """Compute a few repeats in the middle of every sweep by the definition, and compare the outcomes."""
    equal = checked = 0
    for some in results.values():
        for _, _, group in group_by_sweep(some):
            point = group[len(group) // 2].point
            few = min(CHECKED, request.repeats_for(point.family))
            one, two = (count_point(point, method, few, request.seed) for method in ("mc", "dense"))
            assert one is not None and two is not None
            checked += few
            equal += few - int(np.abs(one - two).sum()) // 2
    return (
        f"{checked} repeats in the middle of the sweeps were drawn again and computed with every matrix of "
        f"the definition; {equal} of them let the same networks fire.\n"
    )


def _format_manifest(request: SweepRequest, folder: Path) -> str:
    """Return the settings, the choices and the hash of every file of a folder as JSON."""
    variant = request.variant
    tree = {
        "about": "the numerical experiments of arXiv:2310.11685",
        "nhin": __version__,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "machine": platform.machine(),
        "settings": {
            "families": request.families,
            "X": request.inners,
            "sweep": request.sweep,
            "method": request.method,
            "repeats": {family: request.repeats_for(family) for family in request.families},
            "seed": request.seed,
        },
        "choices": asdict(variant),
        "cross-attention": f"{RECONSTRUCTION}; {variant.cross}: {KINDS[variant.cross]}",
        "ambiguities": [{"open": question, "choice": answer} for question, answer in AMBIGUITIES],
        "files": {
            path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())
        },
    }
    return json.dumps(tree, ensure_ascii=False, indent=1) + "\n"
