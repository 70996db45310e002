"""A child process ends within its limits, whatever it does, and says why in one line."""

import sys

import numpy as np
import pytest

from nhin.sandbox import Sandbox, SandboxError

WORKER = """
import os, time
from nhin.sandbox import serve

def handle(values, arrays):
    if values["do"] == "loop":
        while True:
            pass
    if values["do"] == "fill":
        return {}, [bytearray(2**30)]
    if values["do"] == "crash":
        os.abort()
    if values["do"] == "open":
        open("/etc/passwd")
    if values["do"] == "print":
        os.write(1, b"noise")
    return {"sum": sum(float(array.sum()) for array in arrays)}, arrays

serve(handle)
"""


@pytest.fixture
def child(tmp_path, monkeypatch):
    (tmp_path / "worker.py").write_text(WORKER)
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path)])
    child = Sandbox("worker", 300 * 2**20, 2**20)
    yield child
    child.close()
    assert not child.is_open


def test_arrays_go_in_and_out_unchanged(child):
    arrays = [np.arange(6, dtype=np.int64).reshape(2, 3), np.zeros((0, 4), np.float32), np.ones(3, np.uint8)]
    for do in ("add", "print"):
        values, back = child.call({"do": do}, arrays, 5)
        assert values == {"sum": 18.0}
        for a, b in zip(arrays, back, strict=True):
            assert a.dtype == b.dtype
            np.testing.assert_array_equal(a, b)


@pytest.mark.skipif(sys.platform != "linux", reason="limits of a process are Linux's")
@pytest.mark.parametrize(
    ("do", "reason"),
    [("loop", "takes more than 1 seconds"), ("fill", "needs more than 300 MiB"), ("open", "failed")],
)
def test_no_limit_is_exceeded(child, do, reason):
    with pytest.raises(SandboxError, match=reason) as why:
        child.call({"do": do}, [], 1)
    assert "\n" not in str(why.value)


def test_a_crash_is_one_error_and_not_the_callers(child):
    with pytest.raises(SandboxError, match="crashed"):
        child.call({"do": "crash"}, [], 5)
    with pytest.raises(SandboxError):
        child.call({"do": "add"}, [], 5)


def test_an_answer_larger_than_allowed_is_refused(child):
    with pytest.raises(SandboxError):
        child.call({"do": "add"}, [np.zeros(2**21, np.uint8)], 5)


def test_a_system_that_starts_no_process_is_one_error(monkeypatch):
    def refuse(*args, **options):
        raise BlockingIOError(11, "Resource temporarily unavailable")

    monkeypatch.setattr("nhin.sandbox.subprocess.Popen", refuse)
    with pytest.raises(SandboxError, match="cannot be started: Resource"):
        Sandbox("worker", 2**28)
