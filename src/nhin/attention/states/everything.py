"""Keys and values of all that was read: the state of every mechanism that may look at any place.

Cost:    2 context G D numbers for one sequence: fewer heads (grouped, multi-query) mean less.
Source:  the usual practice; grouped: Ainslie et al. 2023, arXiv:2305.13245.
Differs: nothing.
"""

from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor

from nhin.attention.base import Keys, Mechanism, Queries, Room
from nhin.attention.states._held import Held
from nhin.errors import ShapeError

Past = Float[Tensor, "B held G D"]


class KeyValues(Held):
    """A preallocated store of keys and values that its mechanism looks at.

    Args:
        room: How much it must hold.
        mechanism: Looks; None for a store that only keeps.
    """

    def __init__(self, room: Room, mechanism: Mechanism | None = None) -> None:
        # Heads before places: the keys of a head then lie side by side, as kernels read them.
        shape = (room.kv_heads, room.context, room.head_dim)
        super().__init__(room, {"keys": shape, "values": shape})
        self._mechanism = mechanism

    @property
    def filled(self) -> tuple[Past, Past]:
        """The keys and values held so far, as views; shorter rows hold nothing at their end."""
        return self._upto(self.longest)

    def append(self, k: Keys, v: Keys) -> tuple[Past, Past]:
        """Add places to every row and return everything held, without looking.

        Raises:
            ShapeError: They do not fit or there is no room; nothing has been written.
            UsageError: They want a gradient, which cannot pass through a state.
        """
        self._check(k, k, v, None)
        self._write(k, v, (k.shape[1],) * self.room.batch)
        self.lengths = tuple(length + k.shape[1] for length in self.lengths)
        return self.filled

    def snapshot(self) -> Mapping[str, object]:
        """Return a copy of what is held, not of what is still empty."""
        return {"lengths": self.lengths} | {
            name: x[:, :, : self.longest].clone() for name, x in self.tensors.items()
        }

    def restore(self, snapshot: Mapping[str, object]) -> None:
        """Go back to what was held when ``snapshot`` was taken."""
        lengths = snapshot.get("lengths")
        if not isinstance(lengths, tuple) or len(lengths) != self.room.batch:
            raise ShapeError("this snapshot is of another state; restore one taken from this state")
        self.lengths = lengths
        for name, x in self.tensors.items():
            x[:, :, : self.longest] = snapshot[name]  # pyright: ignore[reportArgumentType] # a tensor

    def truncate(self, length: int) -> None:
        """Forget every place from ``length`` on; exact, because places do not change each other."""
        if not 0 <= length <= self.longest:
            raise ShapeError(
                f"cannot truncate to {length}; the cache holds {self.longest} places, so give 0 to that"
            )
        self.lengths = tuple(min(length, held) for held in self.lengths)

    def _read(self, q: Queries, k: Keys, v: Keys, new: tuple[int, ...]) -> Queries:
        assert self._mechanism is not None, "a store that only keeps was asked to look"
        self._write(k, v, new)
        places = q.shape[1]
        if self.even:
            # Padding stands after what is real, so causality hides it.
            held = self._upto(min(self.longest + places, self.room.context), q.dtype)
            real = held[0].shape[1] - self.longest
            out = self._mechanism(q[:, :real], *held, causal=True)
            return torch.cat([out, torch.zeros_like(q[:, real:])], 1) if real < places else out
        if places == 1 and {"unordered", "keep"} <= self._mechanism.facts.abilities:
            stop = torch.tensor(self.lengths) + torch.tensor(new)
            held = self._upto(int(stop.max()), q.dtype)
            keep = (torch.arange(held[0].shape[1]) < stop[:, None]).to(q.device)
            return self._mechanism(q, *held, keep=keep)
        return self._row_by_row(q, new)

    def _row_by_row(self, q: Queries, new: tuple[int, ...]) -> Queries:
        """Answer rows of different lengths one at a time: slow, and right for any mechanism."""
        out = torch.zeros_like(q)
        for row, (length, more) in enumerate(zip(self.lengths, new, strict=True)):
            k, v = (x[row : row + 1] for x in self._upto(length + more, q.dtype))
            out[row : row + 1, :more] = self._mechanism(q[row : row + 1, :more], k, v, causal=True)  # pyright: ignore[reportOptionalCall] # _read has asked
        return out

    def _write(self, k: Keys, v: Keys, new: tuple[int, ...]) -> None:
        rows = {length: slice(None) for length in self.lengths} if self.even else {}
        for name, x in (("keys", k), ("values", v)):
            x = x.transpose(1, 2)
            for start in rows:
                fits = min(x.shape[2], self.room.context - start)
                self.tensors[name].narrow(2, start, fits).copy_(x if fits == x.shape[2] else x[:, :, :fits])
            if not rows:
                for row, (start, more) in enumerate(zip(self.lengths, new, strict=True)):
                    self.tensors[name][row, :, start : start + more] = x[row, :, :more]

    def _upto(self, stop: int, dtype: torch.dtype | None = None) -> tuple[Past, Past]:
        k, v = (self.tensors[name].narrow(2, 0, stop).transpose(1, 2) for name in ("keys", "values"))
        return (k, v) if dtype in (None, self.room.dtype) else (k.to(dtype), v.to(dtype))
