"""Where in a text a recurrent model is: the one state that it reads on from."""

from collections.abc import Mapping, Sequence

from jaxtyping import Float, Int
from torch import Tensor

from nhin.attention.base import Cache, Keys, Queries
from nhin.errors import ShapeError, UsageError

MemoryTokens = Float[Tensor, "B memory C"]


class RecurrentCache(Cache):
    """The memory that a segment reads, and what every block holds of the segment.

    Args:
        memory: What the segment reads.
        caches: One empty state per block.
    """

    def __init__(self, memory: MemoryTokens, caches: Sequence[Cache]) -> None:
        self.memory, self.caches = memory, list(caches)
        self.lengths: tuple[int, ...] = (0,) * memory.shape[0]
        self.segment_position = 0
        self._empty_snapshots = [state.snapshot() for state in self.caches]

    @property
    def size(self) -> int:
        """Bytes taken, filled or not."""
        return self.memory.nbytes + sum(state.size for state in self.caches)

    def advance(self, count: int) -> None:
        """Count tokens that the states have read."""
        self.segment_position += count
        self.lengths = tuple(length + count for length in self.lengths)

    def start_segment(self, memory: MemoryTokens) -> None:
        """Begin a new segment that reads ``memory``."""
        for state, empty in zip(self.caches, self._empty_snapshots, strict=True):
            state.restore(empty)
        self.memory, self.segment_position = memory, 0

    def prefill(self, q: Queries, k: Keys, v: Keys, *, lengths: Sequence[int] | None = None) -> Queries:
        """Refuse: a passage is read by its model."""
        raise UsageError("a passage belongs to a whole model; call model(tokens, cache=[passage])")

    def snapshot(self) -> Mapping[str, object]:
        """Return a copy of what is held."""
        held = [state.snapshot() for state in self.caches]
        return {"lengths": self.lengths, "read": self.segment_position, "memory": self.memory, "states": held}

    def restore(self, snapshot: Mapping[str, object]) -> None:
        """Go back to what was held when ``snapshot`` was taken."""
        lengths, read, memory, held = (snapshot.get(key) for key in ("lengths", "read", "memory", "states"))
        if not (
            isinstance(lengths, tuple)
            and isinstance(read, int)
            and isinstance(held, list)
            and len(held) == len(self.caches)
            and isinstance(memory, Tensor)
            and memory.shape == self.memory.shape
        ):
            raise ShapeError("this snapshot is of another state; restore one taken from this state")
        for state, one in zip(self.caches, held, strict=True):
            state.restore(one)
        self.lengths, self.segment_position, self.memory = lengths, read, memory

    def truncate(self, length: int) -> None:
        """Forget every token from ``length`` on, within the segment that is being read."""
        longest = max(self.lengths, default=0)
        back = longest - length
        if not 0 <= back <= self.segment_position:
            raise UsageError(
                f"a passage of {longest} tokens cannot be truncated to {length}: its segment began at "
                f"{longest - self.segment_position}; take snapshot() before and restore(...) it"
            )
        for state, empty in zip(self.caches, self._empty_snapshots, strict=True):
            if back == self.segment_position:
                state.restore(empty)
            elif back:
                state.truncate(max(state.lengths, default=0) - back)
        self.advance(-back)

    def reorder(self, rows: Int[Tensor, " B"]) -> None:
        """Let row i continue what row ``rows[i]`` was."""
        for state in self.caches:
            state.reorder(rows)
        self.memory = self.memory.index_select(0, rows.to(self.memory.device))
