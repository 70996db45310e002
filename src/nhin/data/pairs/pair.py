"""A pair of sequences, and what draws pairs."""

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Protocol

NO_ORIGIN = -1


@dataclass(frozen=True, slots=True)
class Pair:
    """A source and its target, as tokens.

    ``origins`` is the true alignment: for each token of the target the index of the source token that it
    comes from, or ``NO_ORIGIN``.
    """

    source: tuple[str, ...]
    target: tuple[str, ...]
    origins: tuple[int, ...]


class PairSource(Protocol):
    """Draws pairs of one kind.

    ``source_tokens`` and ``target_tokens`` are all tokens that can occur; ``separator`` stands between the
    tokens of a target in a text.
    """

    source_tokens: Sequence[str]
    target_tokens: Sequence[str]
    separator: str

    def draw(self, draw: Random, length: int) -> Pair:
        """Draw a pair whose source has about this length: exactly so many digits, symbols or words."""
        ...

    def split(self, text: str) -> tuple[str, ...]:
        """Split a text as a user writes it into source tokens, known or not."""
        ...
