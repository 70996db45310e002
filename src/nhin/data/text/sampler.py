"""Random windows of tokens, resumable at any position.

A window is ``length`` input tokens and the token after each to predict: ``length`` + 1 in all. Every epoch
starts its windows at a random first token and shuffles them; the targets of two windows never overlap.
A batch may begin in one epoch and end in the next.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated

import numpy as np
from numpy.typing import NDArray

from nhin.data.text.token_dataset import Split
from nhin.errors import CheckpointError, DataError, UsageError
from nhin.ranges import Range

MAX_WINDOWS = 10**8


@dataclass(frozen=True, slots=True)
class WindowPosition:
    """The next window: number ``index`` in the order of an epoch."""

    epoch: Annotated[int, Range(0, 2**62)] = 0
    index: Annotated[int, Range(0, 2**62)] = 0


@dataclass(frozen=True, slots=True)
class WindowBatch:
    """Where each window of a batch starts; ``after`` is the position of the next batch."""

    starts: NDArray[np.int64]
    after: WindowPosition


@dataclass(frozen=True, slots=True)
class WindowSampler:
    """The windows of ``tokens`` tokens, ``batch`` at a time.

    Raises:
        DataError: The text is shorter than one window, or has too many of them.
        UsageError: A setting is too small.
    """

    tokens: int
    length: int
    batch: int
    seed: int = 0

    def __post_init__(self) -> None:
        if self.length < 1 or self.batch < 1 or self.seed < 0:
            raise UsageError("context and batch must be at least 1, seed at least 0")
        if self.tokens < 2:
            raise DataError(f"a text of {self.tokens} tokens has nothing to predict")
        if self.tokens < self.length + 1:
            raise DataError(
                f"the text has {self.tokens} tokens, and a context of {self.length} needs "
                f"{self.length + 1}: the context may be {self.tokens - 1} at most"
            )
        if self.tokens // self.length > MAX_WINDOWS:
            raise DataError(
                f"{self.tokens} tokens in windows of {self.length} are over {MAX_WINDOWS} windows, "
                f"too many to shuffle: use a context of {-(-self.tokens // MAX_WINDOWS)} or more"
            )

    def phase(self, epoch: int) -> int:
        """Return the first token of an epoch's first window, below ``length``."""
        room = min(self.length, self.tokens - self.length)
        return int(np.random.default_rng([self.seed, epoch, 0]).integers(room))

    def count(self, epoch: int) -> int:
        """Count the windows of an epoch."""
        return (self.tokens - 1 - self.phase(epoch)) // self.length

    def window_starts(self, epoch: int) -> NDArray[np.int64]:
        """Return where the windows of an epoch start, in their order."""
        return self._slice_starts(epoch, 0, self.count(epoch))

    def _slice_starts(self, epoch: int, first: int, stop: int) -> NDArray[np.int64]:
        numbers = _permutation(self.count(epoch), self.seed, epoch)[first:stop]
        return numbers.astype(np.int64) * self.length + self.phase(epoch)

    def next_batch(self, position: WindowPosition) -> WindowBatch:
        """Return the batch at a position.

        Raises:
            CheckpointError: There is no such position.
        """
        if min(position.epoch, position.index) < 0 or position.index > self.count(position.epoch):
            raise CheckpointError(f"the text has no window {position.index} in epoch {position.epoch}")
        epoch, index, starts = position.epoch, position.index, np.empty(0, np.int64)
        while len(starts) < self.batch:
            some = self._slice_starts(epoch, index, index + self.batch - len(starts))
            starts = np.concatenate([starts, some])
            index += len(some)
            if index == self.count(epoch):
                epoch, index = epoch + 1, 0
        return WindowBatch(starts, WindowPosition(epoch, index))

    def iter_batches(self, position: WindowPosition | None = None) -> Iterator[WindowBatch]:
        """Yield batches forever from a position on; the batches before it cost nothing."""
        position = position or WindowPosition()
        while True:
            batch = self.next_batch(position)
            yield batch
            position = batch.after

    def rank_slice(self, rank: int, world: int) -> slice:
        """Return the slice of every batch that process ``rank`` of ``world`` takes.

        The rows are dealt in turn, so that all processes together hold the same rows in each part of a batch
        whose gradients are accumulated as one process would.

        Raises:
            UsageError: The batch cannot be divided evenly.
        """
        if self.batch % world:
            raise UsageError(f"a batch of {self.batch} does not divide among {world} processes")
        return slice(rank, None, world)


@lru_cache(maxsize=2)  # two, as a batch may run over into the next epoch
def _permutation(count: int, seed: int, epoch: int) -> NDArray[np.int32]:
    numbers = np.arange(count, dtype=np.int32)
    np.random.default_rng([seed, epoch, 1]).shuffle(numbers)
    return numbers


def read_windows(split: Split, starts: Sequence[int] | NDArray[np.int64], length: int) -> NDArray[np.int64]:
    """Read windows: batch x (length + 1) tokens, the last of each only a target."""
    return np.stack([split.read(int(start), int(start) + length + 1) for start in starts])
