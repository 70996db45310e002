"""What a folder of tokens says about itself, and how a shard begins.

::

    manifest.json    what was prepared and how, and each shard with its length and SHA-256
    vocabulary.json  the tokenizer, whole
    train-00000.npy  uint16 where the vocabulary allows, otherwise uint32, the lowest byte first
"""

import hashlib
import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from nhin.data.text.splits import SplitConfig

FORMAT = 1
MANIFEST, VOCABULARY = "manifest.json", "vocabulary.json"


@dataclass(frozen=True, slots=True)
class Shard:
    """One file of tokens."""

    name: str
    tokens: int
    sha256: str


@dataclass(frozen=True, slots=True)
class SplitInfo:
    """One split: how much it is, in tokens, in characters and in bytes of UTF-8."""

    tokens: int
    characters: int
    bytes: int
    shards: tuple[Shard, ...]


@dataclass(frozen=True, slots=True)
class Origin:
    """What was prepared: its name, a SHA-256 of all its documents, how many, and what was left out."""

    name: str
    sha256: str
    documents: int
    skipped: dict[str, int]


@dataclass(frozen=True, slots=True)
class ManifestSplits:
    """The splits; None for one that was not asked for."""

    train: SplitInfo
    validation: SplitInfo | None = None
    test: SplitInfo | None = None


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a folder of tokens says about itself; ``asked`` is the tokenizer that was asked for."""

    format: int
    source: Origin
    asked: str
    cut: SplitConfig
    tokenizer: str
    vocab: int
    dtype: Literal["uint16", "uint32"]
    splits: ManifestSplits


def little_endian(name: str) -> np.dtype[Any]:
    """Return a type of numbers as shards hold it: the lowest byte first, on every machine."""
    return np.dtype(name).newbyteorder("<")


def npy_header(dtype: np.dtype[Any], count: int) -> bytes:
    """Return what stands before ``count`` numbers in a ``.npy`` file: as many bytes for every count."""
    out = io.BytesIO()
    words = {"descr": dtype.str, "fortran_order": False, "shape": (count,)}
    np.lib.format.write_array_header_1_0(out, words)
    return out.getvalue()


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file, read piece by piece."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
