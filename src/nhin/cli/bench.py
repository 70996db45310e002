"""``nhin bench``: cost of attention mechanisms, measured on this machine."""

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from nhin.cli.output import INTERRUPTED, require_torch
from nhin.errors import UnknownName, UsageError
from nhin.format import parse_duration, parse_size
from nhin.ranges import Range, parse_list

if TYPE_CHECKING:
    from nhin.bench.cells import BenchGrid, BenchRow
    from nhin.bench.results import BenchResults, BenchSettings

RESULTS = "attention.json"
DEFAULT_OUT = Path("bench-attention")
MECHANISMS = (
    "softmax flash naive window sinks longformer strided bigbird lsh linear linear-relu performer recompute"
)


@Parameter(name="*")
@dataclass(frozen=True)
class SizeOptions:
    """The situations to measure; several values are separated by commas, and all combinations are measured.

    Args:
        lengths: Positions.
        phases: forward, train (forward and backward), prefill (of a cache), decode (one step after so many
            positions), generate (so many positions, step by step).
        dtypes: float32, bfloat16, float16.
        heads: Query heads.
        kv_heads: Key/value heads; as many as query heads when not given.
        head_dims: Width of a head.
        masks: causal; full: every key is visible.
        batch: Sequences.
    """

    lengths: str = "512,1024,2048,4096,8192,16384"
    phases: str = "forward,train,prefill,decode,generate"
    dtypes: str = "float32,bfloat16"
    heads: str = "8"
    kv_heads: str | None = None
    head_dims: str = "64"
    masks: str = "causal"
    batch: Annotated[int, Range(1, 1024)] = 1

    def grid(self, mechanisms: Sequence[str], device: Literal["cpu", "cuda"]) -> "BenchGrid":
        """Return the cells to measure."""
        from nhin.bench.cells import PHASES, BenchGrid

        return BenchGrid(
            mechanisms=mechanisms,
            phases=_parse_choices("phase", self.phases, PHASES),
            lengths=parse_list(self.lengths, int, "lengths look like 512,2048"),
            dtypes=_parse_choices("dtype", self.dtypes, ("float32", "bfloat16", "float16")),
            heads=parse_list(self.heads, int, "heads look like 8,16"),
            kv_heads=(None,)
            if self.kv_heads is None
            else parse_list(self.kv_heads, int, "kv-heads look like 2,8"),
            head_dims=parse_list(self.head_dims, int, "head-dims look like 64,128"),
            masks=[word == "causal" for word in _parse_choices("mask", self.masks, ("causal", "full"))],
            device=device,
            batch=self.batch,
        )


_SIZES = SizeOptions()


def bench(  # noqa: PLR0913  # every option is one word of the command line
    subject: Literal["attention"],
    /,
    *mechanisms: str,
    out: Path = DEFAULT_OUT,
    device: Literal["cpu", "cuda"] = "cpu",
    threads: Annotated[int, Range(1, 256)] = 1,
    repeats: Annotated[int, Range(3, 1000)] = 11,
    budget: str = "9m",
    memory: str | None = None,
    seed: Annotated[int, Range(0, 2**31)] = 0,
    resume: bool = False,
    sizes: Annotated[SizeOptions, Parameter(name="*")] = _SIZES,
) -> int:
    """Measure time, memory and operations of attention mechanisms beside PyTorch's own kernel.

    All take turns with that kernel in one process. Peak memory is measured in a process of its own. What
    cannot be measured is a row with its reason. Ctrl-C keeps what is done, and --resume continues. Written
    are attention.json, attention.md, attention.png and attention.svg; nhin recommend reads the first.

    Args:
        subject: attention.
        mechanisms: Names of nhin list; sdpa-flash, sdpa-cudnn, sdpa-efficient, sdpa-math: one kernel of
            PyTorch; recompute: generation without a cache; all: every mechanism. About a dozen when none is
            named.
        out: Folder of the results.
        device: cpu or cuda.
        threads: Threads of PyTorch. With one, times are those of the processor, which other programs disturb
            less; with several, those of the clock.
        repeats: Rounds; fewer where they take over 1.5 s, or much of the budget, but 3 at least.
        budget: Time on the clock, such as 90s or 9m, shared out among all cells; those that would take
            several shares, and those that are left in the end, are rows that say so.
        memory: The most that one cell may need, such as 500MB or 8GB; half of what is free when not given.
        seed: Of the inputs.
        resume: Continue in that folder.
        sizes: What to measure.
    """
    require_torch("measuring needs")
    import matplotlib  # noqa: F401 - a missing package is reported before anything is measured
    import torch

    from nhin.bench.results import BenchResults, BenchSettings, describe_machine, load_results, open_earlier

    seconds = parse_duration("budget", budget)
    check_device(device)
    grid = sizes.grid(_expand(mechanisms), device)
    max_bytes = free_bytes(device) // 2 if memory is None else parse_size("memory", memory)
    settings = BenchSettings(threads, repeats, max_bytes=max_bytes, seed=seed)
    results = BenchResults(describe_machine(device), settings)
    path = out / RESULTS
    before = open_earlier(path, load_results, resume, results.machine)
    if before is not None:
        check_same(before.settings, settings, path)
        results = replace(results, rows=before.rows)
    torch.set_num_threads(threads)
    results, stopped = measure_grid(grid, results, path, seconds)
    for file in write_report(results, out):
        sys.stdout.write(f"{file}\n")
    return INTERRUPTED if stopped else 0


