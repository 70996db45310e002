"""Where text comes from: a file, a folder, Hugging Face's hub, or the Python on this machine.

A source gives documents, each a stream of pieces, the same ones every time it is asked; no more than a
piece is in memory. Text stays as it is: newlines, composition and case are the corpus's own.
"""

import codecs
import os
import sysconfig
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePath

from nhin.errors import DataError

PYTHON, HUB = "python", "hf:"
_CHUNK_BYTES = 2**16
_UTF16_BOMS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
# Tests, and tables that programs wrote; what stands in config-* and _sysconfigdata* differs by machine.
_EXCLUDED_NAMES = frozenset(
    "test tests idle_test idlelib turtledemo site-packages dist-packages encodings pydoc_data "
    "__pycache__ entities.py".split()
)
_EXCLUDED_PREFIXES = ("config-", "_sysconfigdata")


@dataclass(frozen=True, slots=True)
class CorpusSource:
    """Documents from somewhere.

    ``name`` says where from; ``documents`` starts over every time it is called. A ``single`` document is
    not marked at its end. From a ``remote`` one every asking is a download. ``root`` is the folder it reads,
    ``skipped`` how many files there it leaves out, and why.
    """

    name: str
    documents: Callable[[], Iterator[Iterator[str]]]
    single: bool = False
    remote: bool = False
    root: Path | None = None
    skipped: Mapping[str, int] = field(default_factory=dict)


def open_source(name: str) -> CorpusSource:
    """Open a source by what a person calls it.

    Args:
        name: A file, a folder, ``hf:NAME`` or ``hf:NAME:column`` for a data set of Hugging Face's hub, or
            ``python`` for the sources of Python's own library (a file of that name is ``./python``).

    Raises:
        DataError: There is no such thing, or nothing in it that is text.
        MissingExtra: The hub was named and the ``datasets`` package is not installed.
    """
    if name == PYTHON:
        return open_python_library()
    if name.startswith(HUB):
        from nhin.data.text.hub import open_hub

        return open_hub(name)
    path = Path(name)
    if path.is_dir():
        return open_folder(path)
    if not path.exists():
        raise DataError(f"there is no file or folder {name}; a source may also be python or hf:NAME")
    if not path.is_file():
        raise DataError(f"{name} is neither a file nor a folder, and it is read more than once")
    return CorpusSource(name, lambda: iter([read_text(path)]), single=True)


def read_text(path: Path) -> Iterator[str]:
    """Read a text file in pieces, without its byte-order mark, every other character as it is.

    Raises:
        DataError: It cannot be read, is binary, or is not UTF-8; the message names the byte.
    """
    decoder = codecs.getincrementaldecoder("utf-8")()
    at = 0
    try:
        with path.open("rb") as file:
            while data := file.read(_CHUNK_BYTES):
                _refuse_binary(path, data, at)
                held = len(decoder.getstate()[0])
                try:
                    text = decoder.decode(data)
                except UnicodeDecodeError as why:
                    raise DataError(_not_utf8(path, at - held + why.start)) from None
                yield text.removeprefix("\ufeff") if at == 0 else text
                at += len(data)
    except OSError as why:
        raise DataError(f"cannot read {path}: {why.strerror or why}") from why
    if held := len(decoder.getstate()[0]):
        raise DataError(_not_utf8(path, at - held))


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
    """Take every text file under a folder as a document, in the order of their names.

    Hidden files and folders, links to folders or out of this one, and files that are binary or not UTF-8
    in their first 64 KiB are left out and counted.

    Args:
        path: The folder.
        name: What the source is called; the path when None.
        suffix: Files whose names end otherwise are passed by.
        exclude: Says by their names which files and folders are passed by.

    Raises:
        DataError: No text is there, or the folder cannot be read.
    """
    skipped: Counter[str] = Counter()
    found = []
    for relative in sorted(_walk_files(path, skipped, exclude or (lambda name: False))):
        if not relative.name.endswith(suffix):
            continue
        if reason := _skip_reason(path / relative, path):
            skipped[reason] += 1
        else:
            found.append(path / relative)
    if not found:
        left = ", ".join(f"{count} {reason}" for reason, count in sorted(skipped.items()))
        raise DataError(f"{path} holds no text files" + (f" (left out: {left})" if left else ""))

    def documents() -> Iterator[Iterator[str]]:
        return (read_text(one) for one in found)

    return CorpusSource(name or str(path), documents, len(found) == 1, root=path, skipped=dict(skipped))


def _walk_files(path: Path, skipped: Counter[str], exclude: Callable[[str], bool]) -> Iterator[PurePath]:
    """Yield the files of a folder by their paths inside it, and count what is passed by unasked."""

    def fail(why: OSError) -> None:
        raise DataError(f"cannot read {why.filename or path}: {why.strerror or why}") from why

    for here, folders, names in os.walk(path, onerror=fail):
        inside = PurePath(here).relative_to(path)
        folders[:] = [name for name in folders if not exclude(name)]
        for name in list(folders):
            reason = "hidden" if name.startswith(".") else "links" if Path(here, name).is_symlink() else ""
            if reason:
                skipped[reason] += 1
                folders.remove(name)
        for name in names:
            if name.startswith("."):
                skipped["hidden"] += 1
            elif not exclude(name):
                yield inside / name


def _skip_reason(path: Path, root: Path) -> str:
    """Say in a word why a file is left out; nothing when it is text as far as its beginning tells."""
    if path.is_symlink() and not path.resolve().is_relative_to(root.resolve()):
        return "links"
    if not path.is_file():
        return "not files"
    try:
        with path.open("rb") as file:
            head = file.read(_CHUNK_BYTES)
    except OSError as why:
        raise DataError(f"cannot read {path}: {why.strerror or why}") from why
    if 0 in head or head.startswith(_UTF16_BOMS):
        return "binary"
    try:
        codecs.getincrementaldecoder("utf-8")().decode(head, final=len(head) < _CHUNK_BYTES)
    except UnicodeDecodeError:
        return "not UTF-8"
    return ""


def open_python_library() -> CorpusSource:
    """Take the sources of Python's own library, without tests and tables: text that is on every machine."""
    return open_folder(Path(sysconfig.get_paths()["stdlib"]), PYTHON, ".py", _is_excluded)


def _is_excluded(name: str) -> bool:
    return name in _EXCLUDED_NAMES or name.startswith(_EXCLUDED_PREFIXES)
