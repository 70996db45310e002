"""Where in a text a recurrent model is: the one state that it reads on from."""

from collections.abc import Mapping, Sequence

from jaxtyping import Float, Int
from torch import Tensor

from nhin.attention.base import Keys, Queries, State
from nhin.errors import ShapeError, UsageError

Memory = Float[Tensor, "B memory C"]


class Passage(State):
    """The memory that a segment reads, and what every block holds of the segment.

    Args:
        memory: What the segment reads.
        states: One empty state per block.
    """

    def __init__(self, memory: Memory, states: Sequence[State]) -> None:
        self.memory, self.states = memory, list(states)
        self.lengths: tuple[int, ...] = (0,) * memory.shape[0]
        self.read = 0
        self._empty = [state.snapshot() for state in self.states]

    @property
    def size(self) -> int:
        """Bytes taken, filled or not."""
        return self.memory.nbytes + sum(state.size for state in self.states)

    def go_on(self, more: int) -> None:
        """Count tokens that the states have read."""
        self.read += more
        self.lengths = tuple(length + more for length in self.lengths)

    def turn(self, memory: Memory) -> None:
        """Begin a new segment that reads ``memory``."""
        for state, empty in zip(self.states, self._empty, strict=True):
            state.restore(empty)
        self.memory, self.read = memory, 0

    def prefill(self, q: Queries, k: Keys, v: Keys, *, lengths: Sequence[int] | None = None) -> Queries:
        """Refuse: a passage is read by its model."""
        raise UsageError("a passage belongs to a whole model; call model(tokens, cache=[passage])")

    def snapshot(self) -> Mapping[str, object]:
        """Return a copy of what is held."""
        held = [state.snapshot() for state in self.states]
        return {"lengths": self.lengths, "read": self.read, "memory": self.memory, "states": held}

    def restore(self, snapshot: Mapping[str, object]) -> None:
        """Go back to what was held when ``snapshot`` was taken."""
        lengths, read, memory, held = (snapshot.get(key) for key in ("lengths", "read", "memory", "states"))
        if not (
            isinstance(lengths, tuple)
            and isinstance(read, int)
            and isinstance(held, list)
            and len(held) == len(self.states)
            and isinstance(memory, Tensor)
            and memory.shape == self.memory.shape
        ):
            raise ShapeError("this snapshot is of another state; restore one taken from this state")
        for state, one in zip(self.states, held, strict=True):
            state.restore(one)
        self.lengths, self.read, self.memory = lengths, read, memory

    def truncate(self, length: int) -> None:
        """Forget every token from ``length`` on, within the segment that is being read."""
        longest = max(self.lengths, default=0)
        back = longest - length
        if not 0 <= back <= self.read:
            raise UsageError(
                f"a passage of {longest} tokens cannot be truncated to {length}: its segment began at "
                f"{longest - self.read}; take snapshot() before and restore(...) it"
            )
        for state, empty in zip(self.states, self._empty, strict=True):
            if back == self.read:
                state.restore(empty)
            elif back:
                state.truncate(max(state.lengths, default=0) - back)
        self.go_on(-back)

    def reorder(self, rows: Int[Tensor, " B"]) -> None:
        """Let row i continue what row ``rows[i]`` was."""
        for state in self.states:
            state.reorder(rows)
        self.memory = self.memory.index_select(0, rows.to(self.memory.device))
