"""Which keys a query may attend to, as data: the drawn mask, the reference and the fast path share it.

Positions count along the keys: the last query has the position of the last key. Whether position ``p``
attends to position ``s`` may also depend on the number of keys; causally it is ``p + 1``, so that a causal
row is the bidirectional output on its visible prefix.
"""

from dataclasses import dataclass
from functools import reduce
from operator import or_
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Int
from torch import Tensor

QueryPositions = Int[Tensor, "T 1"]  # also: how many keys each query has
KeyPositions = Int[Tensor, " S"]
PairMask = Bool[Tensor, "T S"]


@runtime_checkable
class Pattern(Protocol):
    """Which keys are visible to which queries, apart from causality and padding."""

    def mask(self, p: QueryPositions, s: KeyPositions, size: QueryPositions) -> PairMask:
        """Return for every query and key whether the query may attend to the key.

        Args:
            p: Positions of the queries; negative for queries before the first key.
            s: Positions of the keys.
            size: Number of keys of each query.
        """
        ...


def dense_mask(pattern: Pattern, queries: int, keys: int, *, causal: bool = False) -> PairMask:
    """Return the complete mask of a pattern, to draw it or to compare with it."""
    s = torch.arange(keys)
    p = (torch.arange(queries) + keys - queries)[:, None]
    mask = pattern.mask(p, s, p + 1 if causal else torch.full_like(p, keys))
    return mask & (s <= p) if causal else mask


@dataclass(frozen=True)
class UnionMask:
    """Shows the keys that any of its parts shows."""

    parts: tuple[Pattern, ...]

    def mask(self, p: QueryPositions, s: KeyPositions, size: QueryPositions) -> PairMask:
        """See ``Pattern``."""
        return reduce(or_, (part.mask(p, s, size) for part in self.parts))


@dataclass(frozen=True)
class WindowMask:
    """Shows the nearest ``width`` keys, the query's own position included, and as many on the other side.

    With a dilation, as many keys, ``dilation`` positions apart.
    """

    width: int
    dilation: int = 1

    def mask(self, p: QueryPositions, s: KeyPositions, size: QueryPositions) -> PairMask:
        """See ``Pattern``."""
        gap = p - s
        near = gap.abs() < self.width * self.dilation
        return near if self.dilation == 1 else near & (gap % self.dilation == 0)


@dataclass(frozen=True)
class GlobalKeys:
    """Shows the first ``count`` keys to every query: sinks, or keys that are global."""

    count: int

    def mask(self, p: QueryPositions, s: KeyPositions, size: QueryPositions) -> PairMask:
        """See ``Pattern``."""
        return (s < self.count) & (p == p)


@dataclass(frozen=True)
class GlobalQueries:
    """Shows every key to the first ``count`` positions: queries that are global."""

    count: int

    def mask(self, p: QueryPositions, s: KeyPositions, size: QueryPositions) -> PairMask:
        """See ``Pattern``."""
        return (p >= 0) & (p < self.count) & (s == s)
