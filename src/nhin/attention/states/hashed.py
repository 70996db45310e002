"""Keys and values of all that was read, with the buckets keys fell into: the state of LSH attention.

A key is hashed once, when it comes. A step compares bucket numbers, which are few bytes, and then touches
only the keys and values of the query's own buckets.

Cost:    2 context G D numbers and n context G bucket numbers for one sequence, with n rounds.
Source:  Kitaev et al. 2020, arXiv:2001.04451, for the buckets; keeping them is the usual practice.
Differs: nothing.
"""

from collections.abc import Callable

import torch
from einops import rearrange
from jaxtyping import Bool, Float, Int
from torch import Tensor

from nhin.attention._scores import shield, soften
from nhin.attention.base import Keys, Mechanism, Queries, Room
from nhin.attention.states.everything import KeyValues

Asked = Int[Tensor, "rounds B T H"]
Seen = Bool[Tensor, "BG E S"]  # by batch row and key head, then by query head of that key head


class HashedKeyValues(KeyValues):
    """A store of keys, values and buckets.

    Args:
        room: How much it must hold.
        mechanism: Looks when several places come at once.
        hashed: Gives the bucket of every vector in every round; zeros must fall into bucket 0.
        rounds: How many rounds there are.
    """

    def __init__(
        self, room: Room, mechanism: Mechanism, hashed: Callable[[Queries], Asked], rounds: int
    ) -> None:
        super().__init__(room, mechanism)
        self._hashed = hashed
        with torch.inference_mode(False):
            shape = (room.batch, room.kv_heads, room.context, rounds)
            self.tensors["buckets"] = torch.zeros(shape, dtype=torch.int32, device=room.device)

    def _write(self, k: Keys, v: Keys, new: tuple[int, ...]) -> None:
        super()._write(k, v, new)
        # What is hashed is what the mechanism would hash, had it the whole store before it.
        stored, _, _ = shield(*(x.detach().to(self.room.dtype) for x in (k, v)))
        fell = rearrange(self._hashed(stored), "r b s g -> b g s r").to(torch.int32)
        for row, (start, more) in enumerate(zip(self.lengths, new, strict=True)):
            self.tensors["buckets"][row, :, start : start + more] = fell[row, :, :more]

    def _read(self, q: Queries, k: Keys, v: Keys, new: tuple[int, ...]) -> Queries:
        if q.shape[1] != 1 or q.numel() == 0:
            return super()._read(q, k, v, new)
        self._write(k, v, new)
        stop = torch.tensor([self.lengths, new], device=q.device).sum(0)
        out = self._mixed(q, self._seen(q, stop))
        return rearrange(out, "(b g) e d -> b 1 (g e) d", g=k.shape[2]).to(q.dtype)

    def _seen(self, q: Queries, stop: Int[Tensor, " B"]) -> Seen:
        """Tell what one query per row sees: what fell into its buckets, and its own place."""
        held = self.tensors["buckets"][:, :, None, : self.longest + 1]
        asked = rearrange(self._hashed(q), "r b 1 (g e) -> b g e 1 r", g=held.shape[1])
        s, end = torch.arange(held.shape[3], device=q.device), rearrange(stop, "b -> b 1 1 1")
        seen = s == end - 1
        for r in range(held.shape[4]):
            seen = seen | (asked[..., r] == held[..., r])
        return rearrange(seen & (s < end), "b g e s -> (b g) e s")

    def _mixed(self, q: Queries, seen: Seen) -> Float[Tensor, "BG E D"]:
        """Take the keys that any query of a group sees side by side, and look at them."""
        wanted = seen.any(1)
        n, s = wanted.nonzero(as_tuple=True)
        count = wanted.sum(1)
        column = torch.arange(len(n), device=n.device) - (count.cumsum(0) - count)[n]
        most = int(count.max())
        at = n.new_zeros(len(count), most)
        at[n, column] = n * self.room.context + s
        there = seen.new_zeros(*seen.shape[:2], most)
        there[n, :, column] = seen[n, :, s]
        wide = torch.promote_types(q.dtype, torch.float32)
        k, v = (
            self.tensors[name].flatten(0, 2).index_select(0, at.flatten()).unflatten(0, at.shape).to(wide)
            for name in ("keys", "values")
        )
        bad = there.new_zeros(len(count), most)
        if not (k.sum() + v.sum()).isfinite():
            # Gathered for one query of a group, a key may be no number and unseen by another.
            bad = ~(k.isfinite().all(-1) & v.isfinite().all(-1))
            k, v = (x.masked_fill(bad[..., None], 0.0) for x in (k, v))
        looks = rearrange(q, "b 1 (g e) d -> (b g) e d", g=self.room.kv_heads).to(wide)
        scores = torch.bmm(looks, k.mT) * q.shape[-1] ** -0.5
        weights = soften(rearrange(scores, "n e l -> n e 1 l"), rearrange(there, "n e l -> n e 1 l"))
        out = torch.bmm(rearrange(weights, "n e 1 l -> n e l"), v)
        return out.masked_fill((there & bad[:, None]).any(-1, keepdim=True), float("nan"))
