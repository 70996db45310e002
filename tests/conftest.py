"""What every test starts from: the same random numbers, and examples that come out the same everywhere."""

import os
import random
import sys

import numpy as np
import pytest
from hypothesis import settings

# Before torch is imported: threads that fight over a busy machine take minutes for what one does in seconds.
for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(name, "1")

settings.register_profile("house", deadline=None, derandomize=True, database=None)
settings.load_profile("house")


@pytest.fixture(autouse=True)
def same_randomness():
    """Start every test from the same random state, whatever ran before it."""
    random.seed(0)
    np.random.seed(0)  # noqa: NPY002 - for code under test that uses the old interface
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(0)


def pytest_collection_modifyitems(items):
    """Refuse names that hold an address: they differ from process to process, and tests run in two."""
    if named := [item.nodeid for item in items if " at 0x" in item.nodeid]:
        raise pytest.UsageError("give these cases ids of their own: " + ", ".join(named))
