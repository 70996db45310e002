"""A run's log: readable lines on the screen, and ``log.jsonl`` for programs."""

import json
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TextIO

from nhin.errors import CheckpointError
from nhin.files import write_atomic
from nhin.format import format_duration


class Log:
    """Writes means over the steps since the last line, every few seconds.

    Args:
        path: The JSONL file; lines after step ``done``, left by a killed run, are dropped.
        total: Steps of the budget.
        done: Steps done before.
        every: Seconds between two lines.
        unit: The name of samples.
        screen: Where the readable lines go; standard error when None.
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
        _drop_lines_after(path, done)
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
        try:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(line, ensure_ascii=False) + "\n")
        except OSError as why:
            raise CheckpointError(f"cannot write {self.path}: {why.strerror or why}") from why

    def say(self, message: str) -> None:
        """Write one line to the screen."""
        self.screen.write(message + "\n")
        self.screen.flush()


def _drop_lines_after(path: Path, done: int) -> None:
    """Keep the complete lines up to step ``done``."""
    if path.exists():
        lines = path.read_text(encoding="utf-8").splitlines()
        write_atomic(path, "".join(f"{line}\n" for line in lines if _is_up_to(line, done)))


def _is_up_to(line: str, step: int) -> bool:
    try:
        return json.loads(line)["step"] <= step
    except (ValueError, KeyError, TypeError):
        return False
