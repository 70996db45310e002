"""Atomic writes of files and folders, bounded reads, folder locks and file hashes."""

import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, TypeVar

from nhin.errors import CheckpointError, NhinError, UsageError

T = TypeVar("T")

LOCK = ".lock"
_MAX_JSON = 64 * 2**20
_MAX_CONTAINERS, _MAX_ITEMS = 2**22, 2**23  # lists and dicts of 64 bytes at least, items of 32
_MAX_READ_SECONDS = 60.0


@contextmanager
def explain_os_error(action: str, error: type[NhinError] = CheckpointError) -> Iterator[None]:
    """Turn an OSError into ``error``: "cannot ACTION: the reason"."""
    try:
        yield
    except OSError as why:
        raise error(f"cannot {action}: {why.strerror or why}") from why


@contextmanager
def open_atomic(path: Path, error: type[NhinError] = CheckpointError) -> Iterator[IO[bytes]]:
    """Yield a file beside a path, which is flushed to the disk and renamed to it at the end.

    Raises:
        CheckpointError: There is no room or no permission (``error``, if given); what was there is intact.
    """
    new = path.with_name(f".{path.name}.new")
    with explain_os_error(f"write {path}", error):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with new.open("wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            new.replace(path)
        except BaseException:
            with suppress(OSError):
                new.unlink(missing_ok=True)
            raise


def write_atomic(path: Path, data: bytes | str, error: type[NhinError] = CheckpointError) -> None:
    """Write a file atomically; text is written as UTF-8; see ``open_atomic``."""
    with open_atomic(path, error) as file:
        file.write(data.encode() if isinstance(data, str) else data)


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
    except (Exception, KeyboardInterrupt):
        shutil.rmtree(new, ignore_errors=True)
        raise


def find_folder(folder: Path) -> Path | None:
    """Find a folder of ``write_folder``, which a kill between two renames leaves under another name."""
    # Again at the end: the second rename may come between the first look and the second.
    return next((path for path in (folder, beside(folder)[1], folder) if path.is_dir()), None)


def read_folder(folder: Path, read: Callable[[Path], T]) -> T | None:
    """Read a folder of ``write_folder`` as it was at one moment, though another process may replace it.

    Args:
        folder: The folder.
        read: Called with its path; called again if the folder was replaced meanwhile.

    Returns:
        What ``read`` returned; None where there is no folder.

    Raises:
        CheckpointError: It cannot be read, or is replaced again and again, faster than it can be read.
    """
    with explain_os_error(f"read {folder}"):
        return _read_folder(folder, read)


def _read_folder(folder: Path, read: Callable[[Path], T]) -> T | None:
    deadline = time.monotonic() + _MAX_READ_SECONDS
    while (path := find_folder(folder)) is not None:
        with _hold_folder(path) as held:
            try:
                result = read(path)
            except Exception:
                if _is_at(path, held) and find_folder(folder) == path:
                    raise
            else:
                if _is_at(path, held) and find_folder(folder) == path:
                    return result
        if time.monotonic() > deadline:
            raise CheckpointError(f"{folder} is replaced again and again, faster than it can be read")
    return None


@contextmanager
def _hold_folder(path: Path) -> Iterator[os.stat_result | None]:
    """Yield which folder is at a path; until the end no other folder can have its number."""
    try:
        # Windows cannot open a folder, and does not use the number of a removed one again.
        handle = None if os.name == "nt" else os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        yield None
        return
    try:
        yield path.stat() if handle is None else os.fstat(handle)
    finally:
        if handle is not None:
            os.close(handle)


def _is_at(path: Path, held: os.stat_result | None) -> bool:
    """Return whether the folder at a path is the one that is held."""
    try:
        return held is not None and os.path.samestat(path.stat(), held)
    except FileNotFoundError:
        return False


def beside(folder: Path) -> tuple[Path, Path]:
    """Return the paths where ``write_folder`` builds the new folder and moves the old one."""
    return folder.parent / f".{folder.name}.new", folder.parent / f".{folder.name}.old"


def swap(folder: Path, new: Path, old: Path) -> None:
    """Rename ``folder`` to ``old``, then ``new`` to ``folder``; one of the two is always complete."""
    if folder.exists():
        _remove(old)
        folder.rename(old)
    new.rename(folder)
    flush(folder.parent)
    shutil.rmtree(old, ignore_errors=True)  # what stays is removed at the next write


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
    if folder.is_symlink():
        folder.unlink()
    elif folder.exists():
        shutil.rmtree(folder)


@contextmanager
def lock_folder(folder: Path, busy: str, error: type[NhinError] = CheckpointError) -> Iterator[None]:
    """Make a folder and lock it; the lock ends with the process, however it ends.

    Raises:
        UsageError: Another process has locked it; the message is ``busy``.
        CheckpointError: It cannot be made or written to (``error``, if given).
    """
    with explain_os_error(f"write in {folder}", error):
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / LOCK).open("w")
    with lock:
        with explain_os_error(f"lock {folder}", error):
            _lock(lock, busy)
        yield


