"""Causal linear attention on the kernels of flash-linear-attention (fla-core), where it is installed."""

from nhin.attention.base import Keys, Queries, check_shapes
from nhin.attention.linear.chunked_scan import features
from nhin.attention.masked_softmax import repeat_heads
from nhin.errors import MissingExtra, UsageError


def attend_fla(q: Queries, k: Keys, v: Keys, feature_map: str = "elu") -> Queries:
    """Mix values causally as ``linear`` (elu) and ``linear-relu`` (relu) do; keys and values must be finite.

    Raises:
        MissingExtra: fla-core is not installed.
        UsageError: The lengths differ, or the feature map is another.
    """
    check_shapes(q, k, v)
    if feature_map not in ("elu", "relu") or q.shape[1] != k.shape[1]:
        raise UsageError("fla takes as many queries as keys, and the feature maps elu and relu")
    try:
        from fla.ops.linear_attn import (  # pyright: ignore[reportMissingImports] # optional
            chunk_linear_attn,
        )
    except ImportError as missing:
        raise MissingExtra("this needs fla-core, and a GPU: pip install fla-core") from missing
    q, k = features(feature_map, q), features(feature_map, k)
    k, v = repeat_heads(k, q.shape[2]), repeat_heads(v, q.shape[2])
    out, _ = chunk_linear_attn(q, k, v, scale=1.0, normalize=True)
    return out
