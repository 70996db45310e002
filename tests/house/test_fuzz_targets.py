"""Whatever bytes come through a door, the code behind it returns, or refuses them in one line."""

import contextlib
import sys
from importlib import import_module
from pathlib import Path
from random import Random

import pytest

pytest.importorskip("fastapi", reason="the extra serve is not installed")

FUZZ = Path(__file__).parents[2] / "scripts" / "fuzz"
COUNTS = {"tiff-pages": 300, "page-ranges": 300, "kept-pages": 200, "json": 200, "documents": 60}


@contextlib.contextmanager
def imported(*names):
    """Yield modules of scripts/fuzz, which are forgotten afterwards."""
    sys.path.insert(0, str(FUZZ))
    try:
        yield [import_module(name) for name in names]
    finally:
        sys.path.remove(str(FUZZ))
        for name in names:
            sys.modules.pop(name, None)


with imported("targets", "mutate") as (targets, mutate):
    pass


@pytest.mark.parametrize("name", targets.TARGETS)
def test_a_target_returns_or_refuses_any_bytes_in_one_line(name):
    seeds = targets.make_seeds(name)
    for data in seeds:
        targets.TARGETS[name](data)
    for number in range(COUNTS.get(name, 30)):
        random = Random(f"{name} {number}")
        data = random.choice(seeds)
        for _ in range(random.choice((1, 1, 2, 4))):
            data, _ = mutate.damage_bytes(random, data)
        targets.TARGETS[name](data)


FOUND = {
    "tiff-pages": [b"II+\0\x08\0\0\0" + b"\xff" * 8],  # an offset beyond 2**63
    "documents": [b"\xff.png\na"],  # a name that is no text, in JSON
    "file-lists": [b"x/..\na.png", b"x\0/[a]"],  # a path without a name, and one that no system has
}


@pytest.mark.parametrize("name", FOUND)
def test_what_a_fuzzer_found_stays_mended(name):
    for data in FOUND[name]:
        targets.TARGETS[name](data)


def test_a_target_that_fails_is_noticed():
    def fail(data):
        raise ValueError(data)

    with pytest.raises(ValueError, match="x"):
        targets.Target(fail, tuple)(b"x")


def test_an_error_of_two_lines_is_noticed():
    def fail(data):
        raise targets.UsageError("two\nlines")

    with pytest.raises(AssertionError, match="not one line"):
        targets.Target(fail, tuple)(b"x")
