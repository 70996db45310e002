"""Keys and values of all that was read: the state of every mechanism that may look at any place.

Cost:    2 context G D numbers for one sequence: fewer heads (grouped, multi-query) mean less.
Source:  the usual practice; grouped: Ainslie et al. 2023, arXiv:2305.13245.
Differs: nothing.
"""

from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor

from nhin.attention.base import CacheSpec, Keys, Mechanism, Queries
from nhin.attention.cache import PreallocatedCache
from nhin.errors import ShapeError

CachedKeys = Float[Tensor, "B held G D"]


class KVCache(PreallocatedCache):
    """A preallocated store of keys and values that its mechanism looks at.

    Args:
        spec: How much it must hold.
        mechanism: Looks; None for a store that only keeps.
    """

    def __init__(self, spec: CacheSpec, mechanism: Mechanism | None = None) -> None:
        # Heads before places: the keys of a head then lie side by side, as kernels read them.
        shape = (spec.kv_heads, spec.context, spec.head_dim)
        super().__init__(spec, {"keys": shape, "values": shape})
        self._mechanism = mechanism

    @property
    def contents(self) -> tuple[CachedKeys, CachedKeys]:
        """The keys and values held so far, as views; shorter rows hold nothing at their end."""
        return self._prefix(self.max_length)

    def append(self, k: Keys, v: Keys) -> tuple[CachedKeys, CachedKeys]:
        """Add places to every row and return everything held, without looking.

        Raises:
            ShapeError: They do not fit or there is no room; nothing has been written.
            UsageError: They want a gradient, which cannot pass through a state.
        """
        self._check(k, k, v, None)
        self._write(k, v, (k.shape[1],) * self.spec.batch)
        self.lengths = tuple(length + k.shape[1] for length in self.lengths)
        return self.contents

    def snapshot(self) -> Mapping[str, object]:
        """Return a copy of what is held, not of what is still empty."""
        return {"lengths": self.lengths} | {
            name: x[:, :, : self.max_length].clone() for name, x in self.tensors.items()
        }

    def restore(self, snapshot: Mapping[str, object]) -> None:
        """Go back to what was held when ``snapshot`` was taken."""
        lengths = snapshot.get("lengths")
        if not isinstance(lengths, tuple) or len(lengths) != self.spec.batch:
            raise ShapeError("this snapshot is of another state; restore one taken from this state")
        self.lengths = lengths
        for name, x in self.tensors.items():
            x[:, :, : self.max_length] = snapshot[name]  # pyright: ignore[reportArgumentType] # a tensor

    def truncate(self, length: int) -> None:
        """Forget every place from ``length`` on; exact, because places do not change each other."""
        if not 0 <= length <= self.max_length:
            raise ShapeError(
                f"cannot truncate to {length}; the cache holds {self.max_length} places, so give 0 to that"
            )
        self.lengths = tuple(min(length, held) for held in self.lengths)

    def _prefill(self, q: Queries, k: Keys, v: Keys, new_lengths: tuple[int, ...]) -> Queries:
        assert self._mechanism is not None, "a store that only keeps was asked to look"
        self._write(k, v, new_lengths)
        places = q.shape[1]
        if self.has_equal_lengths:
            # Padding stands after what is real, so causality hides it.
            held = self._prefix(min(self.max_length + places, self.spec.context), q.dtype)
            real = held[0].shape[1] - self.max_length
            out = self._mechanism(q[:, :real], *held, causal=True)
            return torch.cat([out, torch.zeros_like(q[:, real:])], 1) if real < places else out
        if places == 1 and {"unordered", "keep"} <= self._mechanism.facts.abilities:
            stop = torch.tensor(self.lengths) + torch.tensor(new_lengths)
            held = self._prefix(int(stop.max()), q.dtype)
            keep = (torch.arange(held[0].shape[1]) < stop[:, None]).to(q.device)
            return self._mechanism(q, *held, keep=keep)
        return self._attend_row_by_row(q, new_lengths)

    def _attend_row_by_row(self, q: Queries, new_lengths: tuple[int, ...]) -> Queries:
        """Answer rows of different lengths one at a time: slow, and right for any mechanism."""
        out = torch.zeros_like(q)
        for row, (length, more) in enumerate(zip(self.lengths, new_lengths, strict=True)):
            k, v = (x[row : row + 1] for x in self._prefix(length + more, q.dtype))
            out[row : row + 1, :more] = self._mechanism(q[row : row + 1, :more], k, v, causal=True)  # pyright: ignore[reportOptionalCall] # _read has asked
        return out

    def _write(self, k: Keys, v: Keys, new_lengths: tuple[int, ...]) -> None:
        rows = {length: slice(None) for length in self.lengths} if self.has_equal_lengths else {}
        for name, x in (("keys", k), ("values", v)):
            x = x.transpose(1, 2)
            for start in rows:
                fits = min(x.shape[2], self.spec.context - start)
                self.tensors[name].narrow(2, start, fits).copy_(x if fits == x.shape[2] else x[:, :, :fits])
            if not rows:
                for row, (start, more) in enumerate(zip(self.lengths, new_lengths, strict=True)):
                    self.tensors[name][row, :, start : start + more] = x[row, :, :more]

    def _prefix(self, stop: int, dtype: torch.dtype | None = None) -> tuple[CachedKeys, CachedKeys]:
        k, v = (self.tensors[name].narrow(2, 0, stop).transpose(1, 2) for name in ("keys", "values"))
        return (k, v) if dtype in (None, self.spec.dtype) else (k.to(dtype), v.to(dtype))
