"""Keys and values of the latest places, and of the first few for good: the state of a band.

A ring: a new place is written over the one that has just gone out of every later query's sight, so memory
and the cost of a step do not grow with what was read. A softmax does not mind in which order keys stand, so
a step looks at the slots as they lie.

Cost:    2 min(context, first + window dilation) G D numbers for one sequence.
Source:  Jiang et al. 2023, arXiv:2310.06825, sec. 2 (the rolling buffer); Xiao et al. 2023,
         arXiv:2309.17453 (the first places kept).
Differs: the ring of a dilated window has whole rounds of the dilation, so that what a place sees is every
         so many slots.
"""

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Int
from torch import Tensor

from nhin.attention.base import CacheSpec, Keys, Mechanism, Queries
from nhin.attention.cache import PreallocatedCache
from nhin.errors import UsageError


class SlidingWindowCache(PreallocatedCache):
    """A ring of the latest places, with the first ones kept ahead of it.

    Args:
        spec: How much it must hold; beyond what the band sees, ``context`` takes no memory.
        mechanism: Looks when several places come at once.
        window: How many places are seen.
        dilation: Every so manieth of them.
        global_keys: Places at the start that are seen for good; only without a dilation.
    """

    def __init__(
        self, spec: CacheSpec, mechanism: Mechanism, window: int, *, dilation: int = 1, global_keys: int = 0
    ) -> None:
        self._span, self._dilation, self._global_keys = window * dilation, dilation, global_keys
        self._slot_count = min(spec.context, global_keys + self._span)
        # Heads before slots: the keys of a head then lie side by side, as kernels read them.
        shape = (spec.kv_heads, self._slot_count, spec.head_dim)
        super().__init__(spec, {"keys": shape, "values": shape})
        self._mechanism = mechanism

    def truncate(self, length: int) -> None:
        """Refuse: what the ring wrote over is gone."""
        raise UsageError(
            f"Rolling cannot be truncated to {length}: the ring has written over the places that would come "
            "back into sight; take snapshot() before and restore(...) it"
        )

    def _prefill(self, q: Queries, k: Keys, v: Keys, new_lengths: tuple[int, ...]) -> Queries:
        if q.shape[1] == 1:
            together = self.has_equal_lengths and all(new_lengths)
            return self._step_equal(q, k, v) if together else self._step_ragged(q, k, v, new_lengths)
        # With what is held ahead of them in order, new places stand to each other and to the ring as they
        # did, and the first places are still the first: only places that nobody sees are missing between.
        if self.has_equal_lengths:
            held = self._ordered_prefix(slice(None), self.max_length, q.dtype)
            out = self._mechanism(q, *(torch.cat(x, 1) for x in zip(held, (k, v), strict=True)), causal=True)
        else:
            out = torch.zeros_like(q)
            for row, (length, more) in enumerate(zip(self.lengths, new_lengths, strict=True)):
                one = slice(row, row + 1)
                held = self._ordered_prefix(one, length, q.dtype)
                both = (torch.cat([x, y[one, :more]], 1) for x, y in zip(held, (k, v), strict=True))
                out[one, :more] = self._mechanism(q[one, :more], *both, causal=True)
        self._write(k, v, new_lengths)
        return out

    def _step_equal(self, q: Queries, k: Keys, v: Keys) -> Queries:
        """Answer one query in every row, all at the same place."""
        place = self.max_length
        slot = self._slot_of(place)
        keys, values = self.tensors["keys"], self.tensors["values"]
        keys[:, :, slot], values[:, :, slot] = k[:, 0], v[:, 0]
        if place + 1 < self._slot_count or self._dilation > 1:
            # Slots of one residue are as far apart as places were, for the ring has whole rounds.
            seen = slice(slot % self._dilation, min(place + 1, self._slot_count), self._dilation)
            keys, values = keys[:, :, seen], values[:, :, seen]
        # The queries of a group stand in one matrix, so shared keys are read once.
        rows = q[:, 0].unflatten(1, (keys.shape[1], -1))
        out = F.scaled_dot_product_attention(rows, keys.to(q.dtype), values.to(q.dtype))
        return out.flatten(1, 2)[:, None]

    def _step_ragged(self, q: Queries, k: Keys, v: Keys, new_lengths: tuple[int, ...]) -> Queries:
        """Answer one query in every row, each at its own place."""
        self._write(k, v, new_lengths)
        # The place of each query; a row that takes in nothing answers nothing that is used.
        place = torch.tensor(self.lengths)[:, None]
        slots = torch.arange(self._slot_count)
        seen = (slots <= place) & ((self._slot_indices(place) - slots) % self._dilation == 0)
        hidden = rearrange(~seen.to(q.device), "b slots -> b 1 slots 1")
        # What is hidden may be no number, and no weight of zero would keep that out.
        keys, values = (
            self.tensors[name].to(q.dtype).masked_fill(hidden, 0.0) for name in ("keys", "values")
        )
        rows = q[:, 0].unflatten(1, (keys.shape[1], -1))
        out = F.scaled_dot_product_attention(rows, keys, values, ~hidden.mT)
        return out.flatten(1, 2)[:, None]

    def _slot_of(self, position: int) -> int:
        """Return where a place lies."""
        return (
            position
            if position < self._global_keys
            else (position - self._global_keys) % self._span + self._global_keys
        )

    def _slot_indices(self, positions: Int[Tensor, "*places"]) -> Int[Tensor, "*places"]:
        """Return where places lie."""
        return torch.where(
            positions < self._global_keys,
            positions,
            (positions - self._global_keys) % self._span + self._global_keys,
        )

    def _ordered_prefix(self, rows: slice, length: int, dtype: torch.dtype) -> tuple[Keys, Keys]:
        """Return what is held of some rows, of one length, as it was read."""
        first = min(self._global_keys, length)
        places = [*range(first), *range(max(first, length - self._span), length)]
        slots = self._slot_indices(torch.tensor(places, dtype=torch.long))
        keys, values = (
            rearrange(x[rows, :, slots.to(x.device)], "b g s d -> b s g d").to(dtype)
            for x in self.tensors.values()
        )
        return keys, values

    def _write(self, k: Keys, v: Keys, new_lengths: tuple[int, ...]) -> None:
        """Put the new places that later ones may see where they belong."""
        length, more = torch.tensor([self.lengths, new_lengths]).unsqueeze(-1)
        place = length + torch.arange(k.shape[1])
        last = place >= length + more - self._span
        kept = (place < length + more) & (last | (place < self._global_keys))
        row, column = (index.to(k.device) for index in kept.nonzero(as_tuple=True))
        slot = self._slot_indices(place).to(k.device)[row, column]
        for name, x in (("keys", k), ("values", v)):
            self.tensors[name][row, :, slot] = x[row, column].to(self.spec.dtype)
