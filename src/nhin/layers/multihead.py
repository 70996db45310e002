"""Several heads side by side: projections in and out around any mechanism.

Source:  Vaswani et al. 2017, arXiv:1706.03762, section 3.2.2; grouped heads: Ainslie et al. 2023,
         arXiv:2305.13245.
Differs: dropout falls on the output, not on the weights, which many mechanisms never hold.
"""

import torch
from einops import rearrange
from jaxtyping import Bool, Float
from torch import Tensor, nn

from nhin.attention.base import Keys
from nhin.attention.positions import Rotary
from nhin.attention.registry import build
from nhin.errors import ShapeError
from nhin.layers.cache import KeyValueCache

Wide = Float[Tensor, "B T C"]
Context = Float[Tensor, "B S C"]
KeepAny = Bool[Tensor, "B _"]


class MultiHead(nn.Module):
    """Looks within a sequence, or from it to another one when ``context`` is given.

    Args:
        dim: Width of inputs and outputs.
        heads: Query heads; divides ``dim``.
        kv_heads: Key/value heads; divides ``heads``. None for as many as ``heads``, 1 for multi-query.
        mechanism: A name in ``attention.registry.MECHANISMS``.
        rotary: Turn queries and keys by their place; not when looking at a context.
        bias: Give the projections a bias.
        dropout: Chance of dropping an output channel.
    """

    def __init__(
        self,
        dim: int,
        heads: int,
        *,
        kv_heads: int | None = None,
        mechanism: str = "softmax",
        rotary: bool = False,
        bias: bool = False,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        kv_heads = heads if kv_heads is None else kv_heads
        if heads < 1 or dim % heads:
            raise ShapeError(f"heads is {heads}, which does not divide dim {dim}; choose a divisor")
        if kv_heads < 1 or heads % kv_heads:
            raise ShapeError(f"kv_heads is {kv_heads}, which does not divide heads {heads}; choose a divisor")
        self.heads, self.kv_heads, self.head_dim = heads, kv_heads, dim // heads
        self.query = nn.Linear(dim, dim, bias=bias)
        self.key_value = nn.Linear(dim, 2 * kv_heads * self.head_dim, bias=bias)
        self.out = nn.Linear(dim, dim, bias=bias)
        self.rotary = Rotary(self.head_dim) if rotary else None
        self.mechanism = build(mechanism, heads=heads, head_dim=self.head_dim)
        self.dropout = nn.Dropout(dropout)

    def forward(
        self,
        x: Wide,
        *,
        context: Context | None = None,
        causal: bool = False,
        keep: KeepAny | None = None,
        cache: KeyValueCache | None = None,
    ) -> Wide:
        """Mix what each place of ``x`` finds.

        Args:
            x: Looks; also is looked at when there is no context.
            context: Is looked at instead of ``x``.
            causal: Hide what comes later.
            keep: True where a key may be seen; covers cached keys too.
            cache: Holds what was read before and is added to. With a context it is filled once and
                then read, so the context is projected only at the first call.
        """
        start = cache.length if cache is not None and context is None else 0
        q: Float[Tensor, "B T H D"] = rearrange(self.query(x), "b t (h d) -> b t h d", d=self.head_dim)
        if context is None:
            k, v = self._project(x)
            if self.rotary is not None:
                q, k = self.rotary(q, start=start), self.rotary(k, start=start)
            if cache is not None:
                k, v = cache.append(k, v)
        elif cache is None:
            k, v = self._project(context)
        else:
            k, v = cache.filled if cache.length else cache.append(*self._project(context))
        if cache is not None:
            k, v = k.to(q.dtype), v.to(q.dtype)
        mixed = self.mechanism(q, k, v, causal=causal, keep=keep)
        return self.dropout(self.out(rearrange(mixed, "b t h d -> b t (h d)")))

    def new_cache(self, batch: int, context: int, *, dtype: torch.dtype | None = None) -> KeyValueCache:
        """Build an empty cache for this layer; ``dtype`` is the weights' own when None."""
        weight = self.key_value.weight
        return KeyValueCache(
            batch, context, self.kv_heads, self.head_dim, dtype=dtype or weight.dtype, device=weight.device
        )

    def _project(self, x: Float[Tensor, "B S C"]) -> tuple[Keys, Keys]:
        k, v = rearrange(self.key_value(x), "b s (two g d) -> two b s g d", two=2, d=self.head_dim)
        return k, v
