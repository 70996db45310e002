"""Compare every attention mechanism with PyTorch's own kernel: time, memory, and one decoding step.

    python benchmarks/attention.py                          everything; writes benchmarks/attention.json
    python benchmarks/attention.py window linear --lengths 512,2048 --backward
    python benchmarks/attention.py --decode                 one query at 512, 8192 and 32768 keys
    python benchmarks/attention.py --targets                the targets of the fast paths, met or missed

Forward and backward passes are measured as ``nhin bench attention`` does (docs/bench.md): in turn with
PyTorch's kernel on the same tensors, causal where the mechanism can be, CPU time of one thread, B=1 H=8 D=64,
every mechanism with its defaults (a window is 256 positions, or four blocks of 64). A ratio is the median of
the ratios of all rounds, with the ends of its 95% interval; of a decoding step, with minimum and maximum.
Memory is the peak of a process of its own, without inputs, results and gradients. A case that would take over
20 s or 6 GB is skipped, as is a length that a mechanism refuses.

The JSON (``--json OUT`` for a part):
    forward, backward     {name: {length: {ms, ratio, min, max, peak_mb} or {skipped: why}}}
    growth                {name: {time, memory: {declared, measured}}}; measured is p of length^p between
                          the two longest lengths of ``forward``, null where fewer were measured
    decode                {name: {keys: {us, ratio, min, max} or {skipped: why}}}; the baseline is "SDPA MHA";
                          packed queries have ``of_enable_gqa`` too, {ratio, min, max}
    targets               [{what, limit, ratio, min, max, met}]; met: the ratio is at most the limit
"""

import argparse
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from inspect import signature
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from measuring import (
    Cell,
    Run,
    cpu_seconds,
    describe_machine,
    format_cell,
    growth_exponent,
    make_parser,
    save_json,
    summarize_ratios,
)

from nhin.attention.base import Cache, CacheSpec, Mechanism
from nhin.attention.kv_cache import KVCache
from nhin.attention.registry import MECHANISMS, build
from nhin.bench.cells import BenchGrid, BenchRow, Dtype
from nhin.bench.probe import ProbeLimits, open_probe
from nhin.bench.results import BenchSettings
from nhin.bench.run import Bench, run_bench
from nhin.bench.timing import make_clock

HEADS, WIDTH = 8, 64
LENGTHS, CACHE_LENGTHS = (512, 2048, 8192), (512, 8192, 32768)
ROUNDS = 5
MAX_SECONDS, MAX_BYTES = 20.0, 6 * 10**9
DTYPES: Mapping[str, Dtype] = {"float32": "float32", "bfloat16": "bfloat16"}
CHUNK = 512  # positions per call while a cache is filled


@dataclass(frozen=True)
class Target:
    """``name`` at ``length`` should cost at most ``limit`` times its baseline."""

    what: str
    part: str
    name: str
    length: int
    limit: float
    dtype: str = "float32"


TARGETS = (
    Target("window, forward at 8192", "forward", "window", 8192, 0.24),
    Target("window, forward at 16384", "forward", "window", 16384, 0.16),
    Target("window, forward + backward at 8192", "backward", "window", 8192, 0.21),
    Target("linear, forward at 8192", "forward", "linear", 8192, 0.20),
    Target("linear, forward at 16384", "forward", "linear", 16384, 0.13),
    Target("linear in bfloat16, forward at 8192", "forward", "linear", 8192, 0.40, "bfloat16"),
    Target("BigBird, forward at 8192", "forward", "bigbird", 8192, 0.49),
)
GROUPED, PACKED, STEPPED = "SDPA 8:2 enable_gqa", "softmax 8:2", "softmax 8:2 state"
# "At least 1.7 times faster" is at most 1 / 1.7 of the time.
DECODE_TARGETS = ((PACKED, 8192), (PACKED, 32768), (STEPPED, 8192), (STEPPED, 32768))
FLAT = 1.25  # limit of linear's decoding step at the longest length over that at the shortest


