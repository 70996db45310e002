"""A run's log: lines for people on the screen, and ``log.jsonl`` for programs."""

import json
import sys
import time
from pathlib import Path
from typing import Any, TextIO

from nhin.errors import CheckpointError
from nhin.files import write_atomic
from nhin.training.train_state import StepStats


class Log:
    """Writes means over the steps since the last line, every few seconds.

    Args:
        path: The JSONL file; lines after step ``done`` (written before a kill, done again now) are dropped.
        total: Steps in the budget.
        done: Steps done before.
        every: Seconds between two lines.
        unit: What samples are called.
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

    def step(self, stats: StepStats, samples: int) -> None:
        """Count one step of ``samples`` samples; write a line when it is time."""
        for name, value in {"loss": stats.loss, **stats.losses, "grad_norm": stats.grad_norm}.items():
            self._sums[name] = self._sums.get(name, 0.0) + value
        self._steps += 1
        self._samples += samples
        now = time.monotonic()
        if now - self._since >= self.every or stats.number >= self.total:
            self._write(stats, now)

    def _write(self, stats: StepStats, now: float) -> None:
        means = {name: round(total / self._steps, 5) for name, total in self._sums.items()}
        speed = self._samples / max(1e-9, now - self._since)
        left = (now - self._began) / (stats.number - self._first) * (self.total - stats.number)
        self.event("step", stats.number, **means, rate=stats.rate, samples_per_second=round(speed, 1))
        words = "  ".join(f"{name} {value:.4f}" for name, value in means.items())
        words += f"  rate {stats.rate:.2e}  {speed:.0f} {self.unit}/s  {_format_duration(left)} left"
        self.say(f"step {stats.number}/{self.total}  {words}")
        self._sums.clear()
        self._steps = self._samples = 0
        self._since = now

    def event(self, kind: str, step: int, **values: Any) -> None:
        """Write one line for programs."""
        line = {"event": kind, "step": step, "time": round(time.time(), 1), **values}
        try:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(line, ensure_ascii=False) + "\n")
        except OSError as why:
            raise CheckpointError(f"cannot write {self.path}: {why.strerror or why}") from why

    def say(self, words: str) -> None:
        """Write one line for people."""
        self.screen.write(words + "\n")
        self.screen.flush()


def _format_duration(seconds: float) -> str:
    """Return a time span as 2h05m or 3m20s."""
    minutes, rest = divmod(round(max(0.0, seconds)), 60)
    return f"{minutes // 60}h{minutes % 60:02d}m" if minutes >= 60 else f"{minutes}m{rest:02d}s"


def _drop_lines_after(path: Path, done: int) -> None:
    """Keep the whole lines up to step ``done``."""
    if not path.exists():
        return
    kept = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            keep = json.loads(line)["step"] <= done
        except (ValueError, KeyError, TypeError):
            keep = False
        if keep:
            kept.append(line + "\n")
    write_atomic(path, "".join(kept))
