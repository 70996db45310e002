"""A run's log: readable lines on the screen, and ``log.jsonl`` for programs."""

import json
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TextIO

from nhin.files import explain_os_error, read_bytes, write_atomic
from nhin.format import format_duration

_MAX_BYTES = 2**28


class Log:
    """Writes means over the steps since the last line, every few seconds.

    Args:
        path: The JSONL file; lines after step ``done`` and torn lines, left by a killed run, are dropped.
        total: Steps of the budget.
        done: Steps done before.
        every: Seconds between two lines.
        unit: The name of samples.
        screen: Where the readable lines go; standard error when None.

    Raises:
        CheckpointError: The file cannot be read or written.
    """

    def __init__(
        self,
        path: Path,
        total: int,
        done: int = 0,
        every: float = 10.0,
        *,
        unit: str = "crops",
        screen: TextIO | None = None,
    ) -> None:
        self.path, self.total, self.every, self.unit = path, total, every, unit
        self.screen = sys.stderr if screen is None else screen
        if damaged := _drop_lines_after(path, done):
            self.say(f"damaged lines dropped from {path}: {damaged}")
        self._sums: dict[str, float] = {}
        self._steps = self._samples = 0
        self._since = time.monotonic()
        self._began, self._first = self._since, done

    def step(self, step: int, metrics: Mapping[str, float], samples: int) -> None:
        """Add the metrics of one step; write a line when it is time."""
        for name, value in metrics.items():
            self._sums[name] = self._sums.get(name, 0.0) + value
        self._steps += 1
        self._samples += samples
        now = time.monotonic()
        if now - self._since >= self.every or step >= self.total:
            self._write(step, metrics["rate"], now)

    def _write(self, step: int, rate: float, now: float) -> None:
        del self._sums["rate"]  # the log holds the last one, not the mean
        means = {name: round(total / self._steps, 5) for name, total in self._sums.items()}
        speed = self._samples / max(1e-9, now - self._since)
        left = max(0.0, (now - self._began) / (step - self._first) * (self.total - step))
        self.event("step", step, **means, rate=rate, samples_per_second=round(speed, 1))
        words = "  ".join(f"{name} {value:.4f}" for name, value in means.items())
        words += f"  rate {rate:.2e}  {speed:.0f} {self.unit}/s  {format_duration(left)} left"
        self.say(f"step {step}/{self.total}  {words}")
        self._sums.clear()
        self._steps = self._samples = 0
        self._since = now

    def event(self, kind: str, step: int, **values: Any) -> None:
        """Append one line to ``log.jsonl``."""
        line = {"event": kind, "step": step, "time": round(time.time(), 1), **values}
        text = json.dumps(line, ensure_ascii=False) + "\n"
        with explain_os_error(f"write {self.path}"), self.path.open("a", encoding="utf-8") as file:
            file.write(text)

    def say(self, message: str) -> None:
        """Write one line to the screen."""
        self.screen.write(message + "\n")
        self.screen.flush()


def parse_log(path: Path) -> tuple[list[tuple[bytes, dict[str, Any]]], int]:
    """Read a ``log.jsonl``: its whole lines with their values, and the number of damaged ones.

    A last line without an end, which is being written or was torn by a kill, is left out and not counted.

    Raises:
        CheckpointError: The file cannot be read, or is too large.
    """
    *lines, _ = read_bytes(path, _MAX_BYTES).split(b"\n")
    rows = [(line, row) for line in lines if (row := _parse_line(line)) is not None]
    return rows, len(lines) - len(rows)


def _parse_line(line: bytes) -> dict[str, Any] | None:
    try:
        row = json.loads(line.decode())
    except (ValueError, RecursionError):
        return None
    return row if isinstance(row, dict) and type(row.get("step")) is int else None


def _drop_lines_after(path: Path, done: int) -> int:
    """Keep the whole lines up to step ``done``; return how many are damaged."""
    if not path.exists():
        return 0
    rows, damaged = parse_log(path)
    kept = b"".join(line + b"\n" for line, row in rows if row["step"] <= done)
    if len(kept) != path.stat().st_size:
        write_atomic(path, kept)
    return damaged
