"""The service's side of one worker process: start it, send it jobs, end it."""

import os
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Protocol

import numpy as np

from nhin.errors import CheckpointError, NhinError
from nhin.sandbox import ask_child, end_child, start_child

MODULE = "nhin.serve.worker"
MAX_ANSWER = 96 * 2**20
"""Bytes of an answer."""
MAX_MEMORY = 2 * 2**30
"""Bytes that a worker may take; reading the fullest page takes a quarter."""
WorkerAnswer = tuple[dict[str, Any], bytes]
LoadData = Callable[[], bytes]


class WorkerDied(NhinError):
    """A worker process ended, or its answer is no message."""


class WorkerProtocol(Protocol):
    """A process that takes one job at a time."""

    @property
    def is_open(self) -> bool:
        """Whether it can be called."""
        ...

    def open(self) -> None:
        """Load its networks, in a thread."""
        ...

    def call(self, values: dict[str, Any], load: LoadData) -> WorkerAnswer:
        """Send a job and wait for its answer, in a thread."""
        ...

    def kill(self) -> None:
        """End it now, whatever it does; ``open`` and ``call`` then raise ``WorkerDied``."""
        ...

    def close(self) -> None:
        """End it and free what it had here."""
        ...


class WorkerProcess:
    """A process that reads one file at a time; ``open`` it first.

    Args:
        settings: Of its reader.

    Raises:
        SandboxError: The system starts no more processes.
    """

    def __init__(self, settings: dict[str, Any]) -> None:
        self._settings, self._process = settings, start_child(MODULE)

    def open(self) -> None:
        """Load the networks; close it if that fails.

        Raises:
            CheckpointError: They cannot be loaded.
            WorkerDied: It ended.
        """
        limits = {"memory": MAX_MEMORY, "can_open": True}
        values, _ = self.call({"limits": limits, "open": self._settings}, bytes)
        if "is_ready" not in values:
            raise CheckpointError(values.get("refused", "the reader cannot be loaded"))

    @property
    def is_open(self) -> bool:
        """Whether it can be called."""
        return self._process.poll() is None

    def call(self, values: dict[str, Any], load: LoadData) -> WorkerAnswer:
        """Send a job and wait for its answer.

        Args:
            values: For JSON.
            load: Returns the bytes of the file.

        Raises:
            WorkerDied: It ended.
        """
        data = np.frombuffer(load(), np.uint8)
        try:
            answer, arrays = ask_child(self._process, values, [data], MAX_ANSWER)
        except (OSError, EOFError) as why:
            self.kill()
            raise WorkerDied("a worker ended") from why
        return answer, arrays[0].tobytes() if arrays else b""

    def kill(self) -> None:
        """End it now, whatever it does."""
        with suppress(OSError):
            self._process.kill()

    def close(self) -> None:
        """End it and close its pipes."""
        end_child(self._process, os.getpid())
