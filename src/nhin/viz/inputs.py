"""Queries and keys to look at mechanisms with: words as vectors of their letters, so that like finds like.

Nothing here is trained. Words that share letters share directions, so weights show words finding
themselves and their kin, and what a mechanism adds to or takes from that.
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

MAX_SMALL_LENGTH = 256  # places: with fewer, windows of hundreds show nothing

# Settings that show a pattern on a picture of some dozens of places.
SMALL_SETTINGS: dict[str, dict[str, object]] = {
    "local-m": {"reach": 4},
    "local-p": {"reach": 6},
    "window": {"window": 6},
    "dilated": {"window": 4, "dilation": 3},
    "sinks": {"window": 6, "sinks": 2},
    "longformer": {"window": 5, "leaders": 2},
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
    """Return so many words of the example text, which begins again when it ends."""
    return list(islice(cycle(EXAMPLE_TEXT), count))


def embed_words(words: Sequence[str], heads: int, head_dim: int) -> Float[Tensor, "1 T H D"]:
    """Return each word as a vector per head, about as long as the root of ``head_dim``.

    Head 0 sees letters as they are, each further head through a matrix of its own.
    """
    rows = [_embed_word(unicodedata.normalize("NFC", word).casefold(), head_dim) for word in words]
    known = torch.stack(rows) if rows else torch.zeros(0, head_dim, dtype=torch.float64)
    looks = [known]
    for head in range(1, heads):
        drawn = torch.randn(
            head_dim, head_dim, generator=_make_generator(f"head {head}"), dtype=torch.float64
        )
        looks.append(known @ drawn * head_dim**-0.5)
    return torch.stack(looks, 1)[None]


def settings_for(name: str, length: int) -> dict[str, object]:
    """Return settings that show a pattern on so many places; none where its own show it too."""
    return dict(SMALL_SETTINGS.get(name, {})) if length <= MAX_SMALL_LENGTH else {}


def build_mechanism(name: str, heads: int, head_dim: int, settings: Mapping[str, object]) -> Mechanism:
    """Build a mechanism, the same at every call.

    Raises:
        UnknownName: There is no such mechanism, or it has no such setting.
        UsageError: A setting is of a kind the mechanism cannot use.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        try:
            return build(name, heads=heads, head_dim=head_dim, **settings).double().eval()
        except TypeError as why:
            told = ", ".join(f"{key}={value!r}" for key, value in settings.items())
            raise UsageError(f"{name} cannot be built with {told}: {why}") from why


def _embed_word(word: str, head_dim: int) -> Float[Tensor, " D"]:
    framed = f"^{word}$"
    parts = [framed[i : i + size] for size in (1, 2, 3) for i in range(len(framed) - size + 1)]
    drawn = [torch.randn(head_dim, generator=_make_generator(part), dtype=torch.float64) for part in parts]
    whole = torch.stack(drawn).sum(0)
    return whole * (head_dim**0.5 / whole.norm())


def _make_generator(text: str) -> torch.Generator:
    return torch.Generator().manual_seed(crc32(text.encode()))
