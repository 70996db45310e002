"""Several heads side by side: projections in and out around any mechanism.

Source:  Vaswani et al. 2017, arXiv:1706.03762, section 3.2.2; grouped heads: Ainslie et al. 2023,
         arXiv:2305.13245; norms of queries and keys: Henry et al. 2020, arXiv:2010.04245.
Differs: dropout falls on the output, not on the weights, which many mechanisms never hold;
         norms of queries and keys are root mean squares, without a learned temperature.
"""

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from nhin.attention.base import Cache, CacheSpec, Keys
from nhin.attention.kv_cache import KVCache
from nhin.attention.position_registry import build_rotary
from nhin.attention.registry import build
from nhin.errors import ShapeError, UsageError

Hidden = Float[Tensor, "B T C"]
Context = Float[Tensor, "B S C"]
AnyKeep = Bool[Tensor, "B _"]


class MultiHead(nn.Module):
    """Looks within a sequence, or from it to another one when ``context`` is given.

    Args:
        dim: Width of inputs and outputs.
        heads: Query heads; divides ``dim``.
        kv_heads: Key/value heads; divides ``heads``. None for as many as ``heads``, 1 for multi-query.
        mechanism: A name in ``attention.registry.MECHANISMS``.
        settings: The mechanism's own settings, as ``build`` takes them.
        rotary: Turn queries and keys by their place; not when looking at a context. True, or a name of
            ``attention.positions.POSITIONS`` that acts on heads, or ``{"name": NAME, **its settings}``.
        qk_norm: Scale queries and keys of the self-attention to a root mean square of 1, so that scores stay
            small whatever the weights.
        bias: Give the projections a bias.
        dropout: Chance of dropping an output channel.
    """

    def __init__(  # noqa: PLR0913  # every part's one knob; a settings object would only hide them
        self,
        dim: int,
        heads: int,
        *,
        kv_heads: int | None = None,
        mechanism: str = "softmax",
        settings: Mapping[str, object] | None = None,
        rotary: bool | str | Mapping[str, object] = False,
        qk_norm: bool = False,
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
        self.qk_norm = qk_norm
        self.rotary = build_rotary(rotary, self.head_dim)
        self.mechanism = build(mechanism, heads=heads, head_dim=self.head_dim, **(settings or {}))
        self.dropout = nn.Dropout(dropout)

    def forward(
        self,
        x: Hidden,
        *,
        context: Context | None = None,
        causal: bool = False,
        keep: AnyKeep | None = None,
        cache: Cache | None = None,
        lengths: Sequence[int] | None = None,
    ) -> Hidden:
        """Mix what each place of ``x`` finds.

        Args:
            x: Looks; also is looked at when there is no context.
            context: Is looked at instead of ``x``.
            causal: Hide what comes later.
            keep: True where a key may be seen; not with a cache of what was read.
            cache: Remembers what was read before, and reads ``x``, causally. With a context it is filled
                once and then read, so the context is projected only at the first call.
            lengths: How many places of ``x`` are real in each row, padding after them; with a cache.
        """
        # Plain operations here and below: with einops a step of a small decoder takes a tenth longer.
        q: Float[Tensor, "B T H D"] = self.query(x).unflatten(-1, (-1, self.head_dim))
        if context is not None:
            mixed = self.mechanism(
                q, *self._project_context(context, q.dtype, cache), causal=causal, keep=keep
            )
        else:
            k, v = self._project_kv(x)
            q, k = self._rotate(q, k, cache)
            if cache is None:
                mixed = self.mechanism(q, k, v, causal=causal, keep=keep)
            elif keep is not None or not causal:
                raise UsageError(
                    "a cache reads causally and hides nothing: give causal=True, and lengths instead of keep"
                )
            else:
                mixed = cache.prefill(q, k, v, lengths=lengths)
        return self.dropout(self.out(mixed.flatten(-2)))

    def project_qkv(self, x: Hidden) -> tuple[Float[Tensor, "B T H D"], Keys, Keys]:
        """Return the queries, keys and values of ``x`` as the mechanism is given them."""
        q: Float[Tensor, "B T H D"] = self.query(x).unflatten(-1, (-1, self.head_dim))
        k, v = self._project_kv(x)
        return (*self._rotate(q, k, None), v)

    def new_cache(self, batch: int, context: int, *, dtype: torch.dtype | None = None) -> Cache:
        """Build an empty cache for what this layer reads; ``dtype`` is the weights' own when None."""
        return self.mechanism.init_cache(self._cache_spec(batch, context, dtype))

    def new_context_cache(self, batch: int, context: int, *, dtype: torch.dtype | None = None) -> KVCache:
        """Build an empty cache for the keys and values of a context."""
        return KVCache(self._cache_spec(batch, context, dtype))

    def _rotate(
        self, q: Float[Tensor, "B T H D"], k: Keys, cache: Cache | None
    ) -> tuple[Float[Tensor, "B T H D"], Keys]:
        """Norm queries and keys, and turn them by their place."""
        if self.qk_norm:
            q, k = F.rms_norm(q, (self.head_dim,)), F.rms_norm(k, (self.head_dim,))
        if self.rotary is None:
            return q, k
        start: int | tuple[int, ...] = 0
        if cache is not None:
            start = cache.lengths[0] if len(set(cache.lengths)) == 1 else cache.lengths
        return self.rotary.rotate_qk(q, k, start=start)

    def _cache_spec(self, batch: int, context: int, dtype: torch.dtype | None) -> CacheSpec:
        weight = self.key_value.weight
        return CacheSpec(batch, context, self.kv_heads, self.head_dim, dtype or weight.dtype, weight.device)

    def _project_context(
        self, context: Context, dtype: torch.dtype, cache: Cache | None
    ) -> tuple[Keys, Keys]:
        if cache is None:
            return self._project_kv(context)
        if not isinstance(cache, KVCache):
            raise UsageError("a context is kept by new_context_cache(...), not by what decodes a sequence")
        k, v = cache.contents if cache.max_length else cache.append(*self._project_kv(context))
        return k.to(dtype), v.to(dtype)

    def _project_kv(self, x: Float[Tensor, "B S C"]) -> tuple[Keys, Keys]:
        k, v = self.key_value(x).unflatten(-1, (2, -1, self.head_dim)).unbind(2)
        return k, v
