"""The folder of a run: held by one process at a time, and left in order when a person stops it."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from nhin.errors import CheckpointError, UsageError


@contextmanager
def hold(folder: Path) -> Iterator[None]:
    """Make a run's folder and hold it; the hold ends with the process, however it ends.

    Raises:
        UsageError: Another process is training in it.
        CheckpointError: It cannot be made or written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / ".lock").open("w")
    except OSError as why:
        raise CheckpointError(f"cannot write in {folder}: {why.strerror or why}") from why
    with lock:
        try:
            import fcntl
        except ImportError:  # Windows: nothing to hold with, one run a folder is up to its user
            yield
            return
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as why:
            raise UsageError(
                f"another training is running in {folder}; give this one its own folder"
            ) from why
        yield


class Stop:
    """Whether a person asked to stop; true or false."""

    def __init__(self) -> None:
        self.asked = False

    def __bool__(self) -> bool:
        return self.asked

    def ask(self, number: int = 0, frame: FrameType | None = None) -> None:
        """Ask to stop after this step; asked a second time, stop at once."""
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True


@contextmanager
def stoppable() -> Iterator[Stop]:
    """Turn Ctrl-C and a polite kill into a wish to stop, granted between two steps."""
    stop = Stop()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    before = {number: signal.signal(number, stop.ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
