"""Measure a grid of cells: each is probed first, then timed in turn with the others of its situation."""

import datetime
import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from nhin.bench.cells import BASELINE, RECOMPUTE, BenchCell, BenchGrid, BenchRow
from nhin.bench.formulas import predict_bytes
from nhin.bench.probe import Probe
from nhin.bench.results import BenchSettings, merge_rows
from nhin.bench.timing import Clock, Rounds, bootstrap_median, time_in_turn
from nhin.bench.work import build_bench_mechanism, build_work, check_phase, make_inputs, sampling_scale
from nhin.errors import NhinError
from nhin.format import format_bytes

BUDGET = "the time budget was over"
INTERRUPTED = "interrupted"
TOO_LONG = "would take too much of the time budget"
_UNFINISHED = (BUDGET, INTERRUPTED, TOO_LONG)
_ROUNDS_SECONDS, _ROUNDS_SHARE = 1.5, 0.4
"""The most seconds of a cell's rounds, and of its share of the budget; but three rounds are the least."""
_CALLS, _MOST_SHARES = 6, 5.0
"""Calls of a cell at least (probe, warm-up, rounds, those of the baseline), and the most shares it takes."""

Stop = Callable[[], str | None]  # why to stop now


@dataclass(frozen=True, slots=True)
class Bench:
    """What measuring needs.

    Args:
        settings: How to measure.
        probe: Runs a cell once and tells what it needs.
        clock: Times calls.
        stop: Why to stop now; None to go on.
        on_rows: Called with the rows of each situation as soon as it is measured.
        time_left: Seconds until the budget is over. What is left is shared out among the cells that are
            left: a cell gets fewer rounds where its share is small, and none where it needs several shares.
    """

    settings: BenchSettings
    probe: Callable[[BenchCell], Probe]
    clock: Clock
    stop: Stop
    on_rows: Callable[[Sequence[BenchRow]], None]
    time_left: Callable[[], float] = lambda: math.inf


def run_bench(grid: BenchGrid, bench: Bench, done: Iterable[BenchRow] = ()) -> tuple[BenchRow, ...]:
    """Measure the cells of a grid that are not done.

    Args:
        grid: The cells.
        bench: How to measure them.
        done: Rows measured before; those that a budget or Ctrl-C left out are measured again.

    Returns:
        A row for every cell, and the other rows of ``done``.
    """
    rows = {row.cell: row for row in done if row.skipped not in _UNFINISHED}
    groups = [group for group in grid.groups() if not all(cell in rows for cell in group)]
    left = sum(map(len, groups))
    for group in groups:
        new = measure_group(group, bench, tuple(rows.values()), bench.time_left() / left)
        left -= len(group)
        rows |= {row.cell: row for row in new}
        bench.on_rows(new)
    return merge_rows(done, rows.values())


def measure_group(
    group: Sequence[BenchCell], bench: Bench, known: Sequence[BenchRow], share: float = math.inf
) -> list[BenchRow]:
    """Measure the cells of one situation, the baseline's first.

    Args:
        group: The cells.
        bench: How to measure them.
        known: Rows of shorter lengths.
        share: Seconds of the budget for each cell.
    """
    rows: dict[BenchCell, BenchRow] = {}
    seconds: dict[BenchCell, float] = {}
    for cell in group:
        rows[cell], seconds[cell] = _probe_cell(cell, bench, known, share)
    runnable = [cell for cell in group if rows[cell].skipped is None]
    for cell in _find_too_long(runnable, seconds, bench.time_left()):
        rows[cell] = replace(rows[cell], skipped=TOO_LONG)
        runnable.remove(cell)
    for part in _split_by_memory(runnable, rows, bench.settings.max_bytes):
        for cell, row in _time_cells(part, bench, rows, share).items():
            rows[cell] = row
    return [rows[cell] for cell in group]


def _find_too_long(
    cells: Sequence[BenchCell], seconds: Mapping[BenchCell, float], time_left: float
) -> list[BenchCell]:
    """Return those that the time left has no room for: the slowest, but for the baseline.

    Rounds are shared by all, so that without this one slow call could keep all others from having three.
    """
    too_long = []
    for cell in sorted(cells, key=lambda cell: (cell.mechanism != BASELINE, seconds[cell])):
        time_left -= (_CALLS - 1) * seconds[cell]
        if time_left < 0:
            time_left += (_CALLS - 1) * seconds[cell]
            too_long.append(cell)
    return too_long


