"""Try many damaged copies of a file or a folder, each in a process of its own, and count what goes wrong.

A harness gives two functions. ``make(random, folder)`` writes one mutant into an empty folder and returns a
sentence that describes it. ``attempt(folder)`` opens it as a user would. Opening it, or refusing it with an
NhinError of one line, is right; anything else is counted. Processes are forked, so that what a harness
imports is imported once: no thread may run before ``run``.
"""

import argparse
import os
import resource
import select
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random

from nhin.errors import NhinError

MAX_SECONDS = 10.0
MAX_BYTES = 1_000_000_000
_MAX_WAIT = 120.0  # on the clock: a process that waits for ever takes no CPU time
_MAX_MESSAGE = 2000

Make = Callable[[Random, Path], str]
Attempt = Callable[[Path], object]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one mutant did: ``opened``, ``refused``, ``traceback``, ``crashed`` or ``hung``, and its costs.

    ``bytes`` is its largest memory, with that of the largest child that it started and ended.
    """

    verdict: str
    message: str = ""
    seconds: float = 0.0
    bytes: int = 0

    @property
    def faults(self) -> list[str]:
        """The names of what is wrong; empty if all is well."""
        found = [self.verdict] if self.verdict in ("traceback", "crashed", "hung") else []
        found += [f"over {MAX_SECONDS:g} s"] * (self.seconds > MAX_SECONDS)
        return found + ["over 1 GB"] * (self.bytes > MAX_BYTES)


def try_here(attempt: Attempt, folder: Path) -> Outcome:
    """Try a mutant in this process, without a limit on its costs."""
    try:
        attempt(folder)
    except NhinError as why:
        text = str(why)
        return Outcome("refused" if text and "\n" not in text else "traceback", text)
    except BaseException as why:  # noqa: BLE001  # this is what a user would see as a traceback
        return Outcome("traceback", f"{type(why).__name__}: {why}")
    return Outcome("opened")


def try_apart(attempt: Attempt, folder: Path) -> Outcome:
    """Try a mutant in a forked process; its time is CPU time, with that of its own children."""
    readable, writable = os.pipe()
    pid = os.fork()
    if pid == 0:
        _run_child(attempt, folder, writable)
    os.close(writable)
    answer = _read_answer(readable)
    os.close(readable)
    if answer is None:
        os.kill(pid, signal.SIGKILL)
    _, status, usage = os.wait4(pid, 0)
    seconds, size = usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024
    if answer is None:
        return Outcome("hung", f"no answer within {_MAX_WAIT:g} s", seconds, size)
    verdict, _, rest = answer.partition("\n")
    if not verdict:
        return Outcome("crashed", f"exit status {status}", seconds, size)
    size, _, message = rest.partition("\n")
    return Outcome(verdict, message, seconds, int(size))


def _run_child(attempt: Attempt, folder: Path, writable: int) -> None:
    os.setsid()
    sys.stdout = sys.stderr = Path(os.devnull).open("w")  # noqa: SIM115  # open until the process ends
    outcome = try_here(attempt, folder)
    # wait4 reports the larger of the two alone.
    whose = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    peak = sum(resource.getrusage(one).ru_maxrss for one in whose) * 1024
    with os.fdopen(writable, "wb") as pipe:
        text = f"{outcome.verdict}\n{peak}\n{outcome.message[:_MAX_MESSAGE]}"
        pipe.write(text.encode(errors="replace"))
    os._exit(0)


def _read_answer(readable: int) -> str | None:
    """Read until the process closes its end; None if that takes too long."""
    parts, deadline = [], time.monotonic() + _MAX_WAIT
    while select.select([readable], [], [], max(0.0, deadline - time.monotonic()))[0]:
        part = os.read(readable, 65536)
        if not part:
            return b"".join(parts).decode()
        parts.append(part)
    return None


def run(name: str, make: Make, attempt: Attempt, count: int, seed: int, keep: Path | None = None) -> int:
    """Try mutants ``seed`` to ``seed + count - 1``; print the counts, and each fault as it is found.

    Args:
        name: What is mutated, for the report.
        make: Writes a mutant.
        attempt: Opens a mutant.
        count: Number of mutants.
        seed: Number of the first; the same number is the same mutant.
        keep: A folder for copies of the mutants that went wrong.

    Returns:
        The number of mutants that went wrong.
    """
    verdicts, faults, slowest, largest, failed = Counter(), Counter(), 0.0, 0, 0
    for number in range(seed, seed + count):
        with tempfile.TemporaryDirectory(prefix="nhin-fuzz-") as home:
            folder = Path(home) / "mutant"
            folder.mkdir()
            sentence = make(Random(f"{name} {number}"), folder)
            outcome = try_apart(attempt, folder)
            verdicts[outcome.verdict] += 1
            faults.update(outcome.faults)
            failed += bool(outcome.faults)
            slowest, largest = max(slowest, outcome.seconds), max(largest, outcome.bytes)
            if outcome.faults:
                costs = f"{outcome.seconds:.1f} s, {outcome.bytes / 1e6:.0f} MB"
                print(f"{number}: {', '.join(outcome.faults)}: {sentence}: {costs}: {outcome.message[:300]}")
                sys.stdout.flush()
                if keep is not None:
                    shutil.copytree(folder, keep / str(number), symlinks=True, dirs_exist_ok=True)
            if (number - seed) % 500 == 499:
                print(f"{name}: {number - seed + 1} done, {failed} went wrong", flush=True)
    kinds = ", ".join(f"{verdicts[verdict]} {verdict}" for verdict in sorted(verdicts))
    print(f"{name}: {count} mutants from seed {seed}: {kinds}")
    print(f"{name}: at most {slowest:.1f} CPU-seconds and {largest / 1e6:.0f} MB")
    print(f"{name}: {', '.join(f'{n} {fault}' for fault, n in faults.items()) or 'nothing went wrong'}")
    return failed


def main(name: str, make: Make, attempt: Attempt, count: int) -> int:
    """Call ``run`` with ``--count``, ``--seed`` and ``--keep`` from the command line; return an exit code."""
    parser = argparse.ArgumentParser(description=f"Open damaged {name} and count what goes wrong.")
    parser.add_argument("--count", type=int, default=count, help="number of mutants (%(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="number of the first (%(default)s)")
    parser.add_argument("--keep", type=Path, help="a folder for copies of what goes wrong")
    args = parser.parse_args()
    return int(run(name, make, attempt, args.count, args.seed, args.keep) > 0)
