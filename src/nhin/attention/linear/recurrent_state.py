"""Running sums of keys and values: the cache of mechanisms whose scores are products of features.

Cost:    G (M D + 2 M) numbers for one sequence with M features, however long it is.
Source:  Katharopoulos et al. 2020, arXiv:2006.16236, eq. (18) to (20).
Differs: stored in float32 at least, where half precision would stop growing; with the largest logarithm of
         each channel, so that exponential features cannot overflow.
"""

from typing import Protocol, runtime_checkable

import torch

from nhin.attention.base import CacheSpec, Keep, Keys, Queries
from nhin.attention.cache import PreallocatedCache
from nhin.attention.linear.chunked_scan import FLOOR, ScanState, accumulation_dtype


@runtime_checkable
class SupportsRecurrentState(Protocol):
    """A mechanism that can be decoded from sums."""

    def scan(
        self, q: Queries, k: Keys, v: Keys, keep: Keep | None, start: ScanState
    ) -> tuple[Queries, ScanState]:
        """Answer as many queries as keys, causally, continuing from the sums of earlier keys."""
        ...

    def update(self, q: Queries, k: Keys, v: Keys, state: ScanState) -> Queries:
        """Answer one query in every row and add its key to the sums in place."""
        ...


class RecurrentState(PreallocatedCache):
    """S_t and Z_t: neither a step nor the memory depends on the length.

    Args:
        spec: Its sizes; its context is a limit only and takes no bytes.
        mechanism: Maps queries and keys to features and mixes.
        feature_count: Features of one head.
    """

    def __init__(self, spec: CacheSpec, mechanism: SupportsRecurrentState, feature_count: int) -> None:
        per_head = (spec.kv_heads, feature_count)
        shapes = {"sums": (*per_head, spec.head_dim), "masses": per_head, "tops": per_head}
        super().__init__(spec, shapes, dict.fromkeys(shapes, accumulation_dtype(spec.dtype)))
        self.tensors["tops"].fill_(FLOOR)
        self._mechanism = mechanism

    @property
    def state(self) -> ScanState:
        """The sums as views, the key heads of all rows in one axis."""
        s, z, top = (x.flatten(0, 1) for x in self.tensors.values())
        return s, z, top

    def _prefill(self, q: Queries, k: Keys, v: Keys, new_lengths: tuple[int, ...]) -> Queries:
        count, keep = q.shape[1], None
        if count == 1 and all(new_lengths):
            return self._mechanism.update(q, k, v, self.state)
        if any(more != count for more in new_lengths):
            keep = (torch.arange(count) < torch.tensor(new_lengths)[:, None]).to(k.device)
        out, state = self._mechanism.scan(q, k, v, keep, self.state)
        for stored, x in zip(self.tensors.values(), state, strict=True):
            stored.copy_(x.view_as(stored))
        return out
