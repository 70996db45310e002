"""Measure every attention mechanism beside PyTorch's own kernel: time, memory, and one step of decoding.

    python benchmarks/attention.py                          everything; keeps benchmarks/attention.json
    python benchmarks/attention.py window linear --lengths 512,2048 --backward
    python benchmarks/attention.py --decode                 one query at 512, 8192 and 32768 keys
    python benchmarks/attention.py --targets                what the fast paths promise, met or missed

One thread, its own CPU time (what else the machine does is not counted), B=1 H=8 D=64, every mechanism with
its own defaults (a window is 256 places, or four blocks of 64) and room for the length. The peer is
``scaled_dot_product_attention`` on the same tensors, causal where the mechanism can be; a mechanism and its
peer take turns, and a ratio is the median of the ratios of the rounds, with the least and the greatest.
Memory is what operations returned and was still held, at its peak, beyond inputs, answers and gradients;
what a kernel takes inside itself is not seen. A case that would take over 20 s or 6 GB, judged by the case
before it, is left out, and the table says so, as it does where a mechanism refuses a length.

The JSON (``--json OUT`` for a part):
    machine, settings     where and how
    forward, backward     {name: {length: {ms, ratio, min, max, peak_mb} or {skipped: why}}}
    growth                {name: {time, memory: {declared, measured}}}; measured is p of length^p between
                          the two longest lengths of ``forward``, null where fewer were measured
    decode                {name: {keys: {us, ratio, min, max} or {skipped: why}}}; the peer is "SDPA MHA";
                          packed queries have ``of_enable_gqa`` too, {ratio, min, max}
    targets               [{what, limit, ratio, min, max, met}]; a ratio may be at most its limit
"""

import argparse
import json
import os
import platform
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from inspect import signature
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from measuring import MOST_SECONDS, Cell, Run, exponent, peak, seconds, spread, told, why_not
from torch import Tensor

from nhin.attention.base import Cache, CacheSpec, Mechanism
from nhin.attention.kv_cache import KVCache
from nhin.attention.registry import MECHANISMS, build
from nhin.errors import NhinError

HEADS, WIDTH = 8, 64
LENGTHS, HELD = (512, 2048, 8192), (512, 8192, 32768)
ROUNDS = 5
CHUNK = 512  # places read at once while a state is filled


@dataclass(frozen=True)
class Target:
    """A promise: ``name`` at ``length`` costs at most ``limit`` times its peer."""

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
FLAT = 1.25  # a step of a linear state at the longest may cost this much of one at the shortest


def made(name: str, length: int = 0) -> Mechanism:
    """Build a mechanism as it is measured: with its own defaults, and room for so many places."""
    torch.manual_seed(0)
    room = {"context": max(512, length)} if "context" in signature(MECHANISMS[name]).parameters else {}
    return build(name, heads=HEADS, head_dim=WIDTH, **room).eval()


def runs(name: str, length: int, dtype: torch.dtype, backward: bool) -> tuple[Run, Run, list[Tensor]]:
    """Return the run of a mechanism, that of its peer, and the tensors they are given."""
    mechanism = made(name, length).to(dtype)
    causal = "causal" in mechanism.facts.abilities
    q, k, v, up = (torch.randn(1, length, HEADS, WIDTH).to(dtype) for _ in range(4))

    def ours() -> Tensor:
        return mechanism(q, k, v, causal=causal)

    def peer() -> Tensor:
        by_head = [x.transpose(1, 2) for x in (q, k, v)]
        return F.scaled_dot_product_attention(*by_head, is_causal=causal).transpose(1, 2)  # pyright: ignore[reportArgumentType] # three

    def both_ways(look: Callable[[], Tensor], wanted: list[Tensor]) -> Run:
        return lambda: torch.autograd.grad(look(), wanted, up, allow_unused=True)

    learned = list(mechanism.parameters())
    given = [q, k, v, up, *learned, *mechanism.buffers()]
    if not backward:
        return torch.no_grad()(ours), torch.no_grad()(peer), given
    inputs = [x.requires_grad_() for x in (q, k, v)]
    return both_ways(ours, inputs + [p for p in learned if p.requires_grad]), both_ways(peer, inputs), given


