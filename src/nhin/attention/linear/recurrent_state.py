"""Sums of what was read: the state of mechanisms whose scores are products of features.

Cost:    G (M D + 2 M) numbers for one sequence with M features, however long it is.
Source:  Katharopoulos et al. 2020, arXiv:2006.16236, eq. (18) to (20).
Differs: kept in float32 at least, where halves would stop growing; with the largest logarithm of each
         channel, so that exponential features cannot overflow.
"""

from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Bool
from torch import Tensor

from nhin.attention.base import CacheSpec, Keys, Queries
from nhin.attention.cache import PreallocatedCache
from nhin.attention.linear.chunked_scan import FLOOR, Mass, Sums, accumulation_dtype


@runtime_checkable
class SupportsRecurrentState(Protocol):
    """What a mechanism must offer to be decoded from sums."""

    def scan(
        self,
        q: Queries,
        k: Keys,
        v: Keys,
        keep: Bool[Tensor, "B S"] | None,
        start: tuple[Sums, Mass, Mass],
    ) -> tuple[Queries, tuple[Sums, Mass, Mass]]:
        """Answer as many queries as keys, causally, going on from what earlier keys left."""
        ...

    def update(self, q: Queries, k: Keys, v: Keys, state: tuple[Sums, Mass, Mass]) -> Queries:
        """Answer one query each, the sums growing in place."""
        ...


class RecurrentState(PreallocatedCache):
    """S_t and Z_t: a step costs the same whatever was read, and so does keeping it.

    Args:
        spec: How much it must hold; its context is a limit only and takes no bytes.
        mechanism: Maps queries and keys to features and mixes.
        feature_count: Features of one head.
    """

    def __init__(self, spec: CacheSpec, mechanism: SupportsRecurrentState, feature_count: int) -> None:
        wide, per_head = accumulation_dtype(spec.dtype), (spec.kv_heads, feature_count)
        shapes = {"sums": (*per_head, spec.head_dim), "masses": per_head, "tops": per_head}
        super().__init__(spec, shapes, dict.fromkeys(shapes, wide))
        self.tensors["tops"].fill_(FLOOR)
        self._mechanism = mechanism

    @property
    def state(self) -> tuple[Sums, Mass, Mass]:
        """What is held as views, the key heads of all rows in one axis."""
        s, z, top = (x.flatten(0, 1) for x in self.tensors.values())
        return s, z, top

    def _prefill(self, q: Queries, k: Keys, v: Keys, new_lengths: tuple[int, ...]) -> Queries:
        places, keep = q.shape[1], None
        if places == 1 and all(new_lengths):
            return self._mechanism.update(q, k, v, self.state)
        if any(more != places for more in new_lengths):
            keep = (torch.arange(places) < torch.tensor(new_lengths)[:, None]).to(k.device)
        out, left = self._mechanism.scan(q, k, v, keep, self.state)
        for kept, x in zip(self.tensors.values(), left, strict=True):
            kept.copy_(x.view_as(kept))
        return out
