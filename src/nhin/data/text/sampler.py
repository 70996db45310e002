"""Windows of text in an order that a place names: whoever starts there sees what those see who came there.

A window is ``length`` tokens to read and the token after each to foretell, so ``length`` + 1 in all.
Every epoch cuts the text anew, from a first token of its own, and draws its own order of the windows;
targets of two windows never overlap. A batch may begin in one epoch and end in the next.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from nhin.data.text.token_dataset import Split
from nhin.errors import CheckpointError, DataError, UsageError

MAX_WINDOWS = 10**8


@dataclass(frozen=True, slots=True)
class WindowPosition:
    """What comes next: window number ``index`` in the order of an epoch."""

    epoch: int = 0
    index: int = 0


@dataclass(frozen=True, slots=True)
class WindowBatch:
    """Where each window of a batch starts; ``after`` is what comes next."""

    starts: NDArray[np.int64]
    after: WindowPosition


@dataclass(frozen=True, slots=True)
class WindowSampler:
    """The windows of a text of ``tokens``, ``batch`` at a time.

    Raises:
        DataError: The text is shorter than one window, or has too many of them.
        UsageError: A number is below 1.
    """

    tokens: int
    length: int
    batch: int
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse what gives no windows."""
        if self.length < 1 or self.batch < 1 or self.seed < 0:
            raise UsageError("context and batch must be at least 1, seed at least 0")
        if self.tokens < 2:
            raise DataError(f"a text of {self.tokens} tokens has nothing to foretell")
        if self.tokens < self.length + 1:
            raise DataError(
                f"the text has {self.tokens} tokens, and a context of {self.length} needs "
                f"{self.length + 1}: the context may be {self.tokens - 1} at most"
            )
        if self.tokens // self.length > MAX_WINDOWS:
            raise DataError(
                f"{self.tokens} tokens in windows of {self.length} are over {MAX_WINDOWS} windows, "
                f"too many to shuffle: take a context of {-(-self.tokens // MAX_WINDOWS)} or more, or less text"
            )

    def phase(self, epoch: int) -> int:
        """Return the token at which an epoch's first window starts, below ``length``."""
        room = min(self.length, self.tokens - self.length)
        return int(np.random.default_rng([self.seed, epoch, 0]).integers(room))

    def count(self, epoch: int) -> int:
        """Count the windows of an epoch."""
        return (self.tokens - 1 - self.phase(epoch)) // self.length

    def window_starts(self, epoch: int) -> NDArray[np.int64]:
        """Return where the windows of an epoch start, in their order."""
        numbers = _permutation(self.count(epoch), self.seed, epoch)
        return numbers.astype(np.int64) * self.length + self.phase(epoch)

    def next_batch(self, position: WindowPosition) -> WindowBatch:
        """Draw the batch that comes at a place.

        Raises:
            CheckpointError: There is no such place.
        """
        if min(position.epoch, position.index) < 0 or position.index > self.count(position.epoch):
            raise CheckpointError(f"the text has no window {position.index} in epoch {position.epoch}")
        epoch, index, starts = position.epoch, position.index, np.empty(0, np.int64)
        while len(starts) < self.batch:
            numbers = _permutation(self.count(epoch), self.seed, epoch)
            some = numbers[index : index + self.batch - len(starts)].astype(np.int64)
            starts = np.concatenate([starts, some * self.length + self.phase(epoch)])
            index += len(some)
            if index == len(numbers):
                epoch, index = epoch + 1, 0
        return WindowBatch(starts, WindowPosition(epoch, index))

    def iter_batches(self, position: WindowPosition | None = None) -> Iterator[WindowBatch]:
        """Yield batches for ever, from a place on; starting there costs what one batch costs."""
        position = position or WindowPosition()
        while True:
            batch = self.next_batch(position)
            yield batch
            position = batch.after

    def rank_slice(self, rank: int, world: int) -> slice:
        """Return which part of every batch belongs to process ``rank`` of ``world``.

        Raises:
            UsageError: The batch does not come out even.
        """
        if self.batch % world:
            raise UsageError(f"a batch of {self.batch} does not divide among {world} processes")
        share = self.batch // world
        return slice(rank * share, (rank + 1) * share)


@lru_cache(maxsize=2)  # one for training, and the next epoch's where a batch runs over
def _permutation(count: int, seed: int, epoch: int) -> NDArray[np.int32]:
    numbers = np.arange(count, dtype=np.int32)
    np.random.default_rng([seed, epoch, 1]).shuffle(numbers)
    return numbers


def read_windows(split: Split, starts: Sequence[int] | NDArray[np.int64], length: int) -> NDArray[np.int64]:
    """Read windows: batch x (length + 1) tokens, the last of each only to be foretold."""
    return np.stack([split.read(int(start), int(start) + length + 1) for start in starts])
