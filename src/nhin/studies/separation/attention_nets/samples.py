"""Random samples of attention: the rows of the spikes, the signs y, the order of classes."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.random import SeedSequence
from numpy.typing import NDArray

from nhin.studies.separation.attention_nets.config import AttentionConfig
from nhin.studies.separation.outcomes import NETS
from nhin.studies.separation.sampling import check_sign_count, iter_blocks, random_bytes, spawn_generators

BLOCK, MAX_SIGNS = 1 << 22, 1 << 27  # signs drawn at once, and most of one repeat


@dataclass(frozen=True, slots=True)
class AttentionSamples:
    """Repeats of one experiment.

    Args:
        rows: (R, 4): the rows of the spikes of query and key of D1, then of D0; equal in self-attention.
        signs: (R, 1 or 4, d, m), -1 or 1: y, one for all networks or one for each.
        order: (R, K): the class of the queries in each class of rows; differs from it for "c1perm" only.
    """

    rows: NDArray[np.int64]
    signs: NDArray[np.int8]
    order: NDArray[np.int64]


def draw_samples(
    config: AttentionConfig, repeats: int, seed: SeedSequence, block: int = BLOCK
) -> Iterator[AttentionSamples]:
    """Draw repeats in blocks of about ``block`` signs; the size of the blocks does not change the samples.

    Raises:
        UsageError: One repeat has more signs than fit in memory.
    """
    nets = 1 if config.weights == "shared" else len(NETS)
    signs = nets * config.d * config.m
    check_sign_count(signs, MAX_SIGNS, "d x m", config.d * config.m)
    positions, bits, orders = spawn_generators(seed, 3)
    for size in iter_blocks(repeats, block // signs):
        rows = (positions.random((size, 4)) * config.n).astype(np.int64)
        if config.kind == "self":
            rows = rows[:, (0, 0, 2, 2)]
        data = random_bytes(bits, size, -(-signs // 8))
        y = np.unpackbits(data, axis=1, count=signs, bitorder="little").astype(np.int8) * 2 - 1
        shape = (size, nets, config.d, config.m)
        order = np.broadcast_to(np.arange(config.classes), (size, config.classes))
        if config.kind == "c1perm":
            order = np.stack([orders.permutation(config.classes) for _ in range(size)])
        yield AttentionSamples(rows, y.reshape(shape), order)