@contextmanager
def lock_file(path: Path, error: type[NhinError] = CheckpointError) -> Iterator[None]:
    """Make a file and lock it, waiting for another process to unlock it.

    Raises:
        CheckpointError: It cannot be made or locked (``error``, if given).
    """
    with explain_os_error(f"lock {path}", error):
        file = path.open("w")
    with file:
        with explain_os_error(f"lock {path}", error):
            _lock(file)
        yield


def _lock(file: IO[str], busy: str = "") -> None:
    """Lock an open file; wait for it, or fail with the message ``busy``."""
    try:
        import fcntl
    except ImportError:  # Windows has no such lock: its user starts one process for each folder
        return
    try:
        fcntl.flock(file, fcntl.LOCK_EX | (fcntl.LOCK_NB if busy else 0))
    except BlockingIOError as why:
        raise UsageError(busy) from why


def read_bytes(path: Path, max_bytes: int, error: type[NhinError] = CheckpointError) -> bytes:
    """Read a file that a stranger may have made.

    Raises:
        CheckpointError: It cannot be read, is no regular file or is too large (``error``, if given).
    """
    with explain_os_error(f"read {path}", error):
        if path.exists() and not path.is_file():
            raise error(f"cannot read {path}: it is not a file")
        with path.open("rb") as file:
            data = file.read(max_bytes + 1)
    if len(data) > max_bytes:
        raise error(f"{path} is larger than {max_bytes:,} bytes, the most that is read")
    return data


def read_json(path: Path, error: type[NhinError] = CheckpointError, max_bytes: int = _MAX_JSON) -> Any:
    """Read a JSON file that a stranger may have made.

    Raises:
        CheckpointError: It cannot be read, is too large or is not JSON (``error``, if given).
    """
    return parse_json(read_bytes(path, max_bytes, error), str(path), error)


def parse_json(text: str | bytes, where: str, error: type[NhinError] = CheckpointError) -> Any:
    """Parse JSON, without the NaN and Infinity that Python allows.

    Raises:
        CheckpointError: It is not JSON, nested too deeply, or of too many values (``error``, if given).
    """
    data = text.encode("utf-8", "replace") if isinstance(text, str) else text
    if data.count(b"[") + data.count(b"{") > _MAX_CONTAINERS or data.count(b",") > _MAX_ITEMS:
        raise error(f"{where} holds more values than nhin ever writes")
    try:
        return json.loads(text, parse_constant=_refuse_constant)
    except RecursionError:
        raise error(f"{where} is nested too deeply") from None
    except ValueError as why:  # UnicodeDecodeError and numbers of too many digits are ValueErrors too
        raise error(f"{where} is not JSON: {str(why)[:120]}") from None


def _refuse_constant(word: str) -> None:
    raise ValueError(f"{word} is not a number of JSON")


def hash_file(path: Path) -> str:
    """Return the SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def hash_files(paths: Iterable[Path], max_bytes: int = 2**32) -> str:
    """Return the SHA-256 of some files: their names, without folders, their sizes and their contents.

    Args:
        paths: The files, in an order that is part of the hash.
        max_bytes: Of files after so many bytes in all, the sizes alone are hashed.

    Raises:
        OSError: One cannot be read.
    """
    digest, total = hashlib.sha256(), 0
    for path in paths:
        size = path.stat().st_size
        total += size
        content = hash_file(path) if total <= max_bytes else ""
        digest.update(repr((path.name, size, content)).encode())
    return digest.hexdigest()
