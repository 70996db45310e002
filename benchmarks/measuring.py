"""Shared by the benchmarks: time, ratios and growth."""

import argparse
import json
import math
import os
import platform
import resource
import statistics
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

Run = Callable[[], object]
Cell = dict[str, Any]
Logits = Tensor  # windows x tokens x vocabulary
Nats = NDArray[np.float64]


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


def run_timed(command: Sequence[str], **options: Any) -> float:
    """Run a program to its end; return its CPU time, user and system, in seconds."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, **options)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


@torch.no_grad()
def nats_of_windows(predict: Callable[[Tensor], Logits], ids: NDArray[np.int64], context: int) -> Nats:
    """Return the nats of every token but the first, read in disjoint windows of ``context`` tokens."""
    whole, costs = (len(ids) - 1) // context * context, []
    groups = [torch.from_numpy(ids[i : i + whole].reshape(-1, context)) for i in (0, 1)]
    pairs = list(zip(*(group.split(max(1, 8192 // context)) for group in groups), strict=True))
    if whole < len(ids) - 1:
        pairs.append((torch.from_numpy(ids[None, whole:-1]), torch.from_numpy(ids[None, whole + 1 :])))
    for inputs, targets in pairs:
        logits = predict(inputs).float().transpose(1, 2)
        costs.append(F.cross_entropy(logits, targets, reduction="none").double().flatten().numpy())
    return np.concatenate(costs)


def compute_p_values(one: Sequence[Nats], two: Sequence[Nats], block: int = 512) -> dict[str, float]:
    """Test whether ``two`` has fewer nats than ``one``, each a list of runs on one text, paired by seed.

    Returns:
        One-sided p-values: ``text``, over blocks of the text, means of the seeds, by 99,999 random changes of
        sign; ``seeds``, over the seeds, means of the text, by Student's t. NaN with one seed.
    """
    gain = np.mean(one, 0) - np.mean(two, 0)
    gain = gain[: len(gain) // block * block].reshape(-1, block).mean(1)
    random = np.random.default_rng(0)
    signs = (random.integers(0, 2, (999, len(gain))) * 2.0 - 1 for _ in range(101))
    draws = np.concatenate([sign @ gain for sign in signs])[:99_999]
    text = (1 + (draws >= gain.sum()).sum()) / (1 + len(draws))
    seeds = np.array([a.mean() - b.mean() for a, b in zip(one, two, strict=True)])
    if len(seeds) < 2:
        return {"text": float(text), "seeds": math.nan}
    t = seeds.mean() / (seeds.std(ddof=1) / len(seeds) ** 0.5)
    # With t = sqrt(f) tan(a), Student's density with f degrees of freedom is proportional to cos(a)^(f - 1).
    f = len(seeds) - 1
    angles = np.linspace(-math.pi / 2, math.pi / 2, 200_001)
    density = np.cos(angles) ** (f - 1)
    tail = density[angles > math.atan(t / f**0.5)].sum() / density.sum()
    return {"text": float(text), "seeds": float(tail)}


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


def format_cell(cell: Cell, unit: str) -> str:
    """Format a cell as text."""
    if "skipped" in cell:
        return f"    left out: {cell['skipped']}"
    memory = f"{cell['peak_mb']:9.1f} MB" if "peak_mb" in cell else ""
    return f"{cell[unit]:10.1f} {unit} {cell['ratio']:8.3f}x ({cell['min']:.3f} to {cell['max']:.3f}){memory}"
