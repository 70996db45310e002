"""Worker processes that read pictures for the threads of this process, each with one thread of its own.

Files are opened and written here; only the pixels of a picture go to a worker, and its reading comes back.
So a worker that dies costs the one picture that it was reading, which is read once more.
"""

import json
import os
import queue
import subprocess
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from numpy.typing import NDArray

from nhin.errors import CheckpointError, NhinError, PictureError, ProcessError, UsageError
from nhin.image.decode import Picture
from nhin.reading.reading import Reading
from nhin.reading.reading_tree import parse_tree
from nhin.sandbox import ask_child, end_child, start_child

MODULE = "nhin.reading.read_worker"
MEMORY = 2 * 2**30
"""Bytes that a worker may take; the fullest page takes half."""
MAX_ANSWER = 256 * 2**20
_ERRORS: dict[str, type[NhinError]] = {
    "CheckpointError": CheckpointError,
    "UsageError": UsageError,
    "UnknownName": UsageError,
}


class ReadPool:
    """Reads pictures in worker processes; a ``PictureReader`` for any number of threads.

    Use it in a ``with`` block, which ends the processes.

    Args:
        settings: Arguments of ``Reader``, for JSON; ``threads`` is 1.
        workers: Processes.
        crop: Whether single words and lines are read, for which no detector is loaded.
        on_retry: Called with a sentence when a worker has died and its picture is read again.

    Raises:
        CheckpointError: The weights cannot be loaded.
        UsageError: They are not there, or a setting is invalid.
    """

    def __init__(
        self, settings: dict[str, Any], workers: int, crop: bool, on_retry: Callable[[str], None]
    ) -> None:
        self._settings, self._crop, self._on_retry = settings, crop, on_retry
        self._idle: queue.SimpleQueue[subprocess.Popen[bytes] | None] = queue.SimpleQueue()
        self._processes: set[subprocess.Popen[bytes]] = set()
        self._is_closed = False
        self._idle.put(self._start())  # the others when they are needed
        for _ in range(workers - 1):
            self._idle.put(None)

    def read_picture(self, picture: Picture, crop: bool, name: str) -> Reading:
        """Read a picture that is open, in a worker that is free.

        Raises:
            PictureError: It takes too much memory, or two workers died over it.
        """
        others, size = picture.others, (picture.width, picture.height)
        request = {"name": name, "crop": crop, "size": [*size, others]}
        worker = self._idle.get()
        try:
            for is_last in (False, True):
                worker = worker or self._start()
                with suppress(OSError, EOFError):
                    return self._ask(worker, request, [picture.pixels], name)
                worker = self._end(worker)
                if not (is_last or self._is_closed):
                    self._on_retry(f"a worker process ended while it read {name}, which is read once more")
            raise PictureError(f"{name} cannot be read: two worker processes ended over it")
        finally:
            self._idle.put(worker)

    def _ask(
        self, worker: "subprocess.Popen[bytes]", request: dict[str, Any], arrays: list[NDArray], name: str
    ) -> Reading:
        values, answer = ask_child(worker, request, arrays, MAX_ANSWER)
        if "refused" in values:
            raise _ERRORS.get(values["kind"], PictureError)(values["refused"])
        if values.get("memory"):
            raise PictureError(f"{name} needs more than {MEMORY >> 20} MiB of memory to be read")
        if "error" in values:
            raise ProcessError(f"a worker process failed on {name}: {values['error']}")
        return parse_tree(json.loads(answer[0].tobytes()))

    def _start(self) -> "subprocess.Popen[bytes]":
        """Start a worker and let it load the networks."""
        if self._is_closed:
            raise ProcessError("the worker processes have been ended")
        worker = start_child(MODULE)
        self._processes.add(worker)
        limits = {"memory": MEMORY, "can_open": True}
        try:
            request = {"limits": limits, "open": self._settings, "crop": self._crop}
            values, _ = ask_child(worker, request, [], MAX_ANSWER)
        except (OSError, EOFError) as why:
            self._end(worker)
            raise ProcessError("a worker process ended before it had loaded the networks") from why
        if values:
            self._end(worker)
            raise _ERRORS.get(values.get("kind", ""), CheckpointError)(
                values.get("refused") or values.get("error")
            )
        return worker

    def _end(self, worker: "subprocess.Popen[bytes] | None") -> None:
        if worker is not None:
            self._processes.discard(worker)
            end_child(worker, os.getpid())

    def close(self) -> None:
        """End all workers, whatever they do."""
        self._is_closed = True
        for worker in list(self._processes):
            end_child(worker, os.getpid())

    def __enter__(self) -> "ReadPool":
        return self

    def __exit__(self, *why: object) -> None:
        self.close()
