"""Random samples of the experiments: data, positions of spikes, and the signs y."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator, SeedSequence, default_rng
from numpy.typing import NDArray

from nhin.errors import UsageError
from nhin.studies.separation.config import HIGH, LOW, SPIKE, AttentionConfig, RegressionConfig
from nhin.studies.separation.outcomes import NETS

BLOCK = 1 << 21  # numbers drawn at once
_MAX_BYTES = 1 << 26  # of the signs of one regression, eight in a byte
_TOO_MANY = "too many signs to draw; the exact method draws none"
_MAX_SIGNS = 1 << 27  # of one experiment with attention, a byte each


@dataclass(frozen=True, slots=True)
class RegressionSamples:
    """Repeats of one experiment."""

    data: NDArray[np.float64]  # (R, 2, n): u of D1, with its spike, and of D0
    signs: NDArray[np.uint8]  # (R, 1 or 4, G, n): y, eight columns in a byte, the first in the lowest bit


@dataclass(frozen=True, slots=True)
class AttentionSamples:
    """Repeats of one experiment."""

    rows: NDArray[np.int64]  # (R, 4): rows of the spikes of query and key of D1, then of D0
    signs: NDArray[np.int8]  # (R, 1 or 4, d, m), -1 or 1: y, one for all networks or one for each
    order: NDArray[np.int64]  # (R, K): class of the queries in each class of rows


def draw_regression(
    config: RegressionConfig, repeats: int, seed: SeedSequence, block: int = BLOCK
) -> Iterator[RegressionSamples]:
    """Draw repeats in blocks of about ``block`` numbers; their size changes no sample."""
    n, groups, nets = config.n, -(-config.m // 8), _count_ys(config)
    size = nets * groups * n
    if size > _MAX_BYTES:
        raise UsageError(f"n x m is {n * config.m}: {_TOO_MANY}")
    uniform, positions, bits = spawn_generators(seed, 3)
    for count in _split(repeats, block // (2 * n + size // 4)):
        data = uniform.random((count, 2, n)) * (HIGH - LOW) + LOW
        data[np.arange(count), 0, (positions.random(count) * n).astype(np.int64)] = SPIKE
        yield RegressionSamples(data, _random_bytes(bits, count, size).reshape(count, nets, groups, n))


def draw_attention(
    config: AttentionConfig, repeats: int, seed: SeedSequence, block: int = BLOCK
) -> Iterator[AttentionSamples]:
    """Draw repeats in blocks of about ``block`` signs; their size changes no sample."""
    shape = _count_ys(config), config.d, config.m
    size = shape[0] * config.d * config.m
    if size > _MAX_SIGNS:
        raise UsageError(f"d x m is {config.d * config.m}: {_TOO_MANY}")
    positions, bits, orders = spawn_generators(seed, 3)
    for count in _split(repeats, block // size):
        rows = (positions.random((count, 4)) * config.n).astype(np.int64)
        if config.kind == "self":
            rows = rows[:, (0, 0, 2, 2)]
        data = _random_bytes(bits, count, -(-size // 8))
        y = np.unpackbits(data, axis=1, count=size, bitorder="little").astype(np.int8) * 2 - 1
        order = np.broadcast_to(np.arange(config.classes), (count, config.classes))
        if config.kind == "c1perm":
            order = np.stack([orders.permutation(config.classes) for _ in range(count)])
        yield AttentionSamples(rows, y.reshape(count, *shape), order)


def unpack_signs(signs: NDArray[np.uint8], m: int) -> NDArray[np.int8]:
    """Return the first m columns of groups (G, n) of bytes as signs (n, m)."""
    bits = np.unpackbits(signs[:, None, :], axis=1, bitorder="little")
    return bits.reshape(-1, signs.shape[1])[:m].T.astype(np.int8) * 2 - 1


def spawn_generators(seed: SeedSequence, count: int) -> list[Generator]:
    """Return independent generators of a seed, which itself stays as it is."""
    fresh = SeedSequence(seed.entropy, spawn_key=seed.spawn_key)
    return [default_rng(child) for child in fresh.spawn(count)]


def _count_ys(config: RegressionConfig | AttentionConfig) -> int:
    return 1 if config.weights == "shared" else len(NETS)


def _split(repeats: int, block: int) -> Iterator[int]:
    """Split repeats into blocks, each at least 1; yield their sizes."""
    step = max(1, block)
    for start in range(0, repeats, step):
        yield min(step, repeats - start)


def _random_bytes(generator: Generator, rows: int, count: int) -> NDArray[np.uint8]:
    """Draw (rows, count) bytes, every row from 64-bit words of its own."""
    words = -(-count // 8)
    raw = generator.bit_generator.random_raw(rows * words).astype("<u8", copy=False)
    return raw.view(np.uint8).reshape(rows, words * 8)[:, :count]
