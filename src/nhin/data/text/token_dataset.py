"""Prepared tokens, memory-mapped on demand; everything read from disk is checked first."""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nhin.config import from_dict
from nhin.data.text.manifest import (
    FORMAT,
    MANIFEST,
    VOCABULARY,
    Manifest,
    SplitInfo,
    little_endian,
    npy_header,
)
from nhin.data.text.splits import SPLITS
from nhin.errors import DataError, NhinError, UnknownName
from nhin.files import explain_os_error, hash_file, read_json
from nhin.text.tokenizers import Tokenizer, tokenizer_from_dict

_MAX_JSON_BYTES = 256 * 2**20
_MAX_OPEN_SHARDS = 64


@dataclass(frozen=True)
class Split:
    """The tokens of one split, read from its shards on demand."""

    name: str
    folder: Path
    info: SplitInfo
    vocab: int
    dtype: str
    _ends: NDArray[np.int64] = field(init=False, repr=False, compare=False)
    _open_shards: dict[int, NDArray[Any]] = field(init=False, repr=False, compare=False, default_factory=dict)

    def __post_init__(self) -> None:
        counts = np.array([shard.tokens for shard in self.info.shards], np.int64)
        object.__setattr__(self, "_ends", np.cumsum(counts))

    def __len__(self) -> int:
        return self.info.tokens

    @property
    def characters(self) -> int:
        """The number of characters of the text."""
        return self.info.characters

    @property
    def bytes(self) -> int:
        """The number of UTF-8 bytes of the text."""
        return self.info.bytes

    def read(self, start: int, stop: int) -> NDArray[np.int64]:
        """Return tokens ``start`` up to ``stop``.

        Raises:
            DataError: A shard is damaged, or holds a token outside the vocabulary.
        """
        assert 0 <= start <= stop <= len(self), f"{start} to {stop} of {len(self)} tokens"
        tokens = np.empty(stop - start, np.int64)
        number = int(np.searchsorted(self._ends, start, side="right"))
        at = start
        while at < stop:
            until = min(stop, int(self._ends[number]))
            first = int(self._ends[number]) - self.info.shards[number].tokens
            tokens[at - start : until - start] = self._map_shard(number)[at - first : until - first]
            at, number = until, number + 1
        if stop > start and (last := tokens.max()) >= self.vocab:
            raise DataError(f"{self.folder} is torn: {self.name} holds the token {last} of {self.vocab}")
        return tokens

    def _map_shard(self, number: int) -> NDArray[Any]:
        """Map one shard into memory; each map keeps a file open, so their number is limited."""
        if number not in self._open_shards:
            if len(self._open_shards) >= _MAX_OPEN_SHARDS:
                self._open_shards.pop(next(iter(self._open_shards)))
            path = self.folder / self.info.shards[number].name
            self.check_shard(number)
            with _explain_read_error(path):
                self._open_shards[number] = np.load(path, mmap_mode="r", allow_pickle=False)
        return self._open_shards[number]

    def check_shard(self, number: int) -> None:
        """Compare a shard's header and length with the manifest, before it is mapped.

        Raises:
            DataError: They differ, or the file cannot be read.
        """
        shard, dtype = self.info.shards[number], little_endian(self.dtype)
        path, expected = self.folder / shard.name, npy_header(dtype, shard.tokens)
        if path.exists() and not path.is_file():
            raise DataError(f"{path} is not a file")
        with _explain_read_error(path), path.open("rb") as file:
            header, size = file.read(len(expected)), path.stat().st_size
        if header != expected or size != len(expected) + shard.tokens * dtype.itemsize:
            raise DataError(f"{path} is torn: it is not {shard.tokens} tokens of {self.dtype}")


@dataclass(frozen=True, slots=True)
class Corpus:
    """A prepared text: its manifest, its tokenizer, and the tokens of each split."""

    folder: Path
    manifest: Manifest
    tokenizer: Tokenizer
    splits: Mapping[str, Split]

    def split(self, name: str) -> Split:
        """Return the tokens of ``train``, ``validation`` or ``test``.

        Raises:
            UnknownName: The text was prepared without it.
        """
        if name not in self.splits:
            raise UnknownName(f"split in {self.folder}", name, self.splits)
        return self.splits[name]

    def is_intact(self) -> bool:
        """Hash every shard; return whether all are, byte for byte, what was written."""
        shards = [shard for split in self.splits.values() for shard in split.info.shards]
        return all(hash_file(self.folder / shard.name) == shard.sha256 for shard in shards)


def open_tokens(folder: Path | str) -> Corpus:
    """Open a folder that ``nhin prepare`` wrote; no token is read yet.

    Raises:
        DataError: There is none, or it is damaged, foreign or of another format.
    """
    folder = Path(folder)
    if not (folder / MANIFEST).is_file():
        raise DataError(f"{folder} holds no tokens: there is no {MANIFEST}; nhin prepare makes them")
    tree = read_json(folder / MANIFEST, DataError, _MAX_JSON_BYTES)
    version = tree.get("format") if isinstance(tree, dict) else None
    if not isinstance(tree, dict) or version not in range(1, FORMAT + 1):
        raise DataError(f"{folder / MANIFEST} has format {version}; this nhin reads format 1 to {FORMAT}")
    try:
        manifest = from_dict(Manifest, tree, str(folder / MANIFEST))
        tokenizer = tokenizer_from_dict(read_json(folder / VOCABULARY, DataError, _MAX_JSON_BYTES))
    except NhinError as why:
        raise DataError(f"{folder} is torn: {why}") from why
    if (manifest.tokenizer, manifest.vocab) != (tokenizer.fingerprint, tokenizer.vocab):
        raise DataError(f"{folder} is torn: {VOCABULARY} is not what made these tokens")
    splits: dict[str, Split] = {}
    for name in SPLITS:
        info: SplitInfo | None = getattr(manifest.splits, name)
        if info is not None:
            _check_info(info, name, folder)
            splits[name] = Split(name, folder, info, tokenizer.vocab, manifest.dtype)
            for number in range(len(info.shards)):
                splits[name].check_shard(number)
    return Corpus(folder, manifest, tokenizer, splits)


def _check_info(info: SplitInfo, name: str, folder: Path) -> None:
    """Refuse impossible counts, and names that are not shards of this folder."""
    for shard in info.shards:
        if not re.fullmatch(rf"{name}-[0-9]{{5,9}}\.npy", shard.name):
            raise DataError(f"{folder} is torn: {shard.name[:80]!r} is no shard of {name}")
    counts = [info.characters, info.bytes, *(shard.tokens for shard in info.shards)]
    if min(counts) < 0 or info.tokens != sum(shard.tokens for shard in info.shards):
        raise DataError(f"{folder} is torn: the tokens of {name} do not add up")


@contextmanager
def _explain_read_error(path: Path) -> Iterator[None]:
    """Raise any reading error as a DataError of one line."""
    try:
        with explain_os_error(f"read {path}", DataError):
            yield
    except (ValueError, RecursionError) as why:
        if isinstance(why, NhinError):
            raise
        raise DataError(f"{path} is torn: {why}") from why
