"""Freed memory stays with the process."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[2] / "src"

SCRIPT = """
import resource
import numpy as np
from nhin.training.malloc import keep_freed_memory

def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

def used():
    pieces = [np.ones(2**21) for _ in range(4)]

if not keep_freed_memory():
    raise SystemExit(77)
used()
before = faults()
for _ in range(10):
    used()
print(faults() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="told to glibc alone")
def test_what_is_asked_for_again_is_not_asked_of_the_system():
    env = {**os.environ, "PYTHONPATH": str(SOURCE)}
    done = subprocess.run([sys.executable, "-c", SCRIPT], env=env, capture_output=True, text=True)
    if done.returncode == 77:
        pytest.skip("this C library has no mallopt")
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 1000  # were they given back, it would be 20000
