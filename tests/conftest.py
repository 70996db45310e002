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
os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # threads that wait shall not take a processor

TESTS = os.path.dirname(__file__)  # noqa: PTH120 - compared with names of code, which are strings


def pytest_addoption(parser):
    parser.addoption(
        "--seed", type=int, default=0, help="begin all random numbers, and hypothesis's examples, elsewhere"
    )


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config):
    """Hand the seed to hypothesis before it is configured; a worker of xdist gets both as options."""
    if seed := config.getoption("seed"):
        config.option.hypothesis_seed = str(seed)


def pytest_configure(config):
    seed = config.getoption("seed")
    # Examples are chosen by the names of tests alone unless a seed is given.
    settings.register_profile("house", deadline=None, derandomize=not seed, database=None)
    settings.load_profile("house")


def _seed_only_the_processor(shift):
    """Let ``torch.manual_seed`` seed the processor alone, and begin elsewhere where a test calls it.

    Torch's own notes the stack of every call for a GPU that may be there later, which costs more than a
    small mechanism does. The package itself keeps its seeds.
    """
    import torch

    plain = torch.manual_seed if torch.cuda.is_available() else torch.default_generator.manual_seed

    def manual_seed(seed):
        return plain(int(seed) + shift * sys._getframe(1).f_code.co_filename.startswith(TESTS))

    torch.manual_seed = manual_seed


@pytest.fixture(autouse=True)
def same_start(request):
    """Start every test from the same random state, and with one thread, whatever ran before it."""
    seed = request.config.getoption("seed")
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002 - for code under test that uses the old interface
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(seed)
        sys.modules["torch"].set_num_threads(1)  # commands set theirs, which stay


CHECKED = tuple(
    f"{TESTS}{os.sep}{folder}{os.sep}" for folder in ("attention", "contract", "layers", "models")
)


def pytest_ignore_collect(collection_path, config):
    """Import only the tests that run with shape checks where only they are asked for."""
    is_other = collection_path.suffix == ".py" and not str(collection_path).startswith(CHECKED)
    return (config.option.markexpr == "shapes" and is_other) or None


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config, items):
    """Mark the tests that run with shape checks, and refuse names that hold an address.

    Such a name differs from process to process, and tests run in two.
    """
    if "torch" in sys.modules:
        _seed_only_the_processor(1000 * config.getoption("seed"))
    for item in items:
        if str(item.path).startswith(CHECKED) and not item.get_closest_marker("compiled"):
            item.add_marker("shapes")
    if named := [item.nodeid for item in items if " at 0x" in item.nodeid]:
        raise pytest.UsageError("give these cases ids of their own: " + ", ".join(named))
