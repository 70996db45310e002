"""How well mechanisms learn tiny tasks: the results of ``nhin compare``, and what they say of quality."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from functools import cache
from importlib.resources import as_file, files
from pathlib import Path
from typing import Annotated, Literal

from nhin.attention.base import Facts
from nhin.bench.results import Machine, read_results, write_rows
from nhin.errors import DataError
from nhin.metrics.statistics import Interval, confidence_interval
from nhin.ranges import Length, Range

TASK_TITLES = {
    "recall": "associative recall",
    "copy": "copying at a distance",
    "selective": "selective copying",
    "chars": "characters of text",
    "words": "reading synthetic words",
}
Quality = Literal["exact", "near", "any"]
TaskName = Literal["recall", "copy", "selective", "chars", "words"]
REFERENCE, NEAR = "softmax", 0.95
VERSION = 1
_COMMAND = "nhin compare"
_MAX_ROWS = 10**5
Amount = Annotated[float | None, Range(0)]


@dataclass(frozen=True, slots=True)
class QualityRow:
    """What one training came to, or why there was none.

    Args:
        task: A name in ``TASK_TITLES``.
        mechanism: Its name.
        seed: Of the weights and the batches.
        accuracy: Share of right answers in the test.
        chance: Accuracy of the best answer that does not look at the input.
        steps: Optimizer steps.
        flops: Counted operations of one step.
        seconds: Processor time of the steps.
        skipped: Why there is no accuracy.
        date: Of the training, YYYY-MM-DD.
    """

    task: TaskName
    mechanism: str
    seed: Annotated[int, Range(0)]
    accuracy: Annotated[float | None, Range(0, 1)] = None
    chance: Annotated[float | None, Range(0, 1)] = None
    steps: Annotated[int, Range(0)] = 0
    flops: Amount = None
    seconds: Amount = None
    skipped: str | None = None
    date: str = ""

    @property
    def cell(self) -> tuple[str, str, int]:
        """What was trained."""
        return self.task, self.mechanism, self.seed


@dataclass(frozen=True, slots=True)
class CompareSettings:
    """How it was trained; ``effort`` multiplies the operations of every training."""

    effort: Annotated[float, Range(above=0, maximum=1000)] = 1.0


@dataclass(frozen=True, slots=True)
class CompareResults:
    """Rows of one machine."""

    machine: Machine
    settings: CompareSettings
    rows: Annotated[tuple[QualityRow, ...], Length(0, _MAX_ROWS)] = ()
    format: Literal["nhin compare"] = _COMMAND
    version: int = field(default=VERSION)


@dataclass(frozen=True, slots=True)
class TaskQuality:
    """How well a mechanism learned a task, beside softmax.

    Args:
        task: The task.
        mechanism: Its name.
        accuracy: Mean over seeds.
        half_width: Half of its interval of 95%; None for one seed.
        seeds: Trainings.
        softmax: Mean accuracy of softmax.
        chance: Accuracy of the best answer that does not look at the input.
    """

    task: str
    mechanism: str
    accuracy: float
    half_width: float | None
    seeds: int
    softmax: float
    chance: float

    @property
    def share(self) -> float:
        """What it learned, as a share of what softmax did; 1 where softmax learned nothing."""
        learned = self.softmax - self.chance
        return (self.accuracy - self.chance) / learned if learned > 0 else 1.0

    @property
    def is_near(self) -> bool:
        """Whether it learned nearly what softmax did."""
        return self.share >= NEAR

    def __str__(self) -> str:
        """Return such as ``97.1% ± 2.0``."""
        spread = "" if self.half_width is None else f" ± {100 * self.half_width:.1f}"
        return f"{self.accuracy:.1%}{spread}"


def save_quality(path: Path, results: CompareResults) -> None:
    """Write results atomically, one row a line."""
    rows = ({key: value for key, value in asdict(row).items() if value is not None} for row in results.rows)
    write_rows(path, asdict(results), rows)


def load_quality(path: Path) -> CompareResults:
    """Read results that a stranger may have made.

    Raises:
        DataError: The file cannot be read, is of another program or version, or a row has neither an
            accuracy nor a reason.
    """
    results = read_results(CompareResults, path, _COMMAND, (VERSION,))
    for number, row in enumerate(results.rows):
        if (row.accuracy is None) == (row.skipped is None):
            raise DataError(f"{path}: row {number} has neither an accuracy nor a reason")
    return results


@cache
def load_shipped_quality() -> CompareResults | None:
    """Return the results that nhin ships; None where there are none."""
    entry = files("nhin").joinpath("recommend", "quality.json")
    if not entry.is_file():
        return None
    with as_file(entry) as path:
        return load_quality(path)


def find_quality(mechanism: str, task: str, rows: Iterable[QualityRow]) -> TaskQuality | None:
    """Return how well a mechanism learned a task; None where it or softmax was not trained."""
    trained = [row for row in rows if row.task == task and row.accuracy is not None]
    own, reference = (
        interval_of(row for row in trained if row.mechanism == name) for name in (mechanism, REFERENCE)
    )
    if own is None or reference is None:
        return None
    count = sum(row.mechanism == mechanism for row in trained)
    half_width = own.half_width if math.isfinite(own.half_width) else None
    return TaskQuality(task, mechanism, own.mean, half_width, count, reference.mean, trained[0].chance or 0.0)


def interval_of(rows: Iterable[QualityRow]) -> Interval | None:
    """Return the mean accuracy over seeds; None without rows."""
    values = [row.accuracy for row in rows if row.accuracy is not None]
    return confidence_interval(values) if values else None


def list_qualities(mechanism: str, task: str | None = None) -> list[TaskQuality]:
    """Return what the shipped results say of a mechanism, on one task or on all."""
    shipped = load_shipped_quality()
    rows = () if shipped is None else shipped.rows
    found = (find_quality(mechanism, name, rows) for name in ([task] if task else TASK_TITLES))
    return [one for one in found if one is not None]


def has_quality(facts: Facts, quality: Quality, task: str | None = None) -> bool:
    """Return whether a mechanism is as close to softmax attention as asked.

    With a task of which nhin ships trainings, ``near`` is what learned nearly as much of it as softmax; else
    softmax over some of the keys, or an approximation of it.
    """
    if quality == "any" or facts.exact:
        return True
    if quality == "near" and task is not None:
        for measured in list_qualities(facts.name, task):
            return measured.is_near
    return quality == "near" and (facts.family in ("sparse", "low-rank") or facts.name == "performer")


def explain_quality(mechanisms: Sequence[str], task: str | None) -> str:
    """Return in a sentence what the quality of these mechanisms rests on."""
    shipped = load_shipped_quality()
    if shipped is None:
        return "Quality follows from the formulas: nhin ships no results of nhin compare."
    dates = sorted({row.date for row in shipped.rows if row.date})
    where = f"tiny models trained by nhin compare ({', '.join(dates[-1:])} on {shipped.machine.processor})"
    what = "the task learned worst" if task is None else TASK_TITLES[task]
    missing = [name for name in mechanisms if not list_qualities(name, task)]
    rest = f"; without a row, so judged by their formula: {', '.join(missing)}" if missing else ""
    softmax = list_qualities(REFERENCE, task) if task is not None else []
    beside = f"; softmax has {softmax[0]}" if softmax else ""
    return f"Quality: right answers in {what}, of {where}{beside}{rest}."


def show_quality(mechanism: str, task: str | None) -> str:
    """Return the accuracy on a task, or on that learned worst beside softmax; ``no row`` without one."""
    found = list_qualities(mechanism, task)
    if not found:
        return "no row"
    worst = min(found, key=lambda one: one.share)
    return str(worst) if task is not None else f"{worst.task} {worst}"
