"""A service with workers that are objects of the test, and a client in the same process."""

import threading

import pytest

pytest.importorskip("fastapi", reason="the extra serve is not installed")

from nhin.serve.worker_process import WorkerDied


class FakeWorker:
    """Answers each job with ``act(values, data)``; an act may wait for ``killed``."""

    def __init__(self, act):
        self._act, self.is_open, self.killed = act, True, threading.Event()

    def call(self, values, load):
        answer = self._act(self, values, load())
        if self.killed.is_set() or not self.is_open:
            raise WorkerDied("a worker ended")
        return answer

    def kill(self):
        self.is_open = False
        self.killed.set()

    close = kill


def echo(worker, values, data):
    """Answer with the data."""
    return {"pages": 1, "warnings": [], "width": 4, "height": 3}, data


@pytest.fixture
def fake():
    """Return the class of fake workers, and what answers with the file."""
    return FakeWorker