def build_mechanism(name: str, length: int = 0) -> Mechanism:
    """Build a mechanism with its defaults, and a context of at least ``length``."""
    torch.manual_seed(0)
    room = {"context": max(512, length)} if "context" in signature(MECHANISMS[name]).parameters else {}
    return build(name, heads=HEADS, head_dim=WIDTH, **room).eval()


def to_cell(row: BenchRow) -> Cell:
    """Return a row as a cell of the JSON; memory without the output, or the gradients of q, k and v."""
    if row.seconds is None:
        return {"skipped": row.skipped}
    cell = row.cell
    size = cell.length * cell.heads * cell.head_dim * getattr(torch, cell.dtype).itemsize
    memory = max(0, (row.peak_bytes or 0) - size * (3 if cell.phase == "train" else 1))
    ratios = {"ratio": row.ratio, "min": row.ratio_low, "max": row.ratio_high}
    rounded = {name: None if value is None else round(value, 3) for name, value in ratios.items()}
    return {"ms": round(row.seconds * 1e3, 3), **rounded, "peak_mb": round(memory / 2**20, 2)}


def measure_lengths(
    names: Sequence[str], lengths: Sequence[int], dtype: str, backward: bool
) -> dict[str, Any]:
    """Measure mechanisms at lengths, shortest first, and print a line for each."""
    part = "forward + backward" if backward else "forward"
    print(f"\n{part}, {dtype}: ms, times SDPA (95% interval), memory")
    table: dict[str, Any] = {}

    def enter(rows: Sequence[BenchRow]) -> None:
        for row in rows:
            if row.cell.mechanism in names:
                cell = table.setdefault(row.cell.mechanism, {})[str(row.cell.length)] = to_cell(row)
                print(f"{row.cell.mechanism:22} {row.cell.length:6} {format_cell(cell, 'ms')}", flush=True)

    settings = BenchSettings(repeats=ROUNDS, max_seconds=MAX_SECONDS, max_bytes=MAX_BYTES)
    with open_probe("cpu", 1, ProbeLimits(MAX_SECONDS, MAX_BYTES)) as probe:
        bench = Bench(settings, probe, make_clock("cpu", 1), lambda: None, enter)
        for name in names:
            causal = "causal" in MECHANISMS[name].facts.abilities
            phase = "train" if backward else "forward"
            run_bench(BenchGrid([name], [phase], lengths, [DTYPES[dtype]], masks=[causal]), bench)
    return table


@dataclass(frozen=True)
class Step:
    """One decoding step, and how to undo the steps taken."""

    take: Run
    undo: Run = lambda: None


def fill_cache(mechanism: Mechanism, keys: int, groups: int) -> Cache | str:
    """Return a cache of ``keys`` positions, or why filling it takes too long."""
    state = mechanism.init_cache(CacheSpec(1, keys + 1024, groups, WIDTH))
    if type(state) is KVCache:  # holds nothing but keys and values
        state.append(*torch.randn(2, 1, keys, groups, WIDTH))
        return state
    spent = 0.0
    for start in range(0, keys, CHUNK):
        size = min(CHUNK, keys - start)
        q, (k, v) = torch.randn(1, size, HEADS, WIDTH), torch.randn(2, 1, size, groups, WIDTH)
        last = cpu_seconds(lambda q=q, k=k, v=v: state.prefill(q, k, v))
        spent += last
        if spent + last * (keys - start) / CHUNK / 2 > MAX_SECONDS:
            return "filling its cache takes over 20 s"
    return state


def build_step(mechanism: Mechanism, state: Cache, groups: int) -> Step:
    """Return the decoding step of a mechanism with a filled cache."""
    keys = state.lengths[0]
    q, (k, v) = torch.randn(1, 1, HEADS, WIDTH), torch.randn(2, 1, 1, groups, WIDTH)
    undo = (lambda: state.truncate(keys)) if "truncate" in mechanism.facts.abilities else (lambda: None)
    return Step(lambda: state.step(q, k, v), undo)