def _probe_cell(
    cell: BenchCell, bench: Bench, known: Sequence[BenchRow], share: float
) -> tuple[BenchRow, float]:
    """Return a row with memory and operations, or with the reason why the cell cannot be timed.

    And the seconds of a call, zero where it was not made.
    """
    row = BenchRow(cell, date=datetime.datetime.now(datetime.UTC).date().isoformat())
    reason = bench.stop()
    if reason:
        return replace(row, skipped=reason), 0.0
    try:
        mechanism = build_bench_mechanism(replace(cell, device="cpu"))
        check_phase(mechanism, cell)
        row = replace(row, predicted_bytes=predict_bytes(mechanism, cell))
    except NhinError as why:
        return replace(row, skipped=str(why)), 0.0
    need, allowed = row.predicted_bytes or 0, bench.settings.max_bytes
    if need + input_bytes(cell) > allowed:
        reason = f"needs about {format_bytes(need)} of the {format_bytes(allowed)} allowed"
        return replace(row, skipped=reason), 0.0
    seconds = estimate_seconds([other for other in known if other.cell.curve == cell.curve], cell.length)
    seconds /= sampling_scale(cell)
    if seconds > bench.settings.max_seconds:
        reason = f"takes about {seconds:.0f} s, over {bench.settings.max_seconds:g} s"
        return replace(row, skipped=reason), 0.0
    if seconds * _CALLS > _MOST_SHARES * share:
        return replace(row, skipped=TOO_LONG), 0.0
    probe = bench.probe(cell)
    if probe.error:
        return replace(row, skipped=probe.error), 0.0
    row = replace(row, peak_bytes=probe.peak_bytes, flops=probe.flops, kernel=probe.kernel)
    return row, probe.seconds


def input_bytes(cell: BenchCell) -> int:
    """Return the bytes of queries, keys, values and the gradient of the output."""
    width = 4 if cell.dtype == "float32" else 2
    return 2 * width * cell.batch * cell.length * (cell.heads + cell.kv_heads) * cell.head_dim


def estimate_seconds(curve: Sequence[BenchRow], length: int) -> float:
    """Extrapolate the time of a call from shorter lengths, quadratically from only one; 0 from none."""
    shorter = sorted(
        (row.cell.length, row.seconds) for row in curve if row.seconds and row.cell.length < length
    )
    if not shorter:
        return 0.0
    power = 2.0
    if len(shorter) > 1:
        (short, less), (long, more) = shorter[-2:]
        power = min(2.5, max(1.0, math.log(more / less) / math.log(long / short)))
    long, more = shorter[-1]
    return more * (length / long) ** power


def _split_by_memory(
    cells: Sequence[BenchCell], rows: Mapping[BenchCell, BenchRow], max_bytes: int
) -> list[list[BenchCell]]:
    """Divide cells, whose caches are held at the same time, into parts that fit; the baseline is in each."""
    parts: list[list[BenchCell]] = []
    room = 0
    for cell in cells:
        row = rows[cell]
        # A sampled generation holds caches of eight lengths, four times the bytes of the longest.
        need = 4 * max(row.predicted_bytes or 0, row.peak_bytes or 0)
        if not parts or need > room:
            parts.append(list(parts[0][:1]) if parts and parts[0][0].mechanism == BASELINE else [])
            room = max_bytes
        parts[-1].append(cell)
        room -= need
    return parts


def _time_cells(
    cells: Sequence[BenchCell], bench: Bench, rows: Mapping[BenchCell, BenchRow], share: float
) -> dict[BenchCell, BenchRow]:
    """Time cells in turn and complete their rows."""
    shared = make_inputs(replace(cells[0], mechanism=BASELINE), bench.settings.seed)
    works = {}
    for cell in cells:
        inputs = make_inputs(cell, bench.settings.seed) if cell.mechanism == RECOMPUTE else shared
        works[cell.mechanism] = build_work(cell, inputs)
    baseline = BASELINE if BASELINE in works else None
    rounds = Rounds(bench.settings.repeats, min(_ROUNDS_SECONDS, _ROUNDS_SHARE * share))
    began = time.time_ns() // 10**6
    times = time_in_turn(works, baseline, bench.clock, rounds, lambda: bench.stop() is not None)
    out = {}
    for cell in cells:
        timed = times.get(cell.mechanism)
        if timed is None:
            out[cell] = replace(rows[cell], skipped=bench.stop() or INTERRUPTED)
            continue
        seconds = bootstrap_median(timed.seconds)
        row = replace(
            rows[cell], seconds=seconds.value, low=seconds.low, high=seconds.high,
            repeats=len(timed.seconds), rounds=tuple(timed.seconds), began=began,
            sampled=works[cell.mechanism].sampled,
        )  # fmt: skip
        if baseline:
            ratios = [mine / its for mine, its in zip(timed.seconds, timed.baseline, strict=True)]
            ratio = bootstrap_median(ratios)
            row = replace(row, ratio=ratio.value, ratio_low=ratio.low, ratio_high=ratio.high)
        out[cell] = row
    return out
