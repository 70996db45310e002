"""The manifest of a folder of tokens, and the header of a shard.

::

    manifest.json    the source, the settings, and each shard with its length and SHA-256
    vocabulary.json  the tokenizer
    train-00000.npy  uint16 if the vocabulary fits, otherwise uint32; little-endian
"""

import io
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

import numpy as np

from nhin.data.text.splits import SplitConfig
from nhin.ranges import Length, Range

FORMAT = 2  # 1 called the split ``cut``
MANIFEST, VOCABULARY = "manifest.json", "vocabulary.json"

Count = Annotated[int, Range(0, 2**62)]
Hash = Annotated[str, Length(64, 64)]


@dataclass(frozen=True, slots=True)
class Shard:
    """One file of tokens."""

    name: str
    tokens: Count
    sha256: Hash


@dataclass(frozen=True, slots=True)
class SplitInfo:
    """The size of one split in tokens, in characters and in bytes of UTF-8, and its shards."""

    tokens: Count
    characters: Count
    bytes: Count
    shards: Annotated[tuple[Shard, ...], Length(0, 2**17)]


@dataclass(frozen=True, slots=True)
class Origin:
    """The source: its name, a SHA-256 of all its documents, their number, and files left out by reason."""

    name: str
    sha256: Hash
    documents: Count
    skipped: dict[str, Count]


@dataclass(frozen=True, slots=True)
class ManifestSplits:
    """The splits; None for one whose share is 0."""

    train: SplitInfo
    validation: SplitInfo | None = None
    test: SplitInfo | None = None


@dataclass(frozen=True, slots=True)
class Manifest:
    """What ``manifest.json`` holds; ``asked`` is the requested tokenizer, ``tokenizer`` its fingerprint."""

    OLD_NAMES: ClassVar[Mapping[str, str]] = {
        "cut": "split",
    }

    format: Annotated[int, Range(1, FORMAT)]
    source: Origin
    asked: str
    split: SplitConfig
    tokenizer: str
    vocab: Annotated[int, Range(1, 2**22)]
    dtype: Literal["uint16", "uint32"]
    splits: ManifestSplits


def little_endian(name: str) -> np.dtype[Any]:
    """Return a dtype in the byte order of shards, the same on every machine."""
    return np.dtype(name).newbyteorder("<")


def npy_header(dtype: np.dtype[Any], count: int) -> bytes:
    """Return the header of a ``.npy`` file of ``count`` numbers; its length is the same for every count."""
    out = io.BytesIO()
    header = {"descr": dtype.str, "fortran_order": False, "shape": (count,)}
    np.lib.format.write_array_header_1_0(out, header)
    return out.getvalue()
