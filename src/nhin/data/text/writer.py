"""Write the tokens of a preparation: a folder that appears complete or not at all, and the shards in it."""

import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, Self

import numpy as np

from nhin.data.text.manifest import Shard, SplitInfo, little_endian, npy_header
from nhin.errors import DataError
from nhin.files import LOCK, beside, explain_os_error, hash_file, lock_folder


@contextmanager
def build_folder(out: Path) -> Iterator[Path]:
    """Yield an empty, locked folder that becomes ``out`` at the end; after a failure nothing of it is left.

    Raises:
        UsageError: Another process is filling it.
        DataError: It cannot be written.
    """
    new, _ = beside(out)
    busy = f"another process is preparing {out} just now; wait, or choose another folder"
    with explain_os_error(f"write {out}", DataError), lock_folder(new, busy, DataError):
        try:
            _clear_folder(new)  # of files that a killed process left
            yield new
            (new / LOCK).unlink(missing_ok=True)
            if out.is_dir():
                out.rmdir()
            new.rename(out)
        except BaseException:
            shutil.rmtree(new, ignore_errors=True)
            raise


def _clear_folder(folder: Path) -> None:
    for path in folder.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        elif path.name != LOCK:
            path.unlink()


class TokenWriter:
    """Writes the tokens of one split as they come, ``max_tokens`` per file; a context manager."""

    def __init__(self, folder: Path, name: str, dtype: str, max_tokens: int) -> None:
        self._folder, self._name, self._max_tokens = folder, name, max_tokens
        self._dtype = little_endian(dtype)
        self._file: BinaryIO | None = None
        self._count = self._characters = self._bytes = 0
        self._shards: list[Shard] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        try:
            if kind is None:
                self._close_shard()
        finally:
            if self._file is not None:
                with suppress(OSError):  # a full disk fails again here; the first failure is already raised
                    self._file.close()

    def add(self, ids: Sequence[int], texts: Sequence[str]) -> None:
        """Write the tokens of some texts."""
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
        """Return what was written; valid after the ``with`` block."""
        tokens = sum(shard.tokens for shard in self._shards)
        return SplitInfo(tokens, self._characters, self._bytes, tuple(self._shards))

    def _open_file(self) -> BinaryIO:
        if self._file is None:
            path = self._folder / f"{self._name}-{len(self._shards):05d}.npy"
            self._file = path.open("wb")
            self._file.write(npy_header(self._dtype, 0))
        return self._file

    def _close_shard(self) -> None:
        """Close a file, its header rewritten now that the count is known."""
        if self._file is None:
            return
        path = Path(self._file.name)
        self._file.seek(0)
        self._file.write(npy_header(self._dtype, self._count))
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        self._shards.append(Shard(path.name, self._count, hash_file(path)))
        self._file, self._count = None, 0
