"""Random numbers of the experiments: independent generators, and signs from single bits."""

from collections.abc import Iterator

import numpy as np
from numpy.random import Generator, SeedSequence, default_rng
from numpy.typing import NDArray

from nhin.errors import UsageError

_WORD_BYTES = 8


def spawn_generators(seed: SeedSequence, count: int) -> list[Generator]:
    """Return independent generators of a seed, which itself stays as it is."""
    fresh = SeedSequence(seed.entropy, spawn_key=seed.spawn_key)
    return [default_rng(child) for child in fresh.spawn(count)]


def iter_blocks(repeats: int, block: int) -> Iterator[int]:
    """Split repeats into blocks, each at least 1; yield their sizes."""
    step = max(1, block)
    for start in range(0, repeats, step):
        yield min(step, repeats - start)


def random_bytes(generator: Generator, rows: int, count: int) -> NDArray[np.uint8]:
    """Draw (rows, count) bytes, every row from 64-bit words of its own."""
    words = -(-count // _WORD_BYTES)
    raw = generator.bit_generator.random_raw(rows * words).astype("<u8", copy=False)
    return raw.view(np.uint8).reshape(rows, words * _WORD_BYTES)[:, :count]


def check_sign_count(needed: int, limit: int, sizes: str, product: int) -> None:
    """Refuse an experiment of which one repeat has more signs than fit in memory.

    Raises:
        UsageError: It has.
    """
    if needed > limit:
        raise UsageError(f"{sizes} is {product}: too many signs to draw; the exact method draws none")