def measured(name: str, length: int, dtype: torch.dtype, backward: bool) -> Cell:
    """Return time, ratio and memory of one case."""
    ours, peer, given = runs(name, length, dtype, backward)
    held = peak(ours, given)  # also the first run, which is not timed
    peer()
    first = (seconds(ours), seconds(peer))
    rounds = [first] + [(seconds(ours), seconds(peer)) for _ in range(ROUNDS - 1 if first[0] < 3 else 2)]
    middle = statistics.median(mine for mine, _ in rounds)
    return {"ms": round(middle * 1e3, 3), **spread([a / b for a, b in rounds]), "peak_mb": held}


def grown(names: Sequence[str], lengths: Sequence[int], dtype: torch.dtype, backward: bool) -> dict[str, Any]:
    """Measure mechanisms at lengths, shortest first, and print a line for each."""
    print(f"\n{'forward + backward' if backward else 'forward'}, {dtype}: ms, times SDPA (spread), memory")
    table: dict[str, Any] = {}
    for name in names:
        cells = table[name] = {}
        for length in sorted(lengths):
            why = why_not(cells, length)
            try:
                cell = {"skipped": why} if why else measured(name, length, dtype, backward)
            except NhinError as refusal:
                cell = {"skipped": str(refusal)}
            cells[str(length)] = cell
            print(f"{name:22} {length:6} {told(cell, 'ms')}", flush=True)
    return table


@dataclass(frozen=True)
class Step:
    """One step of decoding, and how to forget the steps that were taken."""

    take: Run
    undo: Run = lambda: None


def filled(mechanism: Mechanism, keys: int, groups: int) -> Cache | str:
    """Return a state that has read ``keys`` places, or why it took too long."""
    state = mechanism.init_cache(CacheSpec(1, keys + 1024, groups, WIDTH))
    if type(state) is KVCache:  # it keeps nothing but these, so nobody needs to look while it is filled
        state.append(*torch.randn(2, 1, keys, groups, WIDTH))
        return state
    spent = 0.0
    for start in range(0, keys, CHUNK):
        size = min(CHUNK, keys - start)
        q, (k, v) = torch.randn(1, size, HEADS, WIDTH), torch.randn(2, 1, size, groups, WIDTH)
        last = seconds(lambda q=q, k=k, v=v: state.prefill(q, k, v))
        spent += last
        if spent + last * (keys - start) / CHUNK / 2 > MOST_SECONDS:
            return "filling its state takes over 20 s"
    return state


def stepping(mechanism: Mechanism, state: Cache, groups: int) -> Step:
    """Return the step of a mechanism from its filled state."""
    keys = state.lengths[0]
    q, (k, v) = torch.randn(1, 1, HEADS, WIDTH), torch.randn(2, 1, 1, groups, WIDTH)
    undo = (lambda: state.truncate(keys)) if "truncate" in mechanism.facts.abilities else (lambda: None)
    return Step(lambda: state.step(q, k, v), undo)


