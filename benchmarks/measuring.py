"""Shared by the benchmarks: time, ratios, memory, growth, and which cases are too large."""

import argparse
import gc
import json
import math
import os
import platform
import statistics
import time
import weakref
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

MAX_SECONDS, MAX_BYTES = 20.0, 6e9

Run = Callable[[], object]
Cell = dict[str, Any]


def describe_machine(*details: str) -> str:
    """Return the processor, its cores, the version of Python, and further details."""
    machine = f"{platform.machine()} {os.cpu_count()} cores"
    return ", ".join([machine, f"python {platform.python_version()}", *details])


def save_json(path: Path | None, tree: Mapping[str, Any]) -> None:
    """Write results where a path is given."""
    if path is not None:
        path.write_text(json.dumps(tree, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def make_parser(description: str | None) -> argparse.ArgumentParser:
    """Return a parser with the options of every benchmark."""
    formatter = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=description, formatter_class=formatter)
    parser.add_argument("--json", type=Path, help="where to write the results")
    return parser


def cpu_seconds(run: Run, times: int = 1) -> float:
    """Return the CPU time of this thread for one run, averaged over ``times`` runs."""
    begin = time.thread_time()
    for _ in range(times):
        run()
    return (time.thread_time() - begin) / times


def summarize_ratios(ratios: Sequence[float]) -> Cell:
    """Return the median, minimum and maximum, rounded."""
    return {
        "ratio": round(statistics.median(ratios), 3),
        "min": round(min(ratios), 3),
        "max": round(max(ratios), 3),
    }


def growth_exponent(cells: Mapping[str, Cell], key: str) -> float | None:
    """Return p of length^p between the two longest measured lengths."""
    known = sorted((int(length), cell[key]) for length, cell in cells.items() if key in cell)
    if len(known) < 2 or min(known[-1][1], known[-2][1]) <= 0:
        return None
    (short, low), (long, high) = known[-2:]
    return round(math.log(high / low) / math.log(long / short), 2)


def skip_reason(cells: Mapping[str, Cell], length: int) -> str | None:
    """Return why a length is skipped, extrapolating from shorter ones; quadratically from only one."""
    if any("skipped" in cell for cell in cells.values()):
        return "a shorter one was too much"
    if not cells:
        return None
    last = max(cells, key=int)
    factor = length / int(last)
    for key, unit, limit in (("ms", 1e-3, MAX_SECONDS), ("peak_mb", 2**20, MAX_BYTES)):
        power = growth_exponent(cells, key)
        estimate = cells[last][key] * unit * factor ** (2.0 if power is None else min(max(power, 1.0), 2.5))
        if estimate > limit:
            return f"about {estimate:.0f} s" if key == "ms" else f"about {estimate / 1e9:.0f} GB"
    return None


class MemoryTracker(TorchDispatchMode):
    """Counts the bytes of tensors that operations return, while they live."""

    def __init__(self, known: Sequence[Tensor]) -> None:
        super().__init__()
        self.current = self.peak = 0
        self._alive = {x.untyped_storage()._cdata for x in known}

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> object:
        """Run an operation and count the new storages it returns."""
        out = func(*args, **(kwargs or {}))
        for x in tree_leaves(out):
            if isinstance(x, Tensor) and x.untyped_storage()._cdata not in self._alive:
                storage = x.untyped_storage()
                self._alive.add(storage._cdata)
                self.current += storage.nbytes()
                self.peak = max(self.peak, self.current)
                weakref.finalize(storage, self._free, storage._cdata, storage.nbytes())
        return out

    def _free(self, storage: int, size: int) -> None:
        self._alive.discard(storage)
        self.current -= size


def peak_memory(run: Run, known: Sequence[Tensor]) -> float:
    """Return the peak memory of a run in MB, without its inputs and results."""
    gc.collect()
    with MemoryTracker(known) as tracker:
        out = run()
    results = sum(x.nbytes for x in tree_leaves(out) if isinstance(x, Tensor))
    return round(max(0, tracker.peak - results) / 2**20, 2)


def format_cell(cell: Cell, unit: str) -> str:
    """Format a cell as text."""
    if "skipped" in cell:
        return f"    left out: {cell['skipped']}"
    memory = f"{cell['peak_mb']:9.1f} MB" if "peak_mb" in cell else ""
    return f"{cell[unit]:10.1f} {unit} {cell['ratio']:8.3f}x ({cell['min']:.3f} to {cell['max']:.3f}){memory}"
