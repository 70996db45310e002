"""Train all cells, those of the first seed first, in several processes; keep what is done after each."""

import signal
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import replace
from itertools import islice, product
from multiprocessing import get_context
from pathlib import Path

from nhin.bench.results import open_earlier
from nhin.errors import ProcessError, UsageError
from nhin.recommend.quality import CompareResults, QualityRow, TaskName, load_quality
from nhin.studies.files import check_folder

RESULTS = "compare.json"
Cell = tuple[TaskName, str, int]


def list_cells(tasks: Sequence[TaskName], mechanisms: Sequence[str], seeds: int) -> list[Cell]:
    """Return what is to be trained: all of the first seed, then all of the next."""
    return [(task, name, seed) for seed, task, name in product(range(seeds), tasks, mechanisms)]


def open_results(path: Path, new: CompareResults, resume: bool) -> CompareResults:
    """Return the results to add to: those in the file, if they were made here and alike.

    Raises:
        UsageError: There is a file and resume is off, or it is of another machine or effort.
        DataError: The file is damaged, foreign or of another version.
    """
    check_folder(path.parent)
    before = open_earlier(path, load_quality, resume and path.exists(), new.machine)
    if before is None:
        return new
    if before.settings != new.settings:
        raise UsageError(
            f"{path} was made with effort {before.settings.effort:g}; give the same, or another --out"
        )
    return before


def run_cells(
    cells: Sequence[Cell],
    results: CompareResults,
    submit: Callable[[Cell], Future[QualityRow]],
    stop: Callable[[], bool],
    keep: Callable[[CompareResults, Sequence[QualityRow]], None],
    workers: int = 1,
) -> CompareResults:
    """Train the cells that the results do not hold.

    Args:
        cells: What to train.
        results: What is there.
        submit: Begins to train a cell.
        stop: Whether to begin no further cell; those in progress are finished.
        keep: Called with the results whenever there are new rows, and with these.
        workers: Cells at a time.

    Raises:
        ProcessError: A process that trained has died; what was finished before has been kept.
    """
    known = {row.cell for row in results.rows}
    left = iter([cell for cell in cells if cell not in known])
    running: set[Future[QualityRow]] = set()
    try:
        while True:
            if not stop():
                running |= {submit(cell) for cell in islice(left, workers - len(running))}
            if not running:
                return results
            done, running = wait(running, return_when=FIRST_COMPLETED)
            rows = [future.result() for future in done]
            results = replace(results, rows=(*results.rows, *rows))
            keep(results, rows)
    except BrokenProcessPool as why:
        raise ProcessError("a process that trained has died; --resume continues with what is left") from why


@contextmanager
def open_pool(workers: int) -> Iterator[Executor]:
    """Open processes that compute with one thread each, and that Ctrl-C leaves to their cell."""
    with ProcessPoolExecutor(workers, get_context("spawn"), _start_worker) as pool:
        yield pool


def make_stop(minutes: float, has_request: Callable[[], bool]) -> Callable[[], bool]:
    """Return a function that tells whether the time is over or a stop was requested."""
    deadline = time.monotonic() + 60 * minutes
    return lambda: has_request() or time.monotonic() > deadline


def _start_worker() -> None:
    import torch

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
