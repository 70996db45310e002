"""Workers that are objects of a test instead of processes."""

import threading

import pytest

pytest.importorskip("fastapi", reason="the extra serve is not installed")

from nhin.serve.worker_process import WorkerDied

NUMBERS = {"pages": 1, "warnings": [], "width": 4, "height": 3}


class FakeWorker:
    """Answers each job with ``act(worker, values, data)``, which may crash it or wait until it is ended."""

    def __init__(self, act):
        self.act, self.is_open, self.ended = act, True, threading.Event()

    def open(self):
        pass

    def call(self, values, load):
        answer = self.act(self, values, load())
        if not self.is_open:
            raise WorkerDied("a worker ended")
        return answer

    def crash(self):
        self.is_open = False

    def hang(self):
        assert self.ended.wait(60), "nobody ended it"

    def kill(self):
        self.is_open = False
        self.ended.set()

    close = kill


@pytest.fixture
def fake():
    """Return the class of these workers."""
    return FakeWorker


@pytest.fixture
def numbers():
    """Return what a worker says of a file it has read."""
    return dict(NUMBERS)
