"""Example queries and keys for figures: words embedded by their letters, without training.

Words that share letters have similar embeddings, so weights show words attending to themselves and to similar
ones, and how a mechanism changes that.
"""

import unicodedata
from collections.abc import Mapping, Sequence
from itertools import cycle, islice
from zlib import crc32

import torch
from jaxtyping import Float
from torch import Tensor

from nhin.attention.base import Mechanism
from nhin.attention.registry import build
from nhin.errors import UsageError

EXAMPLE_TEXT = "tôi nhìn ảnh rồi tôi đọc chữ trong ảnh và tôi nhìn lại ảnh có chữ".split()

MAX_SMALL_LENGTH = 256  # up to here the default windows of hundreds of positions would hide nothing

# Settings that show a pattern in a figure of some dozens of positions.
SMALL_SETTINGS: dict[str, dict[str, object]] = {
    "local-m": {"reach": 4},
    "local-p": {"reach": 6},
    "window": {"window": 6},
    "dilated": {"window": 4, "dilation": 3},
    "sinks": {"window": 6, "sinks": 2},
    "longformer": {"window": 5, "global_tokens": 2},
    "strided": {"stride": 6},
    "fixed": {"stride": 6, "summary": 2},
    "interleaved": {"stride": 6},
    "block-local": {"block": 6},
    "block-sparse": {"block": 4},
    "bigbird": {"block": 3, "window": 2, "globals": 1, "random": 1},
    "lsh": {"buckets": 8, "rounds": 2},
    "performer": {"features": 64},
    "linformer": {"rank": 8},
    "nystromformer": {"landmarks": 8},
}


def list_example_words(count: int) -> list[str]:
    """Return ``count`` words of the example text, repeated as needed."""
    return list(islice(cycle(EXAMPLE_TEXT), count))


def embed_words(words: Sequence[str], heads: int, head_dim: int) -> Float[Tensor, "1 T H D"]:
    """Embed each word once per head, with a norm of about the root of ``head_dim``.

    Head 0 has the embedding itself, every other head a random projection of it.
    """
    rows = [_embed_word(unicodedata.normalize("NFC", word).casefold(), head_dim) for word in words]
    embeddings = torch.stack(rows) if rows else torch.zeros(0, head_dim, dtype=torch.float64)
    per_head = [embeddings]
    for head in range(1, heads):
        projection = _draw(f"head {head}", head_dim, head_dim)
        per_head.append(embeddings @ projection * head_dim**-0.5)
    return torch.stack(per_head, 1)[None]


def settings_for(name: str, length: int) -> dict[str, object]:
    """Return settings that show the pattern of a mechanism at this length; empty where the defaults do."""
    return dict(SMALL_SETTINGS.get(name, {})) if length <= MAX_SMALL_LENGTH else {}


def build_mechanism(name: str, heads: int, head_dim: int, settings: Mapping[str, object]) -> Mechanism:
    """Build a mechanism with the same weights at every call.

    Raises:
        UnknownName: The mechanism or a setting does not exist.
        UsageError: A setting has the wrong type.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        try:
            return build(name, heads=heads, head_dim=head_dim, **settings).double().eval()
        except TypeError as why:
            given = ", ".join(f"{key}={value!r}" for key, value in settings.items())
            raise UsageError(f"{name} cannot be built with {given}: {why}") from why


def _embed_word(word: str, head_dim: int) -> Float[Tensor, " D"]:
    framed = f"^{word}$"
    parts = [framed[i : i + size] for size in (1, 2, 3) for i in range(len(framed) - size + 1)]
    total = torch.stack([_draw(part, head_dim) for part in parts]).sum(0)
    return total * (head_dim**0.5 / total.norm())


def _draw(seed: str, *shape: int) -> Tensor:
    generator = torch.Generator().manual_seed(crc32(seed.encode()))
    return torch.randn(*shape, generator=generator, dtype=torch.float64)
