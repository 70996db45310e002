"""Text in blocks, and who gets which: training, validation or test.

A block is a run of characters that ends where a document or a line ends, if it can; documents shorter
than half a block are never divided. Blocks go to the splits whole, so what is measured on lies together.
"""

import hashlib
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from nhin.data.text.sources import CorpusSource
from nhin.errors import DataError, UnknownName, UsageError

SPLITS = ("train", "validation", "test")
SPLIT_METHODS = ("blocks", "tail")
_MIN_BLOCK = 16
_MIN_BLOCKS_PER_SPLIT = 4  # blocks the smallest share should have, so that shares come out nearly right

TextBlock = list[tuple[str, bool]]
"""Pieces of text, and whether a document ends after each."""


@dataclass(frozen=True, slots=True)
class SplitConfig:
    """How text is divided.

    With ``blocks``, blocks drawn by ``seed`` are held out; with ``tail``, the last characters are,
    ``validation`` before ``test``. Both are shares of the characters. ``block`` is the longest block in
    characters (a short text has shorter ones), ``shard_tokens`` how many tokens a file holds.
    """

    split: Literal["blocks", "tail"] = "blocks"
    validation: float = 0.05
    test: float = 0.05
    block: int = 2**16
    shard_tokens: int = 2**26
    seed: int = 0

    def check(self) -> None:
        """Refuse what cannot be done.

        Raises:
            UnknownName: There is no such way to split.
            UsageError: A number is out of its bounds.
        """
        if self.split not in SPLIT_METHODS:
            raise UnknownName("way to split", self.split, SPLIT_METHODS)
        for name, share in zip(SPLITS[1:], self.fractions[1:], strict=True):
            if not 0 <= share < 1:
                raise UsageError(f"{name} is a share from 0 up to 1, not {share}")
        if self.fractions[0] <= 0:
            raise UsageError(f"validation {self.validation} and test {self.test} leave nothing to train on")
        if self.block < 1 or self.shard_tokens < 1 or self.seed < 0:
            raise UsageError("block and shard_tokens must be at least 1, seed at least 0")

    @property
    def fractions(self) -> tuple[float, float, float]:
        """The shares of the three splits; rounded, so that 1 - 0.05 - 0.05 is 0.9."""
        return round(1 - self.validation - self.test, 12), self.validation, self.test


@dataclass(frozen=True, slots=True)
class CorpusStats:
    """What going through a source tells: its size, the length of each block, and a name for what it holds."""

    characters: int
    documents: int
    sizes: NDArray[np.int64]
    sha256: str


@dataclass(frozen=True, slots=True)
class SplitPlan:
    """How to cut, and for each block that this gives its length and the number of its split."""

    block_size: int
    borders: tuple[int, ...]
    sizes: NDArray[np.int64]
    split_ids: NDArray[np.int8]


def iter_blocks(source: CorpusSource, size: int, borders: Sequence[int] = ()) -> Iterator[TextBlock]:
    """Cut a source into blocks of at most ``size`` characters, and at these places whatever stands there."""
    walls = [*borders, math.inf]
    block: TextBlock = []
    held = at = 0  # characters in the block, and from the beginning to its end
    for document in source.documents():
        text = ""
        for piece in document:
            text, start = text + piece, 0
            while len(text) - start > (room := min(size - held, walls[0] - at)):
                end = _line_end(text, start, start + int(room)) if room < walls[0] - at else start + int(room)
                yield [*block, (text[start:end], False)]
                at += end - start
                block, held, start = [], 0, end
                if at == walls[0]:
                    del walls[0]
            text = text[start:]
        if not text:
            continue  # an empty document: whatever a document leaves here is never empty
        block.append((text, True))
        held, at = held + len(text), at + len(text)
        if 2 * held >= size or at == walls[0]:
            yield block
            block, held = [], 0
            if at == walls[0]:
                del walls[0]
    if block:
        yield block


def _line_end(text: str, start: int, end: int) -> int:
    """Return where the last line before ``end`` ends; ``end`` itself when that is not past the middle."""
    found = text.rfind("\n", (start + end) // 2, end)
    return end if found < 0 else found + 1


class CorpusScanner:
    """Counts blocks as they go by, and names what they hold."""

    def __init__(self) -> None:
        self._sizes: list[int] = []
        self._documents = 0
        self._hash = hashlib.sha256()

    def add(self, block: TextBlock) -> None:
        """Count one block."""
        self._sizes.append(sum(len(text) for text, _ in block))
        for text, ends in block:
            self._hash.update(text.encode() + b"\xff" * ends)  # a byte that no UTF-8 has
            self._documents += ends

    def stats(self) -> CorpusStats:
        """Tell what went by."""
        sizes = np.array(self._sizes, np.int64)
        return CorpusStats(int(sizes.sum()), self._documents, sizes, self._hash.hexdigest())


def scan_blocks(blocks: Iterable[TextBlock]) -> CorpusStats:
    """Go through all blocks once."""
    tally = CorpusScanner()
    for block in blocks:
        tally.add(block)
    return tally.stats()


def plan_splits(source: CorpusSource, stats: CorpusStats, config: SplitConfig) -> SplitPlan:
    """Decide which block goes where, so that every split that was asked for gets text.

    Raises:
        DataError: The text is too short for that.
    """
    total, asked = stats.characters, [share for share in config.fractions if share]
    if total < max(2, len(asked)):
        words = "is empty" if not total else f"has only {total} character{'s'[: total > 1]}"
        raise DataError(f"the text of {source.name} {words}: too short to train on")
    if config.split == "tail":
        ends = [int(config.fractions[0] * total), int(round(1 - config.test, 12) * total), total]
        borders = tuple(sorted({end for end in ends if 0 < end < total}))
        sizes = scan_blocks(iter_blocks(source, config.block, borders)).sizes
        parts = np.searchsorted(ends, np.cumsum(sizes) - sizes, side="right").astype(np.int8)
        size = config.block
    else:
        size = min(config.block, max(_MIN_BLOCK, int(total * min(asked) / _MIN_BLOCKS_PER_SPLIT)))
        sizes = stats.sizes if size == config.block else scan_blocks(iter_blocks(source, size)).sizes
        borders, parts = (), _assign_blocks(sizes, config)
    for number, share in enumerate(config.fractions):
        if share and number not in parts:
            raise DataError(
                f"the text of {source.name} is too short to split: "
                f"{total} characters leave nothing for {SPLITS[number]}"
            )
    return SplitPlan(size, borders, sizes, parts)


def _assign_blocks(sizes: NDArray[np.int64], config: SplitConfig) -> NDArray[np.int8]:
    """Give blocks to validation and test, in an order drawn by the seed, until each has its share."""
    parts = np.zeros(len(sizes), np.int8)
    order = np.random.default_rng([config.seed, len(sizes)]).permutation(len(sizes))
    taken = 0
    for number in (1, 2):
        wanted, given = config.fractions[number] * int(sizes.sum()), 0
        # A block more is taken when that comes nearer to the share; the first one always.
        while wanted and taken < len(order) and (not given or given + sizes[order[taken]] / 2 <= wanted):
            parts[order[taken]] = number
            given += int(sizes[order[taken]])
            taken += 1
    return parts
