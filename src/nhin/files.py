"""Atomic writes of files and folders, folder locks and file hashes."""

import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from nhin.errors import CheckpointError, UsageError


def write_atomic(path: Path, data: bytes | str) -> None:
    """Write a temporary file, flush it to the disk, then rename it; text is written as UTF-8.

    Raises:
        CheckpointError: There is no room or no permission; the old file is intact.
    """
    new = path.with_name(f".{path.name}.new")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with new.open("wb") as file:
            file.write(data.encode() if isinstance(data, str) else data)
            file.flush()
            os.fsync(file.fileno())
        new.replace(path)
    except OSError as why:
        raise CheckpointError(f"cannot write {path}: {why.strerror or why}") from why


@contextmanager
def write_folder(folder: Path) -> Iterator[Path]:
    """Yield an empty folder that replaces ``folder`` at the end, flushed to the disk.

    After a kill at any moment ``find_folder`` finds the complete old folder or the complete new one. After
    an exception nothing of the new one is left.
    """
    new, old = beside(folder)
    try:
        _remove(new)
        new.mkdir(parents=True)
        yield new
        for path in [*new.rglob("*"), new]:
            flush(path)
        swap(folder, new, old)
    except Exception:
        shutil.rmtree(new, ignore_errors=True)
        raise


def find_folder(folder: Path) -> Path | None:
    """Find a folder of ``write_folder``, which a kill between two renames leaves under another name."""
    return next((path for path in (folder, beside(folder)[1]) if path.is_dir()), None)


def beside(folder: Path) -> tuple[Path, Path]:
    """Return the paths where ``write_folder`` builds the new folder and moves the old one."""
    return folder.with_name(f".{folder.name}.new"), folder.with_name(f".{folder.name}.old")


def swap(folder: Path, new: Path, old: Path) -> None:
    """Rename ``folder`` to ``old``, then ``new`` to ``folder``; one of the two is always complete."""
    if folder.exists():
        _remove(old)
        folder.rename(old)
    new.rename(folder)
    flush(folder.parent)
    _remove(old)


def flush(path: Path) -> None:
    """Flush a file or a folder from buffers to the disk."""
    if os.name == "nt" and path.is_dir():  # Windows cannot open a folder
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _remove(folder: Path) -> None:
    if folder.exists():
        shutil.rmtree(folder)


@contextmanager
def lock_folder(folder: Path, busy: str) -> Iterator[None]:
    """Create a folder and lock it; the lock ends with the process, even after a kill.

    Raises:
        UsageError: Another process has locked it; the message is ``busy``.
        CheckpointError: It cannot be created or written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / ".lock").open("w")
    except OSError as why:
        raise CheckpointError(f"cannot write in {folder}: {why.strerror or why}") from why
    with lock:
        try:
            import fcntl
        except ImportError:  # Windows has no such lock; there nothing prevents two processes
            yield
            return
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as why:
            raise UsageError(busy) from why
        yield


def hash_file(path: Path) -> str:
    """Return the SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
