"""Faults of file operations: a process is killed, or the disk is full, at the n-th operation in a folder."""

import builtins
import contextlib
import errno
import io
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal
from unittest.mock import patch

import safetensors.torch
from safetensors import SafetensorError

Kind = Literal["kill", "full"]
_truncate = os.truncate  # not the broken one


class Killed(BaseException):
    """The process is dead; what runs after it changes no file."""


class FaultyFiles:
    """Counts the operations that change files in ``root``, and breaks the one of number ``at``.

    Args:
        root: Operations elsewhere are not counted.
        at: From 1; 0 breaks none.
        kind: ``kill`` ends the process, in the middle of a write; ``full`` leaves no room from then on, so
            that all later operations that take room fail too.
        kill: Ends the process; raises ``Killed`` when None, and no later operation changes a file.
    """

    def __init__(self, root: Path, at: int = 0, kind: Kind = "kill", kill: Callable[[], None] | None = None):
        self.root, self.at, self.kind = str(root.resolve()), at, kind
        self.actions: list[str] = []
        self._kill = kill
        self._is_broken = False

    def is_in_root(self, path: Any, dir_fd: int | None = None) -> bool:
        """Return whether an operation on a path, or on an open file, is counted."""
        if isinstance(path, int) or dir_fd is not None:
            folder = Path(f"/proc/self/fd/{path if dir_fd is None else dir_fd}")
            return not folder.exists() or str(folder.readlink()).startswith(self.root)
        return str(Path(os.fsdecode(path)).absolute()).startswith(self.root)

    def check(self, action: str, takes_room: bool, write_half: Callable[[], object] | None = None) -> bool:
        """Count an operation, and break it if it is its turn; return False where it must change nothing."""
        if self._is_broken and self.kind == "kill":
            if action == "write":
                return False
            raise Killed
        self.actions.append(action)
        is_hit = len(self.actions) == self.at
        self._is_broken |= is_hit
        if is_hit and write_half is not None:
            write_half()
        if is_hit and self.kind == "kill":
            (self._kill or _raise_killed)()
        if self._is_broken and takes_room:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return True

    @contextlib.contextmanager
    def installed(self) -> Iterator["FaultyFiles"]:
        """Patch what writes files: Python's functions, and safetensors, which writes without them."""
        with contextlib.ExitStack() as stack:
            for name, takes_room in _CHANGES.items():
                stack.enter_context(patch.object(os, name, self._wrap(getattr(os, name), name, takes_room)))
            opened = self._wrap_open(io.open)
            for module in (io, builtins):
                stack.enter_context(patch.object(module, "open", opened))
            stack.enter_context(patch.object(os, "open", self._wrap_os_open(os.open)))
            serialize = self._wrap_serialize(safetensors.torch.serialize_file)
            stack.enter_context(patch.object(safetensors.torch, "serialize_file", serialize))
            yield self

    def _wrap(self, function: Callable[..., Any], name: str, takes_room: bool) -> Callable[..., Any]:
        def wrapped(path: Any, *rest: Any, **options: Any) -> Any:
            if self.is_in_root(path, options.get("dir_fd")):
                self.check(name, takes_room)
            return function(path, *rest, **options)

        return wrapped

    def _wrap_os_open(self, function: Callable[..., int]) -> Callable[..., int]:
        def wrapped(path: Any, flags: int, *rest: Any, **options: Any) -> int:
            if flags & os.O_CREAT and self.is_in_root(path, options.get("dir_fd")):
                self.check("create", takes_room=True)
            return function(path, flags, *rest, **options)

        return wrapped

    def _wrap_open(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(
            file: Any,
            mode: str = "r",
            buffering: int = -1,
            encoding: str | None = None,
            errors: str | None = None,
            newline: str | None = None,
            **options: Any,
        ) -> Any:
            if not set(mode) & set("wax+") or isinstance(file, int) or not self.is_in_root(file):
                return function(file, mode, buffering, encoding, errors, newline, **options)
            self.check("open", takes_room=True)
            raw = _FaultyFile(self, os.fspath(file), mode.replace("b", "").replace("t", ""))
            buffer = (io.BufferedRandom if "+" in mode else io.BufferedWriter)(raw)
            return buffer if "b" in mode else io.TextIOWrapper(buffer, encoding, errors, newline)

        return wrapped

    def _wrap_serialize(self, function: Callable[..., None]) -> Callable[..., None]:
        def wrapped(tensors: Any, path: Any, *rest: Any, **options: Any) -> None:
            def write_half() -> None:
                function(tensors, path, *rest, **options)
                _truncate(path, Path(path).stat().st_size // 2)

            try:
                if self.is_in_root(path):
                    self.check("serialize", takes_room=True, write_half=write_half)
            except OSError as why:
                raise SafetensorError(f"I/O error: {why.strerror} (os error {why.errno})") from why
            function(tensors, path, *rest, **options)

        return wrapped


# The functions of ``os`` that change files, and whether a full disk can refuse them.
_CHANGES = {
    "mkdir": True,
    "rename": True,
    "replace": True,
    "fsync": True,
    "truncate": False,
    "unlink": False,
    "remove": False,
    "rmdir": False,
    "chmod": False,
}


class _FaultyFile(io.FileIO):
    """A file that is open for writing."""

    def __init__(self, faults: FaultyFiles, path: str, mode: str) -> None:
        super().__init__(path, mode)
        self._faults = faults

    def write(self, data: Any, /) -> int:
        """Write data, half of it where the write is broken."""
        write = super().write
        half = memoryview(data)[: len(data) // 2]
        if not self._faults.check("write", takes_room=True, write_half=lambda: write(half)):
            return len(data)
        return write(data)


def _raise_killed() -> None:
    raise Killed