def build_baselines(keys: int) -> dict[str, Step]:
    """Return the steps to compare with: PyTorch's kernel, packed queries, ways to store keys."""
    q = torch.randn(1, 1, HEADS, WIDTH)
    row = q.transpose(1, 2)
    k, v = torch.randn(2, 1, HEADS, keys, WIDTH)
    new, softmax = torch.randn(1, HEADS, 1, WIDTH), build("softmax")
    # All 8:2 steps read the same memory, so that the processor's cache helps all alike.
    state = fill_cache(softmax, keys, 2)
    assert isinstance(state, KVCache)
    few_k, few_v = (x.transpose(1, 2) for x in state.contents)

    def written() -> None:
        k[:, :, -1:], v[:, :, -1:] = new, new

    return {
        "SDPA MHA": Step(lambda: F.scaled_dot_product_attention(row, k, v)),
        GROUPED: Step(lambda: F.scaled_dot_product_attention(row, few_k, few_v, enable_gqa=True)),
        PACKED: Step(lambda: softmax(q, few_k.transpose(1, 2), few_v.transpose(1, 2), causal=True)),
        STEPPED: build_step(softmax, state, 2),
        "growing with cat": Step(lambda: (torch.cat([k, new], 2), torch.cat([v, new], 2))),
        "preallocated write": Step(written),
    }


def time_steps(steps: Mapping[str, Step]) -> dict[str, list[float]]:
    """Return seconds per step in every round, each after a step that is not timed."""
    times: dict[str, list[float]] = {name: [] for name in steps}
    counts = {name: int(min(100, max(2, 5e-3 / cpu_seconds(step.take, 3)))) for name, step in steps.items()}
    for _ in range(ROUNDS + 2):
        for name, step in steps.items():
            step.take()
            times[name].append(cpu_seconds(step.take, counts[name]))
            step.undo()
    return times


def make_cell(times: Mapping[str, Sequence[float]], name: str) -> Cell:
    """Return the cell of one step, with its ratio to the baselines of the same rounds."""
    mine = times[name]
    cell: Cell = {"us": round(statistics.median(mine) * 1e6, 1)}
    cell |= summarize_ratios([a / b for a, b in zip(mine, times["SDPA MHA"], strict=True)])
    if name in (PACKED, STEPPED):
        cell["of_enable_gqa"] = summarize_ratios([a / b for a, b in zip(mine, times[GROUPED], strict=True)])
    return cell


@torch.inference_mode()
def measure_decoding(names: Sequence[str], lengths: Sequence[int]) -> dict[str, Any]:
    """Measure one decoding step of each mechanism that can decode, and of the baselines."""
    print("\none decoding step, float32: us, times SDPA over as many heads (min to max)")
    table: dict[str, Any] = {}

    def enter(name: str, keys: int, cell: Cell) -> None:
        table.setdefault(name, {})[str(keys)] = cell
        print(f"{name:22} {keys:6} {format_cell(cell, 'us')}", flush=True)

    for keys in lengths:
        plain = build_baselines(keys)
        times = time_steps(plain)
        for name in plain:
            enter(name, keys, make_cell(times, name))
        for name in names:
            mechanism = build_mechanism(name, keys + 1024)
            if "decode" not in mechanism.facts.abilities:
                continue
            state = fill_cache(mechanism, keys, HEADS)
            if isinstance(state, str):
                enter(name, keys, {"skipped": state})
                continue
            steps = {"SDPA MHA": plain["SDPA MHA"], name: build_step(mechanism, state, HEADS)}
            enter(name, keys, make_cell(time_steps(steps), name))
    return table


