"""``nhin compare``: what every attention mechanism learns of tiny tasks at equal compute."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from nhin.cli.output import INTERRUPTED, require_torch
from nhin.ranges import Range


def compare(  # noqa: PLR0913  # every option is one word of the command line
    *,
    mechanisms: str | None = None,
    tasks: str | None = None,
    seeds: Annotated[int, Range(1, 100)] = 3,
    out: Path = Path("runs/compare"),
    minutes: Annotated[float, Range(above=0, maximum=1e5)] = 15.0,
    effort: Annotated[float, Range(above=0, maximum=1000)] = 1.0,
    workers: Annotated[int, Range(1, 64)] = 2,
    resume: bool = False,
) -> int:
    """Train tiny tasks with each attention mechanism at equal compute: quality against cost.

    Associative recall (recall), copying at a distance (copy), selective copying (selective), characters of
    Python's library (chars), reading synthetic words (words). Every training gets the operations that softmax
    takes in the steps of the task. Written are compare.json (machine, versions, every training), compare.md,
    .csv, .png and .svg. Ctrl-C keeps what is done; --resume continues.

    Args:
        mechanisms: Names of nhin list, separated by commas; all: every mechanism. Fourteen when not given.
        tasks: recall, copy, selective, chars, words; all when not given.
        seeds: Trainings of each mechanism on each task.
        out: Folder of the results.
        minutes: Time on the clock; no training begins afterwards, and --resume continues.
        effort: Operations of every training as a multiple of the usual ones.
        workers: Trainings at a time, each on one core.
        resume: Continue in that folder, or add mechanisms, tasks and seeds.
    """
    require_torch("the comparison needs")
    import matplotlib  # noqa: F401 - a missing package is reported before anything is computed

    from nhin.bench.results import describe_machine
    from nhin.recommend.quality import CompareResults, CompareSettings, QualityRow, save_quality
    from nhin.studies.compare.cells import train_cell
    from nhin.studies.compare.report import save_report
    from nhin.studies.compare.run import RESULTS, list_cells, make_stop, open_pool, open_results, run_cells
    from nhin.studies.compare.settings import parse_mechanisms, parse_tasks
    from nhin.training.signals import catch_stop_signals

    cells = list_cells(parse_tasks(tasks), parse_mechanisms(mechanisms), seeds)
    path = out / RESULTS
    results = open_results(path, CompareResults(describe_machine(), CompareSettings(effort)), resume)

    def keep(new: CompareResults, rows: Sequence[QualityRow]) -> None:
        save_quality(path, new)
        for row in rows:
            got = row.skipped if row.accuracy is None else f"{row.accuracy:.1%} right, {row.seconds:.1f} s"
            sys.stderr.write(f"{row.task}, {row.mechanism}, seed {row.seed}: {got}\n")

    with catch_stop_signals() as signals, open_pool(workers) as pool:
        results = run_cells(
            cells,
            results,
            lambda cell: pool.submit(train_cell, *cell, effort),
            make_stop(minutes, lambda: signals.requested),
            keep,
            workers,
        )
    if results.rows:
        sys.stdout.write(f"{save_report(results, out)}\nall in {out}\n")
    left = set(cells) - {row.cell for row in results.rows}
    if left:
        sys.stderr.write(f"{len(left)} of {len(cells)} trainings are left; --resume continues\n")
    return INTERRUPTED if signals.requested else 0
