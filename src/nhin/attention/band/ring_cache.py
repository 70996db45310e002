"""Keys and values of the latest positions, and of the first few: the cache of a band.

A ring buffer: a new position overwrites the one that no later query sees, so memory and the cost of a step
do not grow with the length. A softmax does not depend on the order of the keys, so a step attends to the
slots as they are stored.

Cost:    2 min(context, first + window dilation) G D numbers for one sequence.
Source:  Jiang et al. 2023, arXiv:2310.06825, sec. 2 (the rolling buffer); Xiao et al. 2023,
         arXiv:2309.17453 (the first positions kept).
Differs: the ring of a dilated window has a multiple of the dilation slots, so that the visible slots are
         evenly spaced.
"""

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Int
from torch import Tensor

from nhin.attention.base import CacheSpec, Keys, Mechanism, Queries
from nhin.attention.cache import PreallocatedCache


class SlidingWindowCache(PreallocatedCache):
    """A ring of the latest positions, after the first ones, which stay.

    Args:
        spec: Its sizes; a context beyond the band takes no memory.
        mechanism: Attends when several positions come at once.
        window: Number of visible positions.
        dilation: Distance between them.
        global_keys: Positions at the start that stay visible; only without a dilation.
    """

    def __init__(
        self, spec: CacheSpec, mechanism: Mechanism, window: int, *, dilation: int = 1, global_keys: int = 0
    ) -> None:
        self._span, self._dilation, self._global_keys = window * dilation, dilation, global_keys
        self._slot_count = min(spec.context, global_keys + self._span)
        # Heads before slots: the keys of a head are then contiguous, as kernels read them.
        shape = (spec.kv_heads, self._slot_count, spec.head_dim)
        super().__init__(spec, {"keys": shape, "values": shape})
        self._mechanism = mechanism

    def _prefill(self, q: Queries, k: Keys, v: Keys, new_lengths: tuple[int, ...]) -> Queries:
        if q.shape[1] == 1:
            together = self.has_equal_lengths and all(new_lengths)
            return self._step_equal(q, k, v) if together else self._step_ragged(q, k, v, new_lengths)
        # After the stored positions in order, the new ones are as far from each other and from the ring as
        # in the sequence, and the first are still the first: only positions that no query sees are missing.
        if self.has_equal_lengths:
            out = self._attend_after(slice(None), self.max_length, q, k, v)
        else:
            out = torch.zeros_like(q)
            for row, (length, more) in enumerate(zip(self.lengths, new_lengths, strict=True)):
                one = slice(row, row + 1)
                new = (x[one, :more] for x in (q, k, v))
                out[one, :more] = self._attend_after(one, length, *new)
        self._write(k, v, new_lengths)
        return out

    def _attend_after(self, rows: slice, length: int, q: Queries, k: Keys, v: Keys) -> Queries:
        """Answer the new queries of some rows, which are all of one length."""
        stored = self._ordered_prefix(rows, length, q.dtype)
        return self._mechanism(q, *(torch.cat(x, 1) for x in zip(stored, (k, v), strict=True)), causal=True)

    def _step_equal(self, q: Queries, k: Keys, v: Keys) -> Queries:
        """Answer one query in every row, all at the same position."""
        position = self.max_length
        slot = self._slot_of(position)
        keys, values = self.tensors["keys"], self.tensors["values"]
        keys[:, :, slot], values[:, :, slot] = k[:, 0], v[:, 0]
        if position + 1 < self._slot_count or self._dilation > 1:
            # Slots are as far apart as their positions: their number is a multiple of the dilation.
            visible = slice(slot % self._dilation, min(position + 1, self._slot_count), self._dilation)
            keys, values = keys[:, :, visible], values[:, :, visible]
        return _attend_grouped(q, keys.to(q.dtype), values.to(q.dtype))

    def _step_ragged(self, q: Queries, k: Keys, v: Keys, new_lengths: tuple[int, ...]) -> Queries:
        """Answer one query in every row, each at its own position."""
        self._write(k, v, new_lengths)
        # The output of a row that stores nothing is not used.
        position = torch.tensor(self.lengths)[:, None]
        slots = torch.arange(self._slot_count)
        mask = (slots <= position) & ((self._slots_of(position) - slots) % self._dilation == 0)
        hidden = rearrange(~mask.to(q.device), "b slots -> b 1 slots 1")
        # A hidden slot may hold NaN, which a weight of zero would not keep out.
        keys, values = (x.to(q.dtype).masked_fill(hidden, 0.0) for x in self.tensors.values())
        return _attend_grouped(q, keys, values, ~hidden.mT)

    def _slot_of(self, position: int) -> int:
        """Return the slot of a position."""
        offset = position - self._global_keys
        return position if offset < 0 else offset % self._span + self._global_keys

    def _slots_of(self, positions: Int[Tensor, "*shape"]) -> Int[Tensor, "*shape"]:
        """Return the slots of positions."""
        offset = positions - self._global_keys
        return torch.where(offset < 0, positions, offset % self._span + self._global_keys)

    def _ordered_prefix(self, rows: slice, length: int, dtype: torch.dtype) -> tuple[Keys, Keys]:
        """Return the stored keys and values of rows of one length, by position."""
        first = min(self._global_keys, length)
        positions = [*range(first), *range(max(first, length - self._span), length)]
        slots = self._slots_of(torch.tensor(positions, dtype=torch.long))
        keys, values = (
            rearrange(x[rows, :, slots.to(x.device)], "b g s d -> b s g d").to(dtype)
            for x in self.tensors.values()
        )
        return keys, values

    def _write(self, k: Keys, v: Keys, new_lengths: tuple[int, ...]) -> None:
        """Store the new positions that later queries may see."""
        length, more = torch.tensor([self.lengths, new_lengths]).unsqueeze(-1)
        position = length + torch.arange(k.shape[1])
        last = position >= length + more - self._span
        stored = (position < length + more) & (last | (position < self._global_keys))
        row, column = (index.to(k.device) for index in stored.nonzero(as_tuple=True))
        slot = self._slots_of(position).to(k.device)[row, column]
        for name, x in (("keys", k), ("values", v)):
            self.tensors[name][row, :, slot] = x[row, column].to(self.spec.dtype)


def _attend_grouped(q: Queries, keys: Tensor, values: Tensor, mask: Tensor | None = None) -> Queries:
    """Answer one query; the queries of a group are rows of one matrix, so shared keys are read once."""
    rows = q[:, 0].unflatten(1, (keys.shape[1], -1))
    return F.scaled_dot_product_attention(rows, keys, values, mask).flatten(1, 2)[:, None]
