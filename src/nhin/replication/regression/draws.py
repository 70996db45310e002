"""What is random in one experiment: the data of D1 and D0, the place of the spike, the signs y."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.random import SeedSequence, default_rng
from numpy.typing import NDArray

from nhin.errors import UsageError
from nhin.replication.nets import NETS
from nhin.replication.regression.setting import HIGH, LOW, SPIKE, Setting

BLOCK, MOST = 1 << 21, 1 << 26  # numbers drawn at once, and most of one repeat
_BYTE = 8


@dataclass(frozen=True, slots=True)
class Draws:
    """Repeats of one experiment.

    Args:
        data: (R, 2, n): u of D1, with its spike, and of D0.
        signs: (R, 1 or 4, G, n): y, eight columns in the bits of a byte, the first in the lowest; 1 is +1.
    """

    data: NDArray[np.float64]
    signs: NDArray[np.uint8]


def draw(setting: Setting, repeats: int, seed: SeedSequence, block: int = BLOCK) -> Iterator[Draws]:
    """Draw repeats, block by block; how large the blocks are changes nothing that is drawn.

    Args:
        setting: Of the experiment.
        repeats: How many.
        seed: The same seed, the same draws.
        block: Most numbers held at once.

    Raises:
        UsageError: One repeat has more signs than memory is for.
    """
    n, groups = setting.n, -(-setting.m // _BYTE)
    nets = 1 if setting.weights == "shared" else len(NETS)
    if nets * groups * n > MOST:
        raise UsageError(f"n x m is {n * setting.m}: too many signs to draw; the exact method draws none")
    numbers, places, bits = (
        default_rng(child) for child in SeedSequence(seed.entropy, spawn_key=seed.spawn_key).spawn(3)
    )
    words = -(-nets * groups * n // _BYTE)
    step = max(1, block // (2 * n + nets * groups * n // 4))
    for start in range(0, repeats, step):
        many = min(step, repeats - start)
        data = numbers.random((many, 2, n)) * (HIGH - LOW) + LOW
        data[np.arange(many), 0, (places.random(many) * n).astype(np.int64)] = SPIKE
        raw = bits.bit_generator.random_raw(many * words).astype("<u8", copy=False).view(np.uint8)
        signs = raw.reshape(many, words * _BYTE)[:, : nets * groups * n].reshape(many, nets, groups, n)
        yield Draws(data, signs)


def unpacked(signs: NDArray[np.uint8], m: int) -> NDArray[np.int8]:
    """Return the first m columns of groups (G, n) of bytes as signs (n, m)."""
    bits = np.unpackbits(signs[:, None, :], axis=1, bitorder="little")
    return bits.reshape(-1, signs.shape[1])[:m].T.astype(np.int8) * 2 - 1
