"""Batches of pairs as ids: a table of tokens, and a stream that goes on from any batch."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from random import Random

import numpy as np
from numpy.typing import NDArray

from nhin.data.pairs.pair import Pair, PairSource
from nhin.errors import CheckpointError
from nhin.text.charset import EOS, PAD, SOS, SPECIALS, UNK

MAX_TOKENS = 2**20
IdRows = NDArray[np.int64]


@dataclass(frozen=True)
class TokenTable:
    """Tokens with ids, which follow the special ids of ``text.charset``; other tokens are ``UNK``."""

    tokens: tuple[str, ...]
    _ids: dict[str, int] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Number the tokens, and refuse a stranger's table that is no table of texts."""
        if not all(isinstance(token, str) for token in self.tokens) or len(self.tokens) > MAX_TOKENS:
            raise CheckpointError("a table of tokens holds texts, and at most a million of them")
        ids = {token: i for i, token in enumerate(self.tokens, start=len(SPECIALS))}
        if len(ids) != len(self.tokens):
            raise CheckpointError("a table of tokens holds one token twice")
        object.__setattr__(self, "_ids", ids)

    def __len__(self) -> int:
        """Return the number of ids, special ones included."""
        return len(SPECIALS) + len(self.tokens)

    def encode(self, tokens: Sequence[str]) -> list[int]:
        """Return the ids of tokens."""
        return [self._ids.get(token, UNK) for token in tokens]

    def decode(self, ids: Sequence[int]) -> list[str]:
        """Return the tokens before the first EOS; without PAD and SOS."""
        out: list[str] = []
        for i in ids:
            if i == EOS:
                break
            if i not in (PAD, SOS):
                out.append(SPECIALS[i] if i < len(SPECIALS) else self.tokens[i - len(SPECIALS)])
        return out


@dataclass(frozen=True, slots=True)
class PairPosition:
    """The number of the next batch."""

    batch: int = 0


@dataclass(frozen=True, slots=True)
class PairStream:
    """Batches of pairs; each is drawn from its own number, so that a stream goes on from anywhere.

    Args:
        source: Draws the pairs.
        batch: Pairs of a batch.
        lengths: The shortest and the longest length, drawn alike often.
        seed: Of all batches.
    """

    source: PairSource
    batch: int
    lengths: tuple[int, int]
    seed: int

    def draw(self, number: int) -> list[Pair]:
        """Return the pairs of the batch of a number."""
        draw = Random(f"{self.seed}/{number}")  # a text seeds by its hash, the same everywhere
        return [self.source.draw(draw, draw.randint(*self.lengths)) for _ in range(self.batch)]

    def iter_batches(self, position: PairPosition) -> Iterator[tuple[list[Pair], PairPosition]]:
        """Yield batches from a position on, each with the position after it."""
        number = position.batch
        while True:
            number += 1
            yield self.draw(number - 1), PairPosition(number)


def encode_rows(table: TokenTable, rows: Sequence[Sequence[str]], *, ends: bool = False) -> IdRows:
    """Return the ids of sequences, one a row, padded with PAD; with ``ends`` from SOS to EOS."""
    encoded = [[SOS, *table.encode(row), EOS] if ends else table.encode(row) for row in rows]
    out = np.full((len(rows), max(map(len, encoded), default=0)), PAD, dtype=np.int64)
    for row, ids in zip(out, encoded, strict=True):
        row[: len(ids)] = ids
    return out
