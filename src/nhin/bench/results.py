"""The file of a benchmark: what was measured, on which machine, with which settings."""

import json
import os
import platform
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Literal, Protocol, TypeVar

from nhin import __version__
from nhin.bench.cells import BenchRow
from nhin.config import from_dict
from nhin.errors import DataError, NhinError, UsageError
from nhin.files import read_json, write_atomic
from nhin.ranges import Length, Range

VERSION, READABLE = 2, (1, 2)  # 1 lacks the seconds of each round
_MAX_ROWS = 10**5


@dataclass(frozen=True, slots=True)
class Machine:
    """What the measurements depend on besides the cell."""

    processor: str
    cores: int
    system: str
    fast_bfloat16: bool
    python: str
    torch: str
    nhin: str
    gpu: str | None = None


class MachineResults(Protocol):
    """Results of one machine."""

    @property
    def machine(self) -> Machine:
        """Where they were measured."""
        ...


R = TypeVar("R")
Kept = TypeVar("Kept", bound=MachineResults)


@dataclass(frozen=True, slots=True)
class BenchSettings:
    """How it was measured.

    Args:
        threads: Threads of PyTorch; with one of them times are those of the processor, else of the clock.
        repeats: Rounds at most.
        max_seconds: A call that takes longer is left out.
        max_bytes: A cell that needs more is left out.
        seed: Of the inputs.
    """

    threads: Annotated[int, Range(1, 256)] = 1
    repeats: Annotated[int, Range(3, 1000)] = 11
    max_seconds: Annotated[float, Range(0.001, 3600.0)] = 4.0
    max_bytes: Annotated[int, Range(2**20)] = 4 * 2**30
    seed: Annotated[int, Range(0, 2**31)] = 0


@dataclass(frozen=True, slots=True)
class BenchResults:
    """Rows of one machine."""

    machine: Machine
    settings: BenchSettings
    rows: Annotated[tuple[BenchRow, ...], Length(0, _MAX_ROWS)] = ()
    format: Literal["nhin bench attention"] = "nhin bench attention"
    version: int = field(default=VERSION)


def describe_machine(device: str = "cpu") -> Machine:
    """Describe this machine."""
    import torch

    from nhin.training.precision import has_fast_bfloat16

    is_gpu = device == "cuda"
    return Machine(
        processor=_processor_name(),
        cores=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        system=f"{platform.system()} {platform.machine()}",
        fast_bfloat16=torch.cuda.is_bf16_supported() if is_gpu else has_fast_bfloat16(),
        python=platform.python_version(),
        torch=torch.__version__,
        nhin=__version__,
        gpu=torch.cuda.get_device_name() if is_gpu else None,
    )


def _processor_name() -> str:
    """Return the name of the processor, as Linux tells it or as Python does elsewhere."""
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8", "replace").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def save_results(path: Path, results: BenchResults) -> None:
    """Write results atomically, one row a line, without the fields that have their defaults."""
    write_rows(path, asdict(results), map(_shorten, results.rows))


def write_rows(path: Path, tree: Mapping[str, Any], rows: Iterable[Mapping[str, object]]) -> None:
    """Write the head of a file of results atomically, then its rows, one a line."""
    lines = [json.dumps(row, ensure_ascii=False, allow_nan=False) for row in rows]
    head = {key: tree[key] for key in ("format", "version", "machine", "settings")}
    body = ",\n".join(f"  {line}" for line in lines)
    text = json.dumps(head, ensure_ascii=False, allow_nan=False, indent=1)
    write_atomic(path, f'{text.removesuffix("}").rstrip()},\n "rows": [\n{body}\n ]\n}}\n')


def _shorten(row: BenchRow) -> dict[str, object]:
    """Return a row as plain values, times with 5 digits."""
    return {
        key: tuple(map(_round, value)) if key == "rounds" else _round(value)
        for key, value in asdict(row).items()
        if value not in (None, "", False, ())
    }


def _round(value: object) -> object:
    return float(f"{value:.5g}") if isinstance(value, float) else value


def load_results(path: Path) -> BenchResults:
    """Read results that a stranger may have made.

    Raises:
        DataError: The file cannot be read, is of another program or version, or holds what is no number.
    """
    results = read_results(BenchResults, path, "nhin bench attention", READABLE)
    for number, row in enumerate(results.rows):
        if (row.seconds is None) == (row.skipped is None) or row.seconds == 0:
            raise DataError(f"{path}: row {number} has neither a time nor a reason")
        if row.rounds and len(row.rounds) != row.repeats:
            raise DataError(
                f"{path}: row {number} has {len(row.rounds)} rounds, and repeats is {row.repeats}"
            )
    return replace(results, version=VERSION)


def read_results(cls: type[R], path: Path, command: str, versions: Sequence[int]) -> R:
    """Read the results of a command, of one of some versions; for the errors see ``load_results``."""
    tree = read_json(path, DataError)
    if not isinstance(tree, dict) or tree.get("format") != command:
        raise DataError(f"{path} is no file of {command}")
    if tree.get("version") not in versions:
        raise DataError(
            f"{path} is of version {str(tree.get('version'))[:20]}, and this nhin reads version "
            f"{' and '.join(map(str, versions))}: measure again with {command}"
        )
    try:
        return from_dict(cls, tree, path.name)
    except NhinError as why:
        raise DataError(str(why)) from why


def open_earlier(path: Path, load: Callable[[Path], Kept], resume: bool, here: Machine) -> Kept | None:
    """Return the results to continue; None to begin anew.

    Raises:
        UsageError: There are some and ``resume`` is off, or they are of another machine.
        DataError: They cannot be read, or are not there.
    """
    if not resume:
        if path.exists():
            raise UsageError(f"{path} is there already; --resume continues it, --out names another folder")
        return None
    before = load(path)
    if before.machine != here:
        raise UsageError(f"{path} is of another machine or other versions; choose another --out")
    return before


def merge_rows(old: Iterable[BenchRow], new: Iterable[BenchRow]) -> tuple[BenchRow, ...]:
    """Return rows of which a later one replaces an earlier one of the same cell."""
    return tuple({row.cell: row for row in (*old, *new)}.values())
