"""The cache of a recurrent-memory model: its memory, and the caches of the current segment."""

from collections.abc import Mapping, Sequence

from jaxtyping import Float, Int
from torch import Tensor

from nhin.attention.base import Cache, Keys, Queries
from nhin.errors import ShapeError, UsageError

MemoryTokens = Float[Tensor, "B memory C"]


class RecurrentCache(Cache):
    """The memory before a segment, and every block's cache of the segment.

    Args:
        memory: The memory tokens before the segment.
        caches: One empty cache per block.
    """

    def __init__(self, memory: MemoryTokens, caches: Sequence[Cache]) -> None:
        self.memory, self.caches = memory, list(caches)
        self.lengths: tuple[int, ...] = (0,) * memory.shape[0]
        self.segment_position = 0
        self._empty_snapshots = [cache.snapshot() for cache in self.caches]

    @property
    def size(self) -> int:
        """Bytes allocated."""
        return self.memory.nbytes + sum(cache.size for cache in self.caches)

    def advance(self, count: int) -> None:
        """Count tokens that were appended to the caches."""
        self.segment_position += count
        self.lengths = tuple(length + count for length in self.lengths)

    def start_segment(self, memory: MemoryTokens) -> None:
        """Begin a new segment after ``memory``."""
        for cache, empty in zip(self.caches, self._empty_snapshots, strict=True):
            cache.restore(empty)
        self.memory, self.segment_position = memory, 0

    def prefill(self, q: Queries, k: Keys, v: Keys, *, lengths: Sequence[int] | None = None) -> Queries:
        """Refuse: only the whole model can continue."""
        raise UsageError("a recurrent cache belongs to a whole model; call model(tokens, cache=[cache])")

    def snapshot(self) -> Mapping[str, object]:
        """Return a copy of the contents."""
        states = [cache.snapshot() for cache in self.caches]
        return {
            "lengths": self.lengths,
            "read": self.segment_position,
            "memory": self.memory,
            "states": states,
        }

    def restore(self, snapshot: Mapping[str, object]) -> None:
        """Return to the contents of a ``snapshot``."""
        keys = ("lengths", "read", "memory", "states")
        lengths, position, memory, states = map(snapshot.get, keys)
        if not (
            isinstance(lengths, tuple)
            and isinstance(position, int)
            and isinstance(states, list)
            and len(states) == len(self.caches)
            and isinstance(memory, Tensor)
            and memory.shape == self.memory.shape
        ):
            raise ShapeError("this snapshot is of another cache; restore one taken from this cache")
        for cache, state in zip(self.caches, states, strict=True):
            cache.restore(state)
        self.lengths, self.segment_position, self.memory = lengths, position, memory

    def truncate(self, length: int) -> None:
        """Remove every token from ``length`` on, within the current segment."""
        total = max(self.lengths, default=0)
        count = total - length
        if not 0 <= count <= self.segment_position:
            raise UsageError(
                f"a recurrent cache of {total} tokens cannot be truncated to {length}: its segment starts at "
                f"{total - self.segment_position}; take snapshot() before and restore(...) it"
            )
        for cache, empty in zip(self.caches, self._empty_snapshots, strict=True):
            if count == self.segment_position:
                cache.restore(empty)
            elif count:
                cache.truncate(max(cache.lengths, default=0) - count)
        self.advance(-count)

    def reorder(self, rows: Int[Tensor, " B"]) -> None:
        """Let row i continue from row ``rows[i]``."""
        for cache in self.caches:
            cache.reorder(rows)
        self.memory = self.memory.index_select(0, rows.to(self.memory.device))
