"""Where measurements come from: the user's own file first, then those of known machines that nhin ships."""

from importlib.resources import as_file, files
from pathlib import Path

from nhin.bench.results import BenchResults, Machine, load_results
from nhin.recommend.choose import is_about
from nhin.recommend.question import AttentionQuestion

_LEAST = 2  # mechanisms: fewer are no choice


def load_shipped() -> list[BenchResults]:
    """Return the measurements of known machines."""
    found, folder = [], files("nhin").joinpath("recommend", "machines")
    for entry in sorted(folder.iterdir() if folder.is_dir() else (), key=lambda entry: entry.name):
        if entry.name.endswith(".json"):
            with as_file(entry) as path:
                found.append(load_results(path))
    return found


def choose_results(
    question: AttentionQuestion, own: BenchResults | None, shipped: list[BenchResults], here: Machine
) -> BenchResults | None:
    """Return the results to answer from: the user's own if they suffice, else those of the likest machine."""

    def count(results: BenchResults) -> int:
        return len({row.cell.mechanism for row in results.rows if row.seconds and is_about(question, row)})

    if own is not None and count(own) >= _LEAST:
        return own
    known = [results for results in shipped if count(results) >= _LEAST]
    return max(known, key=lambda results: _likeness(results.machine, here), default=own)


def _likeness(one: Machine, two: Machine) -> tuple[bool, bool, bool]:
    return one.gpu == two.gpu, one.processor == two.processor, one.fast_bfloat16 == two.fast_bfloat16


def load_own(path: Path) -> BenchResults | None:
    """Return the user's measurements; None where there is no file."""
    return load_results(path) if path.exists() else None
