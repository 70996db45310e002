"""Keys and values of what was already read, kept for decoding step by step.

All memory is taken once, at the start: growing by ``cat`` copies everything at every step.
"""

import torch
from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor

from nhin.attention.base import Keys
from nhin.errors import ShapeError, UsageError

Held = Float[Tensor, "B held G D"]


class KeyValueCache:
    """A preallocated store of keys and values; for inference only.

    ``append`` serves prefill (many places) and step (one place) alike.

    Args:
        batch: Sequences decoded together.
        context: Most places it can hold.
        kv_heads: Key/value heads.
        head_dim: Width of one head.
        dtype: How numbers are stored.
        device: Where they are stored.
    """

    def __init__(
        self,
        batch: int,
        context: int,
        kv_heads: int,
        head_dim: int,
        *,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str | None = None,
    ) -> None:
        # Heads before places: the keys of a head then lie side by side, as the kernel reads them.
        shape = (2, batch, kv_heads, context, head_dim)
        self._store: Float[Tensor, "two B G S D"] = torch.zeros(shape, dtype=dtype, device=device)
        self.length = 0

    @property
    def context(self) -> int:
        """Most places it can hold."""
        return self._store.shape[3]

    @property
    def size(self) -> int:
        """Bytes taken, filled or not."""
        return self._store.nbytes

    @property
    def filled(self) -> tuple[Held, Held]:
        """The keys and values held so far, as views."""
        k, v = rearrange(self._store[:, :, :, : self.length], "two b g s d -> two b s g d")
        return k, v

    def append(self, k: Keys, v: Keys) -> tuple[Held, Held]:
        """Add places at the end and return everything held.

        Raises:
            ShapeError: They do not fit or there is no room; nothing has been written.
            UsageError: They want a gradient, which cannot pass through a cache.
        """
        places = k.shape[1]
        batch, heads, width = self._store.shape[1], self._store.shape[2], self._store.shape[4]
        for name, x in (("k", k), ("v", v)):
            if x.shape != (batch, places, heads, width):
                raise ShapeError(
                    f"{name} has shape {tuple(x.shape)}; this cache takes ({batch}, any, {heads}, {width}): "
                    "build one for this batch and layer with new_cache(...)"
                )
            if x.requires_grad and torch.is_grad_enabled():
                raise UsageError("a cache passes no gradient; decode under torch.inference_mode()")
        if self.length + places > self.context:
            raise ShapeError(
                f"the cache is full: {self.length} of {self.context} places taken, {places} more came; "
                "build it with a larger context or truncate it"
            )
        stop = self.length + places
        for half, x in zip(self._store, (k, v), strict=True):
            half[:, :, self.length : stop].copy_(rearrange(x, "b s g d -> b g s d"))
        self.length = stop
        return self.filled

    def truncate(self, length: int) -> None:
        """Forget every place from ``length`` on; exact, because places do not change each other."""
        if not 0 <= length <= self.length:
            raise ShapeError(
                f"cannot truncate to {length}; the cache holds {self.length} places, so give 0 to that"
            )
        self.length = length

    def reorder(self, rows: Int[Tensor, " B"]) -> None:
        """Let row i continue what row ``rows[i]`` was, for beams."""
        if rows.shape != (self._store.shape[1],):
            raise ShapeError(
                f"rows has shape {tuple(rows.shape)}; give one row number for each of {self._store.shape[1]}"
            )
        held = self._store[:, :, :, : self.length]
        held.copy_(held.index_select(1, rows.to(held.device)))
