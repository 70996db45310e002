"""Keys and values of all positions: the cache of mechanisms that may attend to any position.

Cost:    2 context G D numbers for one sequence: fewer heads (grouped, multi-query) mean less.
Source:  the usual practice; grouped: Ainslie et al. 2023, arXiv:2305.13245.
Differs: nothing.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from nhin.attention.base import CacheSpec, Keys, Mechanism, Queries
from nhin.attention.cache import PreallocatedCache
from nhin.errors import ShapeError

CachedKeys = Float[Tensor, "B L G D"]


class KVCache(PreallocatedCache):
    """Preallocated keys and values to which a mechanism attends.

    Args:
        spec: Its sizes.
        mechanism: Attends to the stored keys; None for a cache that only stores.
    """

    def __init__(self, spec: CacheSpec, mechanism: Mechanism | None = None) -> None:
        # Heads before positions: the keys of a head are then contiguous, as kernels read them.
        shape = (spec.kv_heads, spec.context, spec.head_dim)
        super().__init__(spec, {"keys": shape, "values": shape})
        self._mechanism = mechanism

    @property
    def contents(self) -> tuple[CachedKeys, CachedKeys]:
        """The stored keys and values, as views; shorter rows are unused at their end."""
        return self._prefix(self.max_length)

    def append(self, k: Keys, v: Keys) -> tuple[CachedKeys, CachedKeys]:
        """Add positions to every row and return all stored keys and values, without attending.

        Raises:
            ShapeError: They do not fit or the cache is full; nothing has been stored.
            UsageError: They require a gradient, which cannot pass through a cache.
        """
        self._check(k, k, v, None)
        self._write(k, v, (k.shape[1],) * self.spec.batch)
        self.lengths = tuple(length + k.shape[1] for length in self.lengths)
        return self.contents

    def truncate(self, length: int) -> None:
        """Drop every position from ``length`` on; exact, because positions do not change each other."""
        if not 0 <= length <= self.max_length:
            raise ShapeError(f"cannot truncate to {length}; the cache holds {self.max_length} positions")
        self.lengths = tuple(min(length, stored) for stored in self.lengths)

    def _prefill(self, q: Queries, k: Keys, v: Keys, new_lengths: tuple[int, ...]) -> Queries:
        assert isinstance(self._mechanism, Mechanism), "a cache without a mechanism was asked to attend"
        self._write(k, v, new_lengths)
        attend, count = self._mechanism._attend, q.shape[1]
        if self.has_equal_lengths:
            # Padding follows the real positions, so causality hides it.
            stored = self._prefix(min(self.max_length + count, self.spec.context), q.dtype)
            real = stored[0].shape[1] - self.max_length
            out = attend(q[:, :real], *stored, True, None)
            return torch.cat([out, torch.zeros_like(q[:, real:])], 1) if real < count else out
        if count == 1 and {"unordered", "keep"} <= self._mechanism.facts.abilities:
            stop = torch.tensor(self.lengths) + torch.tensor(new_lengths)
            stored = self._prefix(int(stop.max()), q.dtype)
            keep = (torch.arange(stored[0].shape[1]) < stop[:, None]).to(q.device)
            return attend(q, *stored, False, keep)
        # Rows of different lengths one at a time: slow, and right for any mechanism.
        out = torch.zeros_like(q)
        for row, (length, more) in enumerate(zip(self.lengths, new_lengths, strict=True)):
            k, v = (x[row : row + 1] for x in self._prefix(length + more, q.dtype))
            out[row : row + 1, :more] = attend(q[row : row + 1, :more], k, v, True, None)
        return out

    def _write(self, k: Keys, v: Keys, new_lengths: tuple[int, ...]) -> None:
        starts = set(self.lengths)  # one, unless rows have different lengths
        for name, x in (("keys", k), ("values", v)):
            x = x.transpose(1, 2)
            if len(starts) == 1:
                (start,) = starts
                fits = min(x.shape[2], self.spec.context - start)
                self.tensors[name].narrow(2, start, fits).copy_(x if fits == x.shape[2] else x[:, :, :fits])
            else:
                for row, (start, more) in enumerate(zip(self.lengths, new_lengths, strict=True)):
                    self.tensors[name][row, :, start : start + more] = x[row, :, :more]

    def _filled(self, x: Tensor) -> Tensor:
        return x[:, :, : self.max_length]

    def _prefix(self, stop: int, dtype: torch.dtype | None = None) -> tuple[CachedKeys, CachedKeys]:
        k = self.tensors["keys"].narrow(2, 0, stop).transpose(1, 2)
        v = self.tensors["values"].narrow(2, 0, stop).transpose(1, 2)
        return (k, v) if dtype in (None, self.spec.dtype) else (k.to(dtype), v.to(dtype))
