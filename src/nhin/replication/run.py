"""One run: every point of the families asked for, written to a folder with figures and a report."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nhin.replication.bounds import whole
from nhin.replication.choices import Inner, Method
from nhin.replication.figures import conditions, success
from nhin.replication.folder import whole as whole_folder
from nhin.replication.manifest import manifest
from nhin.replication.measure import Result, count, measured
from nhin.replication.report import report
from nhin.replication.rows import row
from nhin.replication.sweeps import (
    INNERS,
    REPEATS,
    Choices,
    Family,
    Point,
    points,
)
from nhin.replication.table import csv

USUAL, MOST_REPEATS = Choices(), 10**7
CHECKED = 10  # repeats of the definition, step by step, in the middle of every sweep


@dataclass(frozen=True, slots=True)
class Request:
    """What is to be run.

    Args:
        families: Which.
        inners: Which X of the families with attention.
        sweep: One of them, or "all".
        method: "exact" draws nothing; "mc" and "dense" draw the same.
        repeats: How many at every point; the paper's when None.
        seed: Of all draws.
        choices: What the paper leaves open.
    """

    families: tuple[Family, ...]
    inners: tuple[Inner, ...] = INNERS
    sweep: str = "all"
    method: Method = "mc"
    repeats: int | None = None
    seed: int = 0
    choices: Choices = USUAL

    def __post_init__(self) -> None:
        """Refuse numbers that mean nothing, before anything is computed."""
        whole("seed", self.seed, 0, 2**63)
        if self.repeats is not None:
            whole("repeats", self.repeats, 1, MOST_REPEATS)

    def points(self, family: Family) -> list[Point]:
        """Return the points of a family."""
        return points(family, self.choices, self.inners, self.sweep)

    def repeats_of(self, family: Family) -> int:
        """Return how many repeats a point of a family has."""
        return REPEATS[family] if self.repeats is None else self.repeats


def run(
    request: Request, out: Path, told: Callable[[int, int], None] | None = None
) -> dict[Family, list[Result]]:
    """Run, and write everything to a folder that is there whole or not at all.

    Args:
        request: What.
        out: The folder; there must be nothing in it.
        told: Told how many points are done, and of how many.

    Raises:
        UsageError: The folder holds something, or a choice makes no sense.
    """
    wanted: dict[Family, list[Point]] = {family: request.points(family) for family in request.families}
    total = sum(map(len, wanted.values()))
    with whole_folder(out) as folder:
        found: dict[Family, list[Result]] = {}
        done = 0
        for family, some in wanted.items():
            found[family] = []
            for result in measured(
                some, request.method, request.repeats_of(family), request.seed, request.choices.independent
            ):
                found[family].append(result)
                done += 1
                if told is not None:
                    told(done, total)
        _write(request, folder, found)
    return found


def _write(request: Request, folder: Path, found: dict[Family, list[Result]]) -> None:
    every = [result for results in found.values() for result in results]
    rows = [row(result, request.method, request.seed) for result in every]
    (folder / "results.csv").write_text(csv(rows), encoding="utf-8")
    for family, results in found.items():
        for name, draw in ((family, success), (f"{family}-conditions", conditions)):
            for ending, data in draw(family, results).items():
                (folder / f"{name}.{ending}").write_bytes(data)
    checked = check(request, found) if request.method == "mc" else ""
    (folder / "report.md").write_text(report(found, checked), encoding="utf-8")
    settings = {
        "families": request.families,
        "X": request.inners,
        "sweep": request.sweep,
        "method": request.method,
        "repeats": {family: request.repeats_of(family) for family in request.families},
        "seed": request.seed,
    }
    (folder / "manifest.json").write_text(manifest(settings, request.choices, folder), encoding="utf-8")


def check(request: Request, found: dict[Family, list[Result]]) -> str:
    """Draw a few repeats of some points again, by the definition; say whether the outcomes are alike."""
    alike = drawn = 0
    for results in found.values():
        for point in _middles(results):
            few = min(CHECKED, request.repeats_of(point.family))
            one, two = (count(point, method, few, request.seed) for method in ("mc", "dense"))
            assert one is not None and two is not None
            drawn += few
            alike += few - int(np.abs(one - two).sum()) // 2
    return (
        f"{drawn} repeats in the middle of the sweeps were drawn again and computed with every matrix of the "
        f"definition; {alike} of them let the same networks fire.\n"
    )


def _middles(results: Sequence[Result]) -> list[Point]:
    """Return the middle point of every sweep."""
    groups: dict[tuple[int, ...], list[Point]] = {}
    for result in results:
        groups.setdefault(result.point.place[:3], []).append(result.point)
    return [some[len(some) // 2] for some in groups.values()]
