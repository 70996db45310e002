"""Divide text into blocks, and assign each block to training, validation or test.

A block ends at the end of a document or a line where possible; documents shorter than half a block are
never divided. Splits get whole blocks, so validation and test hold connected text.
"""

import hashlib
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray

from nhin.config import check_fields
from nhin.data.text.sources import CorpusSource
from nhin.errors import DataError, UsageError
from nhin.ranges import SEED, Range

SPLITS = ("train", "validation", "test")
_MIN_BLOCK = 16
_MIN_BLOCKS_PER_SPLIT = 4  # in the smallest split, so that shares come out nearly right

TextBlock = list[tuple[str, bool]]
"""Pieces of text, and whether a document ends after each."""


@dataclass(frozen=True, slots=True)
class SplitConfig:
    """How to split text.

    ``blocks`` holds out random blocks, drawn by ``seed``; ``tail`` holds out the last characters,
    ``validation`` before ``test``. Both are shares of the characters. ``block`` is the longest block in
    characters (a short text has shorter ones), ``shard_tokens`` the number of tokens in a file.
    """

    split: Literal["blocks", "tail"] = "blocks"
    validation: Annotated[float, Range(0, below=1)] = 0.05
    test: Annotated[float, Range(0, below=1)] = 0.05
    block: Annotated[int, Range(1, 2**28)] = 2**16
    shard_tokens: Annotated[int, Range(1, 2**40)] = 2**26
    seed: Annotated[int, SEED] = 0

    def check(self) -> None:
        """Check the settings.

        Raises:
            UnknownName: ``split`` is not a method.
            UsageError: A number is out of range.
        """
        check_fields(self)
        if self.fractions[0] <= 0:
            raise UsageError(f"validation {self.validation} and test {self.test} leave nothing to train on")

    @property
    def fractions(self) -> tuple[float, float, float]:
        """The shares of the three splits; rounded, so that 1 - 0.05 - 0.05 is 0.9."""
        return round(1 - self.validation - self.test, 12), self.validation, self.test


@dataclass(frozen=True, slots=True)
class SplitPlan:
    """How to cut blocks, and for each block its length and the index of its split."""

    block_size: int
    borders: tuple[int, ...]
    sizes: NDArray[np.int64]
    split_ids: NDArray[np.int8]


def iter_blocks(source: CorpusSource, size: int, borders: Sequence[int] = ()) -> Iterator[TextBlock]:
    """Cut a source into blocks of at most ``size`` characters, and at each of ``borders``."""
    walls = [*borders, math.inf]
    block: TextBlock = []
    length = at = 0  # characters in the block, and from the beginning of the source to its end
    for document in source.documents():
        text = ""
        for piece in document:
            text, start = text + piece, 0
            while len(text) - start > (room := min(size - length, walls[0] - at)):
                end = _line_end(text, start, start + int(room)) if room < walls[0] - at else start + int(room)
                yield [*block, (text[start:end], False)]
                at += end - start
                block, length, start = [], 0, end
                if at == walls[0]:
                    del walls[0]
            text = text[start:]
        if not text:
            continue  # only an empty document leaves nothing here
        block.append((text, True))
        length, at = length + len(text), at + len(text)
        if 2 * length >= size or at == walls[0]:
            yield block
            block, length = [], 0
            if at == walls[0]:
                del walls[0]
    if block:
        yield block


def _line_end(text: str, start: int, end: int) -> int:
    """Return the end of the last line in the second half of a block; ``end`` if no line ends there."""
    newline = text.rfind("\n", (start + end) // 2, end)
    return end if newline < 0 else newline + 1


class CorpusStats:
    """The number of documents, the size of each block, and a hash; blocks are added one by one."""

    def __init__(self, blocks: Iterable[TextBlock] = ()) -> None:
        self.documents = 0
        self.sizes: list[int] = []
        self._hash = hashlib.sha256()
        for block in blocks:
            self.add(block)

    def add(self, block: TextBlock) -> None:
        """Count one block."""
        self.sizes.append(sum(len(text) for text, _ in block))
        for text, ends in block:
            self._hash.update(text.encode() + b"\xff" * ends)  # 0xff never occurs in UTF-8
            self.documents += ends

    @property
    def sha256(self) -> str:
        """The SHA-256 of all documents."""
        return self._hash.hexdigest()


def plan_splits(source: CorpusSource, stats: CorpusStats, config: SplitConfig) -> SplitPlan:
    """Assign each block to a split, so that every split with a share gets text.

    Raises:
        DataError: The text is too short for that.
    """
    total, shares = sum(stats.sizes), [share for share in config.fractions if share]
    if total < max(2, len(shares)):
        words = "is empty" if not total else f"has only {total} character{'s'[: total > 1]}"
        raise DataError(f"the text of {source.name} {words}: too short to train on")
    if config.split == "tail":
        ends = [int(config.fractions[0] * total), int(round(1 - config.test, 12) * total), total]
        borders = tuple(sorted({end for end in ends if 0 < end < total}))
        sizes = np.array(CorpusStats(iter_blocks(source, config.block, borders)).sizes, np.int64)
        split_ids = np.searchsorted(ends, np.cumsum(sizes) - sizes, side="right").astype(np.int8)
        size = config.block
    else:
        size = min(config.block, max(_MIN_BLOCK, int(total * min(shares) / _MIN_BLOCKS_PER_SPLIT)))
        stats = stats if size == config.block else CorpusStats(iter_blocks(source, size))
        sizes = np.array(stats.sizes, np.int64)
        borders, split_ids = (), _assign_blocks(sizes, config)
    for number, share in enumerate(config.fractions):
        if share and number not in split_ids:
            raise DataError(
                f"the text of {source.name} is too short to split: "
                f"{total} characters leave nothing for {SPLITS[number]}"
            )
    return SplitPlan(size, borders, sizes, split_ids)


def _assign_blocks(sizes: NDArray[np.int64], config: SplitConfig) -> NDArray[np.int8]:
    """Assign random blocks to validation and test until each has its share."""
    split_ids = np.zeros(len(sizes), np.int8)
    order = np.random.default_rng([config.seed, len(sizes)]).permutation(len(sizes))
    taken = 0
    for number in (1, 2):
        target, filled = config.fractions[number] * int(sizes.sum()), 0
        # The first block always; then each one that brings the split nearer to its share.
        while target and taken < len(order) and (not filled or filled + sizes[order[taken]] / 2 <= target):
            split_ids[order[taken]] = number
            filled += int(sizes[order[taken]])
            taken += 1
    return split_ids
