"""Random samples of the regression: the data of D1 and D0, the position of the spike, the signs y."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.random import SeedSequence
from numpy.typing import NDArray

from nhin.studies.separation.outcomes import NETS
from nhin.studies.separation.regression.config import HIGH, LOW, SPIKE, RegressionConfig
from nhin.studies.separation.sampling import check_sign_count, iter_blocks, random_bytes, spawn_generators

BLOCK, MAX_SIGN_BYTES = 1 << 21, 1 << 26  # numbers drawn at once, and most of one repeat
_BYTE = 8


@dataclass(frozen=True, slots=True)
class RegressionSamples:
    """Repeats of one experiment.

    Args:
        data: (R, 2, n): u of D1, with its spike, and of D0.
        signs: (R, 1 or 4, G, n): y, eight columns in the bits of a byte, the first in the lowest; 1 is +1.
    """

    data: NDArray[np.float64]
    signs: NDArray[np.uint8]


def draw_samples(
    config: RegressionConfig, repeats: int, seed: SeedSequence, block: int = BLOCK
) -> Iterator[RegressionSamples]:
    """Draw repeats in blocks of about ``block`` numbers; the size of the blocks does not change the samples.

    Raises:
        UsageError: One repeat has more signs than fit in memory.
    """
    n, groups = config.n, -(-config.m // _BYTE)
    nets = 1 if config.weights == "shared" else len(NETS)
    check_sign_count(nets * groups * n, MAX_SIGN_BYTES, "n x m", n * config.m)
    uniform, positions, bits = spawn_generators(seed, 3)
    for size in iter_blocks(repeats, block // (2 * n + nets * groups * n // 4)):
        data = uniform.random((size, 2, n)) * (HIGH - LOW) + LOW
        data[np.arange(size), 0, (positions.random(size) * n).astype(np.int64)] = SPIKE
        signs = random_bytes(bits, size, nets * groups * n).reshape(size, nets, groups, n)
        yield RegressionSamples(data, signs)


def unpack_signs(signs: NDArray[np.uint8], m: int) -> NDArray[np.int8]:
    """Return the first m columns of groups (G, n) of bytes as signs (n, m)."""
    bits = np.unpackbits(signs[:, None, :], axis=1, bitorder="little")
    return bits.reshape(-1, signs.shape[1])[:m].T.astype(np.int8) * 2 - 1