def measure_grid(
    grid: "BenchGrid", results: "BenchResults", path: Path, seconds: float
) -> tuple["BenchResults", bool]:
    """Measure, save after each situation, and show the progress; return also whether Ctrl-C stopped it."""
    from nhin.bench.probe import ProbeLimits, open_probe
    from nhin.bench.results import merge_rows, save_results
    from nhin.bench.run import BUDGET, INTERRUPTED, Bench, run_bench
    from nhin.bench.timing import make_clock
    from nhin.training.signals import catch_stop_signals

    settings, deadline, rows = results.settings, time.monotonic() + seconds, results.rows
    with catch_stop_signals() as signals, _watch(sum(map(len, grid.groups()))) as watch:

        def time_left() -> float:
            return max(0.0, deadline - time.monotonic())

        def stop() -> str | None:
            return INTERRUPTED if signals.requested else None if time_left() else BUDGET

        def keep(new: Sequence["BenchRow"]) -> None:
            nonlocal rows
            rows = merge_rows(rows, new)
            save_results(path, replace(results, rows=rows))
            watch(new)

        limits = ProbeLimits(settings.max_seconds, settings.max_bytes)
        with open_probe(grid.device, settings.threads, limits) as probe:
            clock = make_clock(grid.device, settings.threads)
            rows = run_bench(grid, Bench(settings, probe, clock, stop, keep, time_left), rows)
        return replace(results, rows=rows), signals.requested


@contextmanager
def _watch(total: int) -> Iterator[Callable[[Sequence["BenchRow"]], None]]:
    """Yield a function that shows rows: in a progress bar on a terminal, else as lines on standard error."""
    from nhin.cli.output import show_progress

    with show_progress(total, "measuring") as advance:

        def watch(rows: Sequence["BenchRow"]) -> None:
            if advance is not None:
                advance(len(rows))
                return
            cell, measured = rows[0].cell, sum(row.skipped is None for row in rows)
            sys.stderr.write(f"{cell.phase} {cell.dtype} {cell.length}: {measured} of {len(rows)} measured\n")

        yield watch


def write_report(results: "BenchResults", out: Path) -> list[Path]:
    """Write the tables and the plots; return their paths."""
    from nhin.bench.report import format_bench_report, plot_bench
    from nhin.files import write_atomic

    files: dict[str, Any] = {"attention.md": format_bench_report(results)}
    files |= {f"attention.{ending}": plot_bench(results, ending) for ending in ("png", "svg")}
    for name, data in files.items():
        write_atomic(out / name, data)
    return [out / RESULTS, *(out / name for name in files)]


def check_same(before: "BenchSettings", now: "BenchSettings", path: Path) -> None:
    """Refuse to continue with other settings; the memory that is allowed may be another."""
    same = replace(before, max_bytes=now.max_bytes)
    if same != now:
        raise UsageError(
            f"{path} was measured with {_differences(same, now)}; give the same, or another --out"
        )


def _differences(before: "BenchSettings", now: "BenchSettings") -> str:
    from dataclasses import asdict

    old, new = asdict(before), asdict(now)
    return ", ".join(f"{name} {value}" for name, value in old.items() if value != new[name])


def check_device(device: str) -> None:
    """Refuse a GPU that is not there."""
    import torch

    if device == "cuda" and not torch.cuda.is_available():
        raise UsageError("the device is cuda, but PyTorch finds no such GPU here; use --device cpu")


def free_bytes(device: str) -> int:
    """Return the free memory of a device; 4 GB where the system does not tell."""
    import torch

    if device == "cuda":
        return torch.cuda.mem_get_info()[0]
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return 2**32
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable")), 2**32)


def _expand(names: Sequence[str]) -> Sequence[str]:
    """Return the mechanisms that are named; a dozen of all families when none is."""
    if "all" not in names:
        return [*names] or [*MECHANISMS.split()]
    from nhin.attention.registry import MECHANISMS as REGISTRY

    return [*REGISTRY, "recompute"]


def _parse_choices(kind: str, text: str, allowed: Sequence[Any]) -> list[Any]:
    words = text.split(",")
    for word in words:
        if word not in allowed:
            raise UnknownName(kind, word, allowed)
    return list(dict.fromkeys(words))
