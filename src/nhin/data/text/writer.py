"""Folders that are there whole or not at all, and rows of tokens written as they come."""

import json
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO, Self

import numpy as np

from nhin.data.text.manifest import Shard, SplitInfo, little_endian, npy_header, sha256_of
from nhin.errors import DataError, UsageError

_LOCK = ".lock"


@contextmanager
def temporary_sibling(out: Path) -> Iterator[Path]:
    """Give an empty folder to fill, which is put in place at the end; nothing stays of it when that fails.

    Raises:
        UsageError: Another process is filling it.
        DataError: It cannot be written.
    """
    new = out.with_name(f".{out.name}.new")
    try:
        new.mkdir(parents=True, exist_ok=True)
        with ExitStack() as stack:
            _lock_folder(new, out, stack)
            try:
                _clear_folder(new)  # of what a killed process left
                yield new
                (new / _LOCK).unlink(missing_ok=True)
                if out.is_dir():
                    out.rmdir()
                new.rename(out)
            except BaseException:
                shutil.rmtree(new, ignore_errors=True)
                raise
    except OSError as why:
        raise DataError(f"cannot write {out}: {why.strerror or why}") from why


def _lock_folder(new: Path, out: Path, stack: ExitStack) -> None:
    """Hold a folder until the stack ends, or the process, however that comes."""
    try:
        import fcntl
    except ImportError:  # Windows: nothing to hold with, one preparation a folder is up to its user
        return
    lock = stack.enter_context((new / _LOCK).open("w"))
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as why:
        raise UsageError(
            f"another process is preparing {out} just now; wait, or choose another folder"
        ) from why


def _clear_folder(folder: Path) -> None:
    for path in folder.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        elif path.name != _LOCK:
            path.unlink()


def write_json(path: Path, tree: Any) -> None:
    """Write plain values, down to the disk."""
    with path.open("w", encoding="utf-8", newline="\n") as file:
        json.dump(tree, file, ensure_ascii=False, indent=1)
        file.write("\n")
        file.flush()
        os.fsync(file.fileno())


class TokenWriter:
    """Writes the tokens of one split as they come, a new file every so many; use it with ``with``.

    Args:
        folder: Where the files go.
        name: Of the split.
        dtype: Of the numbers.
        max_tokens: Tokens in a file.
    """

    def __init__(self, folder: Path, name: str, dtype: str, max_tokens: int) -> None:
        self._folder, self._name, self._dtype, self._max_tokens = (
            folder,
            name,
            little_endian(dtype),
            max_tokens,
        )
        self._file: BinaryIO | None = None
        self._count = self._characters = self._bytes = 0
        self._shards: list[Shard] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        if kind is None:
            self._close_shard()
        elif self._file is not None:
            with suppress(OSError):  # a full disk fails again here, and the first failure says it
                self._file.close()

    def add(self, ids: Sequence[int], texts: Sequence[str]) -> None:
        """Write some tokens, which stand for these texts."""
        self._characters += sum(map(len, texts))
        self._bytes += sum(len(text.encode()) for text in texts)
        tokens = np.array(ids, self._dtype)
        while len(tokens):
            some = tokens[: self._max_tokens - self._count]
            self._open_file().write(some.tobytes())
            self._count += len(some)
            if self._count == self._max_tokens:
                self._close_shard()
            tokens = tokens[len(some) :]

    def split_info(self) -> SplitInfo:
        """Tell what was written; after the ``with``."""
        tokens = sum(shard.tokens for shard in self._shards)
        return SplitInfo(tokens, self._characters, self._bytes, tuple(self._shards))

    def _open_file(self) -> BinaryIO:
        if self._file is None:
            path = self._folder / f"{self._name}-{len(self._shards):05d}.npy"
            self._file = path.open("wb")
            self._file.write(npy_header(self._dtype, 0))
        return self._file

    def _close_shard(self) -> None:
        """End a file: its header is as long for every count, and written again when that is known."""
        if self._file is None:
            return
        path = Path(self._file.name)
        self._file.seek(0)
        self._file.write(npy_header(self._dtype, self._count))
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        self._shards.append(Shard(path.name, self._count, sha256_of(path)))
        self._file, self._count = None, 0
