"""Keys and values of all positions, and the buckets of the keys: the cache of LSH attention.

A key is hashed once, when it is stored. A step compares bucket numbers, which take few bytes, and then reads
only the keys and values in the buckets of the query.

Cost:    2 context G D numbers and n context G bucket numbers for one sequence, with n rounds.
Source:  Kitaev et al. 2020, arXiv:2001.04451, for the buckets; storing them is the usual practice.
Differs: nothing.
"""

from collections.abc import Callable

import torch
from einops import rearrange
from jaxtyping import Bool, Float, Int
from torch import Tensor

from nhin.attention.base import CacheSpec, Keys, Mechanism, Queries
from nhin.attention.kv_cache import KVCache
from nhin.attention.masked_softmax import find_nonfinite, masked_softmax, upcast, zero_nonfinite

Buckets = Int[Tensor, "rounds B _ _"]
GroupMask = Bool[Tensor, "BG E S"]  # by batch row and key head, then by query head of that key head


class LSHCache(KVCache):
    """Stores keys, values and buckets.

    Args:
        spec: Its sizes.
        mechanism: Attends when several positions come at once.
        hash_buckets: Returns the bucket of every vector in every round; that of zeros must be 0.
        rounds: Number of rounds.
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
        # Hash what the mechanism would hash if it were given all keys.
        stored, _, _ = zero_nonfinite(*(x.detach().to(self.spec.dtype) for x in (k, v)))
        buckets = rearrange(self._hash(stored), "r b s g -> b g s r").to(torch.int32)
        for row, (start, more) in enumerate(zip(self.lengths, new_lengths, strict=True)):
            self.tensors["buckets"][row, :, start : start + more] = buckets[row, :, :more]

    def _prefill(self, q: Queries, k: Keys, v: Keys, new_lengths: tuple[int, ...]) -> Queries:
        if q.shape[1] != 1 or q.numel() == 0:
            return super()._prefill(q, k, v, new_lengths)
        self._write(k, v, new_lengths)
        stop = torch.tensor([self.lengths, new_lengths], device=q.device).sum(0)
        out = self._attend_visible(q, self._visible_mask(q, stop))
        return rearrange(out, "(b g) e d -> b 1 (g e) d", g=k.shape[2]).to(q.dtype)

    def _visible_mask(self, q: Queries, stop: Int[Tensor, " B"]) -> GroupMask:
        """Return the keys visible to one query per row: those in its buckets, and its own."""
        key_buckets = self.tensors["buckets"][:, :, None, : self.max_length + 1]
        query_buckets = rearrange(self._hash(q), "r b 1 (g e) -> b g e 1 r", g=key_buckets.shape[1])
        s, end = torch.arange(key_buckets.shape[3], device=q.device), rearrange(stop, "b -> b 1 1 1")
        mask = s == end - 1
        for r in range(key_buckets.shape[4]):
            mask = mask | (query_buckets[..., r] == key_buckets[..., r])
        return rearrange(mask & (s < end), "b g e s -> (b g) e s")

    def _attend_visible(self, q: Queries, mask: GroupMask) -> Float[Tensor, "BG E D"]:
        """Gather the keys that any query of a group sees, and attend to them."""
        needed = mask.any(1)
        n, s = needed.nonzero(as_tuple=True)
        count = needed.sum(1)
        column = torch.arange(len(n), device=n.device) - (count.cumsum(0) - count)[n]
        width = int(count.max())
        index = n.new_zeros(len(count), width)
        index[n, column] = n * self.spec.context + s
        visible = mask.new_zeros(*mask.shape[:2], width)
        visible[n, :, column] = mask[n, :, s]
        queries = upcast(rearrange(q, "b 1 (g e) d -> (b g) e d", g=self.spec.kv_heads))
        k, v = (
            self.tensors[name].flatten(0, 2).index_select(0, index.flatten()).unflatten(0, index.shape)
            for name in ("keys", "values")
        )
        k, v = k.to(queries.dtype), v.to(queries.dtype)
        nonfinite = visible.new_zeros(len(count), width)
        if not (k.sum() + v.sum()).isfinite():
            # Gathered for one query of a group, such a key may be hidden from another.
            nonfinite = find_nonfinite(k, v)
            k, v = (x.masked_fill(nonfinite[..., None], 0.0) for x in (k, v))
        scores = torch.bmm(queries, k.mT) * q.shape[-1] ** -0.5
        weights = masked_softmax(scores[:, :, None], visible[:, :, None])[:, :, 0]
        out = torch.bmm(weights, v)
        return out.masked_fill((visible & nonfinite[:, None]).any(-1, keepdim=True), float("nan"))
