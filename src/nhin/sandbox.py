"""Run code on the files of strangers in a child process, with limits on its memory, time and files.

A library that decodes a hostile file may take gigabytes, run for ever or crash; none of this can be undone
inside the process that called it. The child is ended when it exceeds a limit, and the caller gets one error.
It can open no file after its first request. Messages are JSON and raw arrays, never pickles.

Limits of memory and files hold on Linux; elsewhere only the time on the clock is limited.
"""

import json
import os
import signal
import struct
import subprocess
import sys
import threading
import weakref
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from nhin.errors import NhinError

Message = tuple[dict[str, Any], list[NDArray]]
"""Values for JSON, and arrays."""
Handler = Callable[[dict[str, Any], list[NDArray]], Message]

_HEAD = struct.Struct("<I")
_MAX_HEAD = 2**16
_DTYPES = ("uint8", "float32", "int64")
_WAIT = 6
"""Seconds on the clock for one second of CPU time, so that a busy machine is not taken for a hang."""


class SandboxError(NhinError):
    """A child process did not answer; ``reason`` says why: "takes more than 5 seconds"."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(f"a child process {reason}")


class Sandbox:
    """A child process that runs ``serve`` in a module; it ends with this object, or with this process.

    Args:
        module: Its name, as for ``python -m``.
        memory: The most bytes that the child may take.
        max_answer: The most bytes of an answer's arrays.

    Raises:
        SandboxError: The system starts no more processes.
    """

    def __init__(self, module: str, memory: int, max_answer: int = 256 * 2**20) -> None:
        self._memory, self._max_answer, self._owner = memory, max_answer, os.getpid()
        self._busy = threading.Lock()
        self._process = start_child(module)
        self.close = weakref.finalize(self, end_child, self._process, os.getpid())

    @property
    def is_open(self) -> bool:
        """Whether it can be called: it runs, and was started by this process rather than a parent of it."""
        return self._owner == os.getpid() and self._process.poll() is None

    def call(self, values: dict[str, Any], arrays: Sequence[NDArray], seconds: float) -> Message:
        """Send a request and wait for the answer.

        Args:
            values: For JSON.
            arrays: Of the types uint8, float32 and int64.
            seconds: CPU time that the child may take from its start on, all its requests together.

        Raises:
            SandboxError: It exceeded a limit, crashed, or its answer is no message.
        """
        with self._busy:
            timer = threading.Timer(_WAIT * max(1.0, seconds), self._process.send_signal, [signal.SIGTERM])
            try:
                timer.start()
                limits = {"seconds": int(np.ceil(seconds)), "memory": self._memory}
                answer = ask_child(self._process, {"limits": limits, **values}, arrays, self._max_answer)
            except (OSError, EOFError) as why:
                self.close()
                raise SandboxError(self._explain(seconds)) from why
            finally:
                timer.cancel()
        if "error" in answer[0]:
            text = " ".join(str(answer[0]["error"]).split())[:300]
            raise SandboxError(self._explain_memory() if answer[0].get("memory") else f"failed: {text}")
        return answer

    def _explain(self, seconds: float) -> str:
        if self._process.returncode in (-15, -24):  # SIGTERM, by the timer, and SIGXCPU
            return f"takes more than {seconds:.0f} seconds"
        return f"crashed, perhaps because it needs {self._explain_memory().partition('needs ')[2]}"

    def _explain_memory(self) -> str:
        return f"needs more than {self._memory >> 20} MiB of memory"


def start_child(module: str) -> "subprocess.Popen[bytes]":
    """Start a module as a child process, its standard input and output as pipes.

    Raises:
        SandboxError: The system starts no more processes.
    """
    # The child finds modules where this process does, but not in the folder it was started in.
    path = os.pathsep.join(entry for entry in sys.path if entry)
    try:
        return subprocess.Popen(  # noqa: S603  # our own module
            [sys.executable, "-P", "-m", module],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": path, "PYTHONWARNINGS": "ignore"},
            start_new_session=True,  # Ctrl-C ends this process, which ends the child
        )
    except OSError as why:
        raise SandboxError(f"cannot be started: {why.strerror or why}") from why


def ask_child(
    process: "subprocess.Popen[bytes]", values: dict[str, Any], arrays: Sequence[NDArray], max_answer: int
) -> Message:
    """Send a request to a child process and wait for the answer; ``max_answer`` bounds its arrays.

    Raises:
        OSError, EOFError: It has ended, or its answer is no message.
    """
    assert process.stdin and process.stdout
    try:
        write_message(process.stdin, values, arrays)
        return read_message(process.stdout, max_answer)
    except (ValueError, KeyError, TypeError, RuntimeError) as why:
        raise EOFError from why


def end_child(process: "subprocess.Popen[bytes]", owner: int) -> None:
    """End a child process; in a fork of its owner only forget it."""
    if os.getpid() == owner:
        process.kill()
        process.wait()
    for pipe in (process.stdin, process.stdout):
        with suppress(OSError):
            if pipe is not None:
                pipe.close()


def serve(handle: Handler) -> None:
    """Answer the requests on standard input until it ends; what a handler raises is sent as an error.

    A request may set limits: those of a ``Sandbox`` do. Another caller of ``start_child`` may allow files to
    be opened for reading, and set no limit of time, since a deadline on the clock is its own.
    """
    requests, answers = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    with open(os.devnull, "wb") as nothing:  # noqa: PTH123  # what a library prints is no answer
        os.dup2(nothing.fileno(), 1)
    while True:
        try:
            values, arrays = read_message(requests, None)
        except EOFError:
            return
        if "limits" in values:
            _set_limits(**values.pop("limits"))
        try:
            answer = handle(values, arrays)
        except Exception as why:  # noqa: BLE001  # the caller decides what it means
            text = str(why) or type(why).__name__
            lacks_memory = isinstance(why, MemoryError) or "alloc" in text
            answer = {"error": text[:1000], "memory": lacks_memory}, []
        write_message(answers, *answer)


def _set_limits(memory: int, seconds: int | None = None, can_open: bool = False) -> None:
    try:
        import resource
    except ImportError:  # Windows has no such limits
        return
    if seconds is not None:
        hard = resource.getrlimit(resource.RLIMIT_CPU)[1]
        resource.setrlimit(resource.RLIMIT_CPU, (seconds, hard))
    limits = {"DATA": memory, "FSIZE": 0, "CORE": 0} | ({} if can_open else {"NOFILE": 0})
    for name, limit in limits.items():
        with suppress(OSError, ValueError):
            resource.setrlimit(getattr(resource, f"RLIMIT_{name}"), (limit, limit))


def write_message(pipe: IO[bytes], values: dict[str, Any], arrays: Sequence[NDArray]) -> None:
    """Write values for JSON, and arrays of the types uint8, float32 and int64."""
    shapes = [[array.dtype.name, *array.shape] for array in arrays]
    head = json.dumps([values, shapes]).encode()
    pipe.write(_HEAD.pack(len(head)) + head)
    for array in arrays:
        pipe.write(np.ascontiguousarray(array).data.cast("B") if array.size else b"")
    pipe.flush()


def read_message(pipe: IO[bytes], max_bytes: int | None) -> Message:
    """Read a message; ``max_bytes`` bounds its arrays.

    Raises:
        EOFError: The pipe ends.
        ValueError: It is no message.
    """
    (size,) = _HEAD.unpack(_read_exactly(pipe, _HEAD.size))
    if size > _MAX_HEAD:
        raise ValueError("the head is too long")
    values, shapes = json.loads(_read_exactly(pipe, size))
    arrays = []
    for name, *shape in shapes:
        if name not in _DTYPES or not all(isinstance(side, int) and side >= 0 for side in shape):
            raise ValueError("not an array")
        count = int(np.prod(np.array(shape, dtype=object), initial=1)) * np.dtype(name).itemsize
        max_bytes = None if max_bytes is None else max_bytes - count
        if max_bytes is not None and max_bytes < 0:
            raise ValueError("the answer is too large")
        arrays.append(np.frombuffer(_read_exactly(pipe, count), name).reshape(shape))
    return dict(values), arrays


def _read_exactly(pipe: IO[bytes], count: int) -> bytes:
    data = pipe.read(count)
    if len(data) < count:
        raise EOFError
    return data
