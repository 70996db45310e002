"""Which keys a query may look at, as data: the drawn mask, the slow twin and the fast path share it.

A place is where a query or key stands among the keys: the last query stands at the last key. Whether
place ``p`` sees place ``s`` may also depend on how many keys there are; looking causally, there are
``p + 1``, so that a causal row is the plain answer on its visible prefix.
"""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Int
from torch import Tensor

QueryPositions = Int[Tensor, "T 1"]  # of queries; also how many keys each has
KeyPositions = Int[Tensor, " S"]  # of keys
PairMask = Bool[Tensor, "T S"]


@runtime_checkable
class Pattern(Protocol):
    """A rule for who sees whom; causality and padding are not its concern."""

    def mask(self, p: QueryPositions, s: KeyPositions, size: QueryPositions) -> PairMask:
        """Tell for every query place and key place whether the one may see the other.

        Args:
            p: Where each query stands; negative for queries before the first key.
            s: Where each key stands.
            size: How many keys there are for each query.
        """
        ...


def dense_mask(pattern: Pattern, queries: int, keys: int, *, causal: bool = False) -> PairMask:
    """Return the whole mask of a pattern, to draw it or to compare with it."""
    s = torch.arange(keys)
    p = (torch.arange(queries) + keys - queries)[:, None]
    seen = pattern.mask(p, s, p + 1 if causal else torch.full_like(p, keys))
    return seen & (s <= p) if causal else seen


@dataclass(frozen=True)
class UnionMask:
    """Sees what any of its parts sees."""

    parts: tuple[Pattern, ...]

    def mask(self, p: QueryPositions, s: KeyPositions, size: QueryPositions) -> PairMask:
        """See ``Pattern``."""
        seen = self.parts[0].mask(p, s, size)
        for part in self.parts[1:]:
            seen = seen | part.mask(p, s, size)
        return seen


@dataclass(frozen=True)
class WindowMask:
    """Sees the nearest: causally exactly ``width`` keys, itself included; plainly as many on either side.

    With a dilation, every ``dilation``-th place, as many of them.
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
    """Everybody sees the first ``count`` keys: sinks, or keys that are global."""

    count: int

    def mask(self, p: QueryPositions, s: KeyPositions, size: QueryPositions) -> PairMask:
        """See ``Pattern``."""
        return (s < self.count) & (p == p)


@dataclass(frozen=True)
class GlobalQueries:
    """The first ``count`` places see everybody: queries that are global."""

    count: int

    def mask(self, p: QueryPositions, s: KeyPositions, size: QueryPositions) -> PairMask:
        """See ``Pattern``."""
        return (p >= 0) & (p < self.count) & (s == s)