def plain_steps(keys: int) -> dict[str, Step]:
    """Return what every step is compared with: PyTorch's kernel, our packed queries, ways to keep keys."""
    q = torch.randn(1, 1, HEADS, WIDTH)
    row = q.transpose(1, 2)
    k, v = torch.randn(2, 1, HEADS, keys, WIDTH)
    new, softmax = torch.randn(1, HEADS, 1, WIDTH), build("softmax")
    # All of 8:2 read the same memory: what one leaves in the processor's cache serves the next.
    state = filled(softmax, keys, 2)
    assert isinstance(state, KVCache), "keys and values are written, not read in"
    few_k, few_v = (x.transpose(1, 2) for x in state.contents)

    def written() -> None:
        k[:, :, -1:], v[:, :, -1:] = new, new

    return {
        "SDPA MHA": Step(lambda: F.scaled_dot_product_attention(row, k, v)),
        GROUPED: Step(lambda: F.scaled_dot_product_attention(row, few_k, few_v, enable_gqa=True)),
        PACKED: Step(lambda: softmax(q, few_k.transpose(1, 2), few_v.transpose(1, 2), causal=True)),
        STEPPED: stepping(softmax, state, 2),
        "growing with cat": Step(lambda: (torch.cat([k, new], 2), torch.cat([v, new], 2))),
        "preallocated write": Step(written),
    }


def in_turn(steps: Mapping[str, Step]) -> dict[str, list[float]]:
    """Return seconds a step, round by round, each after a few that are not timed."""
    times: dict[str, list[float]] = {name: [] for name in steps}
    counts = {name: int(min(100, max(2, 5e-3 / seconds(step.take, 3)))) for name, step in steps.items()}
    for _ in range(ROUNDS + 2):
        for name, step in steps.items():
            step.take()
            times[name].append(seconds(step.take, counts[name]))
            step.undo()
    return times


def cell_of(times: Mapping[str, Sequence[float]], name: str) -> Cell:
    """Return the cell of one step beside those of its peers in the same rounds."""
    mine = times[name]
    cell: Cell = {"us": round(statistics.median(mine) * 1e6, 1)}
    cell |= spread([a / b for a, b in zip(mine, times["SDPA MHA"], strict=True)])
    if name in (PACKED, STEPPED):
        cell["of_enable_gqa"] = spread([a / b for a, b in zip(mine, times[GROUPED], strict=True)])
    return cell


@torch.inference_mode()
def decoded(names: Sequence[str], held: Sequence[int]) -> dict[str, Any]:
    """Measure one step of each mechanism that can decode, and of what it is compared with."""
    print("\none step of decoding, float32: us, times SDPA over as many heads (spread)")
    table: dict[str, Any] = {}

    def enter(name: str, keys: int, cell: Cell) -> None:
        table.setdefault(name, {})[str(keys)] = cell
        print(f"{name:22} {keys:6} {told(cell, 'us')}", flush=True)

    for keys in held:
        plain = plain_steps(keys)
        times = in_turn(plain)
        for name in plain:
            enter(name, keys, cell_of(times, name))
        for name in names:
            mechanism = made(name, keys + 1024)
            if "decode" not in mechanism.facts.abilities:
                continue
            state = filled(mechanism, keys, HEADS)
            if isinstance(state, str):
                enter(name, keys, {"skipped": state})
                continue
            steps = {"SDPA MHA": plain["SDPA MHA"], name: stepping(mechanism, state, HEADS)}
            enter(name, keys, cell_of(in_turn(steps), name))
    return table


def judged(results: Mapping[str, Any], dtype: str) -> list[Cell]:
    """Compare with what the fast paths promise, measuring what is not measured yet."""
    rows: list[Cell] = []

    def judge(what: str, limit: float, cell: Mapping[str, Any] | None) -> None:
        ratio = None if cell is None else cell.get("ratio")
        met = None if ratio is None else ratio <= limit
        least, most = (None, None) if cell is None else (cell.get("min"), cell.get("max"))
        rows.append({"what": what, "limit": limit, "ratio": ratio, "min": least, "max": most, "met": met})
        word = {None: "not measured", True: "met", False: "MISSED"}[met]
        print(f"{what:44} at most {limit:5.3f}: {ratio} ({least} to {most})  {word}", flush=True)

    print("\ntargets, times the peer")
    for t in TARGETS:
        cell = results.get(t.part, {}).get(t.name, {}).get(str(t.length)) if t.dtype == dtype else None
        if (cell is None or "skipped" in cell) and t.name in MECHANISMS:
            cell = measured(t.name, t.length, getattr(torch, t.dtype), t.part == "backward")
        judge(t.what, t.limit, cell)
    steps = results.get("decode") or decoded([name for name in ("linear",) if name in MECHANISMS], HELD)
    for name, keys in DECODE_TARGETS:
        cell = steps[name].get(str(keys), {})
        judge(f"{name}, a step at {keys}, of enable_gqa", round(1 / 1.7, 3), cell.get("of_enable_gqa"))
    linear = steps.get("linear", {})
    ends = [linear.get(str(keys), {}).get("us") for keys in (HELD[0], HELD[-1])]
    flat = None if None in ends else {"ratio": round(ends[1] / ends[0], 3)}
    judge(f"linear, a step at {HELD[-1]} of one at {HELD[0]}", FLAT, flat)
    return rows


