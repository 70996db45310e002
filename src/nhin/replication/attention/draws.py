"""What is random in one experiment: which rows hold the spikes, the signs y, the order of classes."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator, SeedSequence, default_rng
from numpy.typing import NDArray

from nhin.errors import UsageError
from nhin.replication.attention.setting import Setting
from nhin.replication.nets import NETS

BLOCK, MOST = 1 << 22, 1 << 27  # signs drawn at once, and most of one repeat
_WORD = 64


@dataclass(frozen=True, slots=True)
class Draws:
    """Repeats of one experiment.

    Args:
        rows: (R, 4): the rows of the spikes of query and key of D1, then of D0; alike in self-attention.
        signs: (R, 1 or 4, d, m), -1 or 1: y, one for all networks or one for each.
        order: (R, K): the class that rows of a class of queries have; as it stands but for "c1perm".
    """

    rows: NDArray[np.int64]
    signs: NDArray[np.int8]
    order: NDArray[np.int64]


def draw(setting: Setting, repeats: int, seed: SeedSequence, block: int = BLOCK) -> Iterator[Draws]:
    """Draw repeats, block by block; how large the blocks are changes nothing that is drawn.

    Args:
        setting: Of the experiment.
        repeats: How many.
        seed: The same seed, the same draws.
        block: Most signs held at once.

    Raises:
        UsageError: One repeat has more signs than memory is for.
    """
    places, bits, orders = (
        default_rng(child) for child in SeedSequence(seed.entropy, spawn_key=seed.spawn_key).spawn(3)
    )
    columns = 1 if setting.weights == "shared" else len(NETS)
    each = columns * setting.d * setting.m
    if each > MOST:
        raise UsageError(
            f"d x m is {setting.d * setting.m}: too many signs to draw; the exact method draws none"
        )
    step = max(1, block // each)
    for start in range(0, repeats, step):
        many = min(step, repeats - start)
        rows = (places.random((many, 4)) * setting.n).astype(np.int64)
        if setting.kind == "self":
            rows = rows[:, (0, 0, 2, 2)]
        shape = (many, columns, setting.d, setting.m)
        yield Draws(rows, signs_of(bits, many, each).reshape(shape), _order(orders, setting, many))


def signs_of(generator: Generator, many: int, each: int) -> NDArray[np.int8]:
    """Draw (many, each) signs, every row from 64-bit words of its own."""
    words = -(-each // _WORD)
    raw = generator.bit_generator.random_raw(many * words).astype("<u8", copy=False)
    bits = np.unpackbits(raw.view(np.uint8).reshape(many, words * 8), axis=1, count=each, bitorder="little")
    return bits.astype(np.int8) * 2 - 1


def _order(generator: Generator, setting: Setting, many: int) -> NDArray[np.int64]:
    if setting.kind != "c1perm":
        return np.broadcast_to(np.arange(setting.classes), (many, setting.classes))
    return np.stack([generator.permutation(setting.classes) for _ in range(many)])