def check_targets(results: Mapping[str, Any], dtype: str) -> list[Cell]:
    """Compare with the targets of the fast paths, and measure what is missing."""
    rows: list[Cell] = []

    def check(what: str, limit: float, cell: Mapping[str, Any] | None) -> None:
        ratio = None if cell is None else cell.get("ratio")
        met = None if ratio is None else ratio <= limit
        low, high = (None, None) if cell is None else (cell.get("min"), cell.get("max"))
        rows.append({"what": what, "limit": limit, "ratio": ratio, "min": low, "max": high, "met": met})
        verdict = {None: "not measured", True: "met", False: "MISSED"}[met]
        print(f"{what:44} at most {limit:5.3f}: {ratio} ({low} to {high})  {verdict}", flush=True)

    print("\ntargets, times the baseline")
    for t in TARGETS:
        cell = results.get(t.part, {}).get(t.name, {}).get(str(t.length)) if t.dtype == dtype else None
        if (cell is None or "skipped" in cell) and t.name in MECHANISMS:
            table = measure_lengths([t.name], [t.length], t.dtype, t.part == "backward")
            cell = table[t.name][str(t.length)]
        check(t.what, t.limit, cell)
    steps = results.get("decode") or measure_decoding(
        [name for name in ("linear",) if name in MECHANISMS], CACHE_LENGTHS
    )
    for name, keys in DECODE_TARGETS:
        cell = steps[name].get(str(keys), {})
        check(f"{name}, a step at {keys}, of enable_gqa", round(1 / 1.7, 3), cell.get("of_enable_gqa"))
    linear = steps.get("linear", {})
    ends = [linear.get(str(keys), {}).get("us") for keys in (CACHE_LENGTHS[0], CACHE_LENGTHS[-1])]
    flat = None if None in ends else {"ratio": round(ends[1] / ends[0], 3)}
    check(f"linear, a step at {CACHE_LENGTHS[-1]} of one at {CACHE_LENGTHS[0]}", FLAT, flat)
    return rows


def compare_growth(forward: Mapping[str, Any]) -> dict[str, Any]:
    """Return the declared and the measured growth of every mechanism."""
    declared = {name: build_mechanism(name).facts for name in forward}
    return {
        name: {
            "time": {"declared": declared[name].time, "measured": growth_exponent(cells, "ms")},
            "memory": {"declared": declared[name].memory, "measured": growth_exponent(cells, "peak_mb")},
        }
        for name, cells in forward.items()
    }


def _parse_lengths(text: str) -> list[int]:
    return [int(length) for length in text.split(",")]


def parse_args() -> argparse.Namespace:
    """Parse the command line; without arguments everything is measured and saved beside this file."""
    parser = make_parser(__doc__)
    parser.add_argument("names", nargs="*", help="mechanisms (default: all)")
    parser.add_argument("--lengths", type=_parse_lengths, help="sequence lengths (default: 512,2048,8192)")
    parser.add_argument("--backward", action="store_true", help="also forward + backward")
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--decode", action="store_true", help="decoding steps")
    parser.add_argument("--targets", action="store_true", help="the targets of the fast paths")
    args = parser.parse_args()
    named = bool(args.names) and not (args.decode or args.targets)
    args.forward = bool(named or args.lengths or args.backward)
    if not (args.forward or args.decode or args.targets):
        everything = args.dtype == "float32"
        args.forward, args.backward, args.decode, args.targets = True, everything, everything, everything
        args.json = args.json or (Path(__file__).with_suffix(".json") if everything else None)
    for name in args.names:
        build(name, heads=HEADS, head_dim=WIDTH)  # refuses an unknown name before an hour of measuring
    args.names = args.names or list(MECHANISMS)
    return args


def main() -> int:
    """Measure, print tables, write the JSON."""
    args = parse_args()
    torch.set_num_threads(1)
    dtype, lengths = args.dtype, args.lengths or LENGTHS
    settings = {
        "batch": 1, "heads": HEADS, "head_dim": WIDTH, "dtype": args.dtype,
        "threads": 1, "rounds": ROUNDS, "torch": torch.__version__,
    }  # fmt: skip
    results: dict[str, Any] = {"machine": describe_machine(), "settings": settings}
    parts: dict[str, Callable[[], object]] = {
        "forward": lambda: measure_lengths(args.names, lengths, dtype, backward=False),
        "growth": lambda: compare_growth(results["forward"]),
        "backward": lambda: measure_lengths(args.names, lengths, dtype, backward=True),
        "decode": lambda: measure_decoding(args.names, CACHE_LENGTHS),
        "targets": lambda: check_targets(results, args.dtype),
    }
    for part, measure in parts.items():
        if getattr(args, "forward" if part == "growth" else part):
            results[part] = measure()
            save_json(args.json, results)  # after every part: the last may come an hour later, or never
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