def growth(forward: Mapping[str, Any]) -> dict[str, Any]:
    """Return what mechanisms declare beside what was measured."""
    declared = {name: made(name).facts for name in forward}
    return {
        name: {
            "time": {"declared": declared[name].time, "measured": exponent(cells, "ms")},
            "memory": {"declared": declared[name].memory, "measured": exponent(cells, "peak_mb")},
        }
        for name, cells in forward.items()
    }


def numbers(words: str) -> tuple[int, ...]:
    """Return numbers that commas divide."""
    return tuple(int(word) for word in words.split(","))


def asked() -> argparse.Namespace:
    """Return what the command line wants; nothing asked means everything, kept beside this file."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", help="mechanisms; all when none is named")
    parser.add_argument("--lengths", type=numbers, help="of text; 512,2048,8192 when left out")
    parser.add_argument("--backward", action="store_true", help="also forward + backward")
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--decode", action="store_true", help="steps of decoding")
    parser.add_argument("--targets", action="store_true", help="what the fast paths promise")
    parser.add_argument("--json", type=Path, help="where to keep the numbers")
    wants = parser.parse_args()
    named = bool(wants.names) and not (wants.decode or wants.targets)
    wants.forward = bool(named or wants.lengths or wants.backward)
    if not (wants.forward or wants.decode or wants.targets):
        everything = wants.dtype == "float32"
        wants.forward, wants.backward, wants.decode, wants.targets = True, everything, everything, everything
        wants.json = wants.json or (Path(__file__).with_suffix(".json") if everything else None)
    for name in wants.names:
        build(name, heads=HEADS, head_dim=WIDTH)  # refuses a name nobody knows before an hour has gone
    wants.names = wants.names or list(MECHANISMS)
    return wants


def main() -> int:
    """Measure what was asked for, print tables, keep the numbers."""
    wants = asked()
    torch.set_num_threads(1)
    dtype, lengths = getattr(torch, wants.dtype), wants.lengths or LENGTHS
    settings = {
        "batch": 1, "heads": HEADS, "head_dim": WIDTH, "dtype": wants.dtype,
        "threads": 1, "rounds": ROUNDS, "torch": torch.__version__,
    }  # fmt: skip
    machine = f"{platform.machine()} {os.cpu_count()} cores, python {platform.python_version()}"
    results: dict[str, Any] = {"machine": machine, "settings": settings}
    parts: dict[str, Callable[[], object]] = {
        "forward": lambda: grown(wants.names, lengths, dtype, backward=False),
        "growth": lambda: growth(results["forward"]),
        "backward": lambda: grown(wants.names, lengths, dtype, backward=True),
        "decode": lambda: decoded(wants.names, HELD),
        "targets": lambda: judged(results, wants.dtype),
    }
    for part, measure in parts.items():
        if getattr(wants, "forward" if part == "growth" else part):
            results[part] = measure()
            if wants.json:  # after every part: the last may come an hour later, or never
                text = json.dumps(results, indent=1, ensure_ascii=False) + "\n"
                wants.json.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
