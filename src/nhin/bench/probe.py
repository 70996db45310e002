"""Run one call of a cell in a process of its own: peak memory, operations, kernel, and whether it fits.

The process imports everything once and forks for every cell, so that a peak is that of one cell. A cell that
needs more memory or time than allowed ends there, and the benchmark goes on. On a GPU, and where processes
cannot fork, the call runs in this process.
"""

import json
import math
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from nhin.bench.backends import check_kernel
from nhin.bench.cells import RECOMPUTE, BenchCell
from nhin.bench.recorder import OpRecorder
from nhin.bench.work import build_work, make_inputs, sampling_scale
from nhin.errors import NhinError, ProcessError

_WARM_LENGTH = 16
_REPLY = 2**16
_WALL = 20  # seconds of the clock for one of a processor: other programs run too


@dataclass(frozen=True, slots=True)
class ProbeLimits:
    """The most that one call may need: seconds of a processor, and bytes besides the inputs."""

    seconds: float
    max_bytes: int


@dataclass(frozen=True, slots=True)
class Probe:
    """What one call of a cell needs; ``seconds`` on the clock, ``error`` says why it cannot be run."""

    peak_bytes: int | None = None
    flops: float = 0.0
    kernel: str = ""
    error: str | None = None
    seconds: float = 0.0


def probe_here(cell: BenchCell) -> Probe:
    """Run a cell once in this process."""
    try:
        return _probe(cell)
    except NhinError as why:
        return Probe(error=str(why))
    except (MemoryError, RuntimeError) as why:
        text = str(why).splitlines()[0][:120] if str(why) else ""
        is_memory = isinstance(why, MemoryError) or "memory" in text
        return Probe(error="needs more memory than allowed" if is_memory else text or type(why).__name__)


def _probe(cell: BenchCell) -> Probe:
    warm = replace(cell, length=min(_WARM_LENGTH, cell.length))
    with OpRecorder():
        build_work(warm, make_inputs(warm)).run()
    # What a generation holds at its end is what a step after all its positions holds.
    is_cached = cell.phase == "generate" and cell.mechanism != RECOMPUTE
    held = replace(cell, phase="decode") if is_cached else cell
    inputs = make_inputs(held)
    before = _current_bytes(cell.device)
    work = build_work(held, inputs)
    _reset_peak(cell.device)
    began = time.perf_counter()
    with OpRecorder() as ops:
        result = work.run()
        peak = _peak_bytes(cell.device)
    del result
    if is_cached:
        work = build_work(cell, inputs, whole=0)
        began = time.perf_counter()
        with OpRecorder() as ops:
            work.run()
    seconds = (time.perf_counter() - began) * work.scale / sampling_scale(cell)
    kernel = " ".join(ops.kernels) or ("math" if cell.mechanism.startswith("sdpa") else "")
    check_kernel(cell.mechanism, kernel)
    used = None if peak is None or before is None else max(0, peak - before)
    return Probe(used, ops.flops * work.scale, kernel, seconds=seconds)


def _current_bytes(device: str) -> int | None:
    """Return the memory of this process, or of its tensors on a GPU."""
    return torch.cuda.memory_allocated() if device == "cuda" else _read_status("VmRSS")


def _peak_bytes(device: str) -> int | None:
    return torch.cuda.max_memory_allocated() if device == "cuda" else _read_status("VmHWM")


def _reset_peak(device: str) -> None:
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
        return
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def _read_status(name: str) -> int | None:
    """Return a size from Linux's description of this process; None elsewhere."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return None
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith(name)), None)


class ProbeServer:
    """A process that forks for each cell; ``probe`` asks it."""

    def __init__(self, threads: int, limits: ProbeLimits) -> None:
        self.limits = limits
        # Without the growing threshold of glibc freed blocks return to the system, and the peak is exact.
        environment = os.environ | {"MALLOC_MMAP_THRESHOLD_": "65536", "OMP_NUM_THREADS": str(threads)}
        self._process = subprocess.Popen(  # noqa: S603 - this module
            [sys.executable, "-m", __name__, str(threads), str(limits.max_bytes), str(limits.seconds)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
            env=environment, start_new_session=True,
        )  # fmt: skip

    def probe(self, cell: BenchCell) -> Probe:
        """Run a cell once in the other process.

        Raises:
            ProcessError: The process has gone.
        """
        assert self._process.stdin and self._process.stdout
        try:
            self._process.stdin.write(json.dumps(asdict(cell)) + "\n")
            self._process.stdin.flush()
            return Probe(**json.loads(self._process.stdout.readline()))
        except (OSError, ValueError) as why:
            raise ProcessError("the process that measures memory has ended; run again with --resume") from why

    def close(self) -> None:
        """End the process and what it forked."""
        with suppress(OSError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            with suppress(OSError):
                if pipe:
                    pipe.close()


@contextmanager
def open_probe(device: str, threads: int, limits: ProbeLimits) -> Iterator[Any]:
    """Yield a function that probes a cell."""
    if device == "cuda" or not hasattr(os, "fork"):
        yield probe_here
        return
    server = ProbeServer(threads, limits)
    try:
        yield server.probe
    finally:
        server.close()


def _serve(threads: int, limits: ProbeLimits) -> None:
    """Answer each cell on standard input with a probe on standard output."""
    torch.set_num_threads(1)  # a fork has none of the threads that torch has started
    probe_here(BenchCell("sdpa", "train", _WARM_LENGTH))  # imports what would be imported in every fork
    for line in sys.stdin:
        answer = _fork(BenchCell(**json.loads(line)), threads, limits)
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


def _fork(cell: BenchCell, threads: int, limits: ProbeLimits) -> dict[str, Any]:
    """Probe a cell in a fork that is killed when its time is over."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        _limit(limits, threads)
        torch.set_num_threads(threads)
        os.write(write, json.dumps(asdict(probe_here(cell))).encode()[:_REPLY])
        os._exit(0)
    os.close(write)
    select.select([read], [], [], _WALL * limits.seconds)
    reply = os.read(read, _REPLY) if select.select([read], [], [], 0)[0] else b""
    os.close(read)
    if not reply:
        os.kill(child, signal.SIGKILL)
    status = os.waitpid(child, 0)[1]
    if reply:
        return json.loads(reply)
    over = os.WIFSIGNALED(status) and os.WTERMSIG(status) in (signal.SIGXCPU, signal.SIGKILL)
    return asdict(
        Probe(
            error=f"takes over {limits.seconds:g} s, or the system ended it" if over else "its process ended"
        )
    )


def _limit(limits: ProbeLimits, threads: int) -> None:
    """Let allocations beyond the allowed ones fail, and the process end after its time."""
    import resource

    seconds = math.ceil(time.process_time() + limits.seconds * threads)
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
    data = _read_status("VmData")
    if data is not None:
        resource.setrlimit(resource.RLIMIT_DATA, (data + limits.max_bytes, data + limits.max_bytes))


if __name__ == "__main__":
    _serve(int(sys.argv[1]), ProbeLimits(float(sys.argv[3]), int(sys.argv[2])))
