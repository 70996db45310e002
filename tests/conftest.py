"""What every test starts from: the same random numbers, and examples that come out the same everywhere."""

import random
import sys

import numpy as np
import pytest
from hypothesis import settings

settings.register_profile("house", deadline=None, derandomize=True, database=None)
settings.load_profile("house")


@pytest.fixture(autouse=True)
def same_randomness():
    """Start every test from the same random state, whatever ran before it."""
    random.seed(0)
    np.random.seed(0)  # noqa: NPY002 - for code under test that uses the old interface
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(0)
