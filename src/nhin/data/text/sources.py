"""Sources of text: a file, a folder, or Python's standard library; ``hub`` adds Hugging Face's data sets.

A source yields documents, each a stream of pieces, the same ones every time; only one piece is in memory.
Text is not changed: newlines, normalization and case stay as they are.
"""

import codecs
import os
import sysconfig
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePath

from nhin.errors import DataError
from nhin.files import explain_os_error

PYTHON = "python"
_CHUNK_BYTES = 2**16
_UTF16_BOMS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
# Tests and generated tables; config-* and _sysconfigdata* differ by machine.
_EXCLUDED_NAMES = frozenset(
    "test tests idle_test idlelib turtledemo site-packages dist-packages encodings pydoc_data "
    "__pycache__ entities.py".split()
)
_EXCLUDED_PREFIXES = ("config-", "_sysconfigdata")


@dataclass(frozen=True, slots=True)
class CorpusSource:
    """Documents and where they come from.

    ``documents`` starts over at every call; if ``remote``, each call is a download. A ``single`` document
    gets no end-of-text token. ``root`` is the folder that is read, ``skipped`` counts the files left out
    of it, by reason.
    """

    name: str
    documents: Callable[[], Iterator[Iterator[str]]]
    single: bool = False
    remote: bool = False
    root: Path | None = None
    skipped: Mapping[str, int] = field(default_factory=dict)


def read_text(path: Path) -> Iterator[str]:
    """Read a text file in pieces, unchanged but for its byte-order mark.

    Raises:
        DataError: It cannot be read, is binary, or is not UTF-8; the message names the byte.
    """
    decoder = codecs.getincrementaldecoder("utf-8")()
    at = 0
    with explain_os_error(f"read {path}", DataError), path.open("rb") as file:
        while data := file.read(_CHUNK_BYTES):
            _refuse_binary(path, data, at)
            pending = len(decoder.getstate()[0])
            try:
                text = decoder.decode(data)
            except UnicodeDecodeError as why:
                raise DataError(_not_utf8(path, at - pending + why.start)) from None
            yield text.removeprefix("\ufeff") if at == 0 else text
            at += len(data)
    if pending := len(decoder.getstate()[0]):
        raise DataError(_not_utf8(path, at - pending))


def _not_utf8(path: Path, at: int) -> str:
    return f"{path} is not UTF-8 at byte {at}; convert it first, with iconv -t utf-8 for one"


def _refuse_binary(path: Path, data: bytes, at: int) -> None:
    if at == 0 and data.startswith(_UTF16_BOMS):
        raise DataError(f"{path} is UTF-16; convert it first: iconv -f utf-16 -t utf-8")
    if (zero := data.find(0)) >= 0:
        raise DataError(f"{path} is binary, not text: byte {at + zero} is zero")


def open_folder(
    path: Path, name: str | None = None, suffix: str = "", exclude: Callable[[str], bool] | None = None
) -> CorpusSource:
    """Open every text file under a folder as a document, sorted by name.

    Hidden files and folders, links to folders or out of this one, and files that are binary or not UTF-8
    in their first 64 KiB are left out and counted.

    Args:
        path: The folder.
        name: The name of the source; by default the path.
        suffix: The end of the names of files to read.
        exclude: Whether to ignore files and folders of a name, uncounted.

    Raises:
        DataError: There is no text, or the folder cannot be read.
    """
    skipped: Counter[str] = Counter()
    paths = []
    for relative in sorted(_walk_files(path, skipped, exclude or (lambda name: False))):
        if not relative.name.endswith(suffix):
            continue
        if reason := _skip_reason(path / relative, path):
            skipped[reason] += 1
        else:
            paths.append(path / relative)
    if not paths:
        left = ", ".join(f"{count} {reason}" for reason, count in sorted(skipped.items()))
        raise DataError(f"{path} holds no text files" + (f" (left out: {left})" if left else ""))

    single, skips = len(paths) == 1, dict(skipped)
    return CorpusSource(name or str(path), lambda: map(read_text, paths), single, root=path, skipped=skips)


def _walk_files(path: Path, skipped: Counter[str], exclude: Callable[[str], bool]) -> Iterator[PurePath]:
    """Yield the files of a folder as paths relative to it; count hidden files, hidden folders and links."""

    def fail(why: OSError) -> None:
        raise DataError(f"cannot read {why.filename or path}: {why.strerror or why}") from why

    for parent, folders, names in os.walk(path, onerror=fail):
        relative = PurePath(parent).relative_to(path)
        folders[:] = [name for name in folders if not exclude(name)]
        for name in list(folders):
            reason = "hidden" if name.startswith(".") else "links" if Path(parent, name).is_symlink() else ""
            if reason:
                skipped[reason] += 1
                folders.remove(name)
        for name in names:
            if name.startswith("."):
                skipped["hidden"] += 1
            elif not exclude(name):
                yield relative / name


def _skip_reason(path: Path, root: Path) -> str:
    """Return why to leave a file out; an empty string if its first bytes are text."""
    if path.is_symlink() and not path.resolve().is_relative_to(root.resolve()):
        return "links"
    if not path.is_file():
        return "not files"
    with explain_os_error(f"read {path}", DataError), path.open("rb") as file:
        head = file.read(_CHUNK_BYTES)
    if 0 in head or head.startswith(_UTF16_BOMS):
        return "binary"
    try:
        codecs.getincrementaldecoder("utf-8")().decode(head, final=len(head) < _CHUNK_BYTES)
    except UnicodeDecodeError:
        return "not UTF-8"
    return ""


def open_python_library() -> CorpusSource:
    """Open the sources of Python's standard library, without tests and tables: text on every machine."""

    def is_excluded(name: str) -> bool:
        return name in _EXCLUDED_NAMES or name.startswith(_EXCLUDED_PREFIXES)

    return open_folder(Path(sysconfig.get_paths()["stdlib"]), PYTHON, ".py", is_excluded)
