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

from nhin.attention.base import CacheSpec, Keys, Mechanism, Queries
from nhin.attention.kv_cache import KVCache
from nhin.attention.masked_softmax import masked_softmax, zero_nonfinite

Buckets = Int[Tensor, "rounds B T H"]
GroupMask = Bool[Tensor, "BG E S"]  # by batch row and key head, then by query head of that key head


class LSHCache(KVCache):
    """A store of keys, values and buckets.

    Args:
        spec: How much it must hold.
        mechanism: Looks when several places come at once.
        hash_buckets: Gives the bucket of every vector in every round; zeros must fall into bucket 0.
        rounds: How many rounds there are.
    """

    def __init__(
        self, spec: CacheSpec, mechanism: Mechanism, hash_buckets: Callable[[Queries], Buckets], rounds: int
    ) -> None:
        super().__init__(spec, mechanism)
        self._hash = hash_buckets
        with torch.inference_mode(False):
            shape = (spec.batch, spec.kv_heads, spec.context, rounds)
            self.tensors["buckets"] = torch.zeros(shape, dtype=torch.int32, device=spec.device)

    def _write(self, k: Keys, v: Keys, new_lengths: tuple[int, ...]) -> None:
        super()._write(k, v, new_lengths)
        # What is hashed is what the mechanism would hash, had it the whole store before it.
        stored, _, _ = zero_nonfinite(*(x.detach().to(self.spec.dtype) for x in (k, v)))
        fell = rearrange(self._hash(stored), "r b s g -> b g s r").to(torch.int32)
        for row, (start, more) in enumerate(zip(self.lengths, new_lengths, strict=True)):
            self.tensors["buckets"][row, :, start : start + more] = fell[row, :, :more]

    def _prefill(self, q: Queries, k: Keys, v: Keys, new_lengths: tuple[int, ...]) -> Queries:
        if q.shape[1] != 1 or q.numel() == 0:
            return super()._prefill(q, k, v, new_lengths)
        self._write(k, v, new_lengths)
        stop = torch.tensor([self.lengths, new_lengths], device=q.device).sum(0)
        out = self._attend_visible(q, self._visible_mask(q, stop))
        return rearrange(out, "(b g) e d -> b 1 (g e) d", g=k.shape[2]).to(q.dtype)

    def _visible_mask(self, q: Queries, stop: Int[Tensor, " B"]) -> GroupMask:
        """Tell what one query per row sees: what fell into its buckets, and its own place."""
        held = self.tensors["buckets"][:, :, None, : self.max_length + 1]
        asked = rearrange(self._hash(q), "r b 1 (g e) -> b g e 1 r", g=held.shape[1])
        s, end = torch.arange(held.shape[3], device=q.device), rearrange(stop, "b -> b 1 1 1")
        seen = s == end - 1
        for r in range(held.shape[4]):
            seen = seen | (asked[..., r] == held[..., r])
        return rearrange(seen & (s < end), "b g e s -> (b g) e s")

    def _attend_visible(self, q: Queries, mask: GroupMask) -> Float[Tensor, "BG E D"]:
        """Take the keys that any query of a group sees side by side, and look at them."""
        wanted = mask.any(1)
        n, s = wanted.nonzero(as_tuple=True)
        count = wanted.sum(1)
        column = torch.arange(len(n), device=n.device) - (count.cumsum(0) - count)[n]
        most = int(count.max())
        at = n.new_zeros(len(count), most)
        at[n, column] = n * self.spec.context + s
        there = mask.new_zeros(*mask.shape[:2], most)
        there[n, :, column] = mask[n, :, s]
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
        looks = rearrange(q, "b 1 (g e) d -> (b g) e d", g=self.spec.kv_heads).to(wide)
        scores = torch.bmm(looks, k.mT) * q.shape[-1] ** -0.5
        weights = masked_softmax(rearrange(scores, "n e l -> n e 1 l"), rearrange(there, "n e l -> n e 1 l"))
        out = torch.bmm(rearrange(weights, "n e 1 l -> n e l"), v)
        return out.masked_fill((there & bad[:, None]).any(-1, keepdim=True), float("nan"))
