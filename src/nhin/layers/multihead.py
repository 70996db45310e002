"""Multi-head attention: input and output projections around any attention mechanism.

Source:  Vaswani et al. 2017, arXiv:1706.03762, section 3.2.2; grouped heads: Ainslie et al. 2023,
         arXiv:2305.13245; norms of queries and keys: Henry et al. 2020, arXiv:2010.04245.
Differs: dropout acts on the output, not on the attention weights, which many mechanisms never compute;
         queries and keys are divided by their root mean square, without a learned temperature (``qk_gain``
         scales each channel, as Qwen 3 does).
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
from nhin.layers.norm import HeadNorm

Hidden = Float[Tensor, "B T C"]
Context = Float[Tensor, "B S C"]
AnyKeep = Bool[Tensor, "B _"]


class MultiHead(nn.Module):
    """Self-attention, or cross-attention when called with a ``context``.

    Args:
        dim: Width of inputs and outputs.
        heads: Query heads; divides ``dim`` unless a ``head_dim`` is given.
        kv_heads: Key/value heads; divides ``heads``. ``heads`` when None; 1 is multi-query attention.
        head_dim: Width of one head; ``dim`` over ``heads`` when None.
        mechanism: A name in ``attention.registry.MECHANISMS``.
        settings: The mechanism's own settings.
        rotary: Rotate queries and keys by their position, except in cross-attention. True, or a rotary name
            of ``attention.position_registry.POSITIONS``, or ``{"name": NAME, **its settings}``.
        qk_norm: Divide queries and keys of the self-attention by their root mean square, to bound the logits.
        qk_gain: Scale each channel of them by a learned gain, shared by all heads.
        eps: Added inside the norms of ``qk_gain``; the least of float32 when None.
        bias: Give the projections a bias.
        out_bias: Give the output's projection one; as ``bias`` when None.
        dropout: Probability of dropping an output channel.
    """

    def __init__(  # noqa: PLR0913  # each is one option; a settings object would only hide them
        self,
        dim: int,
        heads: int,
        *,
        kv_heads: int | None = None,
        head_dim: int | None = None,
        mechanism: str = "softmax",
        settings: Mapping[str, object] | None = None,
        rotary: bool | str | Mapping[str, object] = False,
        qk_norm: bool = False,
        qk_gain: bool = False,
        eps: float | None = None,
        bias: bool = False,
        out_bias: bool | None = None,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        kv_heads = heads if kv_heads is None else kv_heads
        if heads < 1 or (dim % heads and head_dim is None):
            raise ShapeError(f"heads is {heads}, which does not divide dim {dim}; choose a divisor")
        if kv_heads < 1 or heads % kv_heads:
            raise ShapeError(f"kv_heads is {kv_heads}, which does not divide heads {heads}; choose a divisor")
        self.heads, self.kv_heads, self.head_dim = heads, kv_heads, head_dim or dim // heads
        self.query = nn.Linear(dim, heads * self.head_dim, bias=bias)
        self.key_value = nn.Linear(dim, 2 * kv_heads * self.head_dim, bias=bias)
        self.out = nn.Linear(heads * self.head_dim, dim, bias=bias if out_bias is None else out_bias)
        self.qk_norm = qk_norm
        self.query_norm = HeadNorm(self.head_dim, eps) if qk_gain else None
        self.key_norm = HeadNorm(self.head_dim, eps) if qk_gain else None
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
        """Attend from every position of ``x``.

        Args:
            x: The queries; also the keys and values when there is no context.
            context: The keys and values, instead of ``x``.
            causal: Mask later positions.
            keep: True where a key may be attended to; not with a cache of earlier positions.
            cache: Holds earlier positions and appends ``x``, causally. With a context it is filled at the
                first call and read afterwards, so the context is projected only once.
            lengths: Valid positions of each row of ``x``, with padding after them; with a cache.
        """
        # No einops here and below: it makes a step of a small decoder a tenth slower.
        q: Float[Tensor, "B T H D"] = self.query(x).unflatten(-1, (-1, self.head_dim))
        if context is not None:
            k, v = self._project_context(context, q.dtype, cache)
            out = self.mechanism(q, k, v, causal=causal, keep=keep)
        else:
            k, v = self._project_kv(x)
            q, k = self._rotate(q, k, cache)
            if cache is None:
                out = self.mechanism(q, k, v, causal=causal, keep=keep)
            elif keep is not None or not causal:
                raise UsageError(
                    "a cache is causal and takes no mask: give causal=True, and lengths for keep"
                )
            else:
                out = cache.prefill(q, k, v, lengths=lengths)
        return self.dropout(self.out(out.flatten(-2)))

    def project_qkv(self, x: Hidden) -> tuple[Float[Tensor, "B T H D"], Keys, Keys]:
        """Return the queries, keys and values of ``x`` that the mechanism receives."""
        q: Float[Tensor, "B T H D"] = self.query(x).unflatten(-1, (-1, self.head_dim))
        k, v = self._project_kv(x)
        return (*self._rotate(q, k, None), v)

    def context_weights(self, x: Hidden, context: Context) -> Float[Tensor, "B H T S"]:
        """Return the weights of cross-attention: of each position of ``x`` over the context."""
        q: Float[Tensor, "B T H D"] = self.query(x).unflatten(-1, (-1, self.head_dim))
        return self.mechanism.weights(q, self._project_kv(context)[0])

    def new_cache(self, batch: int, context: int, *, dtype: torch.dtype | None = None) -> Cache:
        """Build an empty cache for self-attention; ``dtype`` is that of the weights when None."""
        return self.mechanism.init_cache(self._cache_spec(batch, context, dtype))

    def new_context_cache(self, batch: int, context: int, *, dtype: torch.dtype | None = None) -> KVCache:
        """Build an empty cache for the keys and values of a context."""
        return KVCache(self._cache_spec(batch, context, dtype))

    def _rotate(
        self, q: Float[Tensor, "B T H D"], k: Keys, cache: Cache | None
    ) -> tuple[Float[Tensor, "B T H D"], Keys]:
        """Normalize queries and keys, and rotate them by their position."""
        if self.query_norm is not None and self.key_norm is not None:
            q, k = self.query_norm(q), self.key_norm(k)
        elif self.qk_norm:
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
            raise UsageError(
                "a context needs a cache built by new_context_cache(...), not that of a sequence"
            )
        k, v = cache.contents if cache.max_length else cache.append(*self._project_kv(context))
        return k.to(dtype), v.to(dtype)

    def _project_kv(self, x: Float[Tensor, "B S C"]) -> tuple[Keys, Keys]:
        k, v = self.key_value(x).unflatten(-1, (2, -1, self.head_dim)).unbind(2)
        return k, v
