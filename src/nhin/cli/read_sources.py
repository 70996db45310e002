"""What ``nhin read`` reads: paths, lists of them, standard input, the clipboard, addresses."""

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from nhin.errors import NhinError, UsageError
from nhin.files import read_bytes

if TYPE_CHECKING:
    from nhin.image.source import PictureSource

_MAX_LIST = 64 * 2**20


@Parameter(name="*")
@dataclass(frozen=True)
class FileOptions:
    """Which files are read, and where their texts go.

    Args:
        out: Write a file for each input into this folder, in folders like those of the inputs. What is
            there already is not read again, nor are pages of a PDF that an interrupted run read;
            nhin-read.json tells what failed and why.
        annotate: Write each page as a picture with its lines outlined and numbered into this folder.
        recursive: Read the folders in folders, too.
        list: A file with a path in each line, all to be read; - for standard input.
        clipboard: Read the picture in the clipboard, or the files copied there.
        fetch: Read what stands at this address, http or https, of the public internet; may be given
            several times.
        example: Read the street sign that comes with nhin.
    """

    out: Path | None = None
    annotate: Path | None = None
    recursive: bool = False
    list: Annotated[Path | None, Parameter(allow_leading_hyphen=True)] = None
    clipboard: bool = False
    fetch: tuple[str, ...] = ()
    example: bool = False


@dataclass(frozen=True, slots=True)
class Stream:
    """Something to read that is no file: its name in errors and formats, and what opens it."""

    name: str
    open: "Callable[[], PictureSource]"


Source = Path | Stream | NhinError
STDIN = Stream("standard input", lambda: sys.stdin.buffer)


def list_sources(paths: Sequence[Path], files: FileOptions) -> list[Source]:
    """Return each file, each stream, or why there is none; every file once, none of those in ``--out``.

    Raises:
        UsageError: There is nothing to read, or an address is given without ``--fetch``.
    """
    if files.example:
        paths = (*paths, Path(__file__).parents[1] / "examples" / "street_sign.png")
    paths = (*paths, *_read_list(files.list))
    streams = [*_list_clipboard(files.clipboard), *(_open_address(url) for url in files.fetch)]
    if not paths and not streams:
        raise UsageError("nothing to read: give pictures, folders, or - for standard input")
    return [*_iter_sources(paths, files), *streams]


def _read_list(file: Path | None) -> Sequence[Path]:
    """Return the paths in the lines of a file, of standard input for -."""
    if file is None:
        return []
    if str(file) == "-":
        data = sys.stdin.buffer.read(_MAX_LIST + 1)
        if len(data) > _MAX_LIST:
            raise UsageError(f"the list on standard input is larger than {_MAX_LIST:,} bytes")
    else:
        data = read_bytes(file, _MAX_LIST, UsageError)
    return [Path(os.fsdecode(line)) for line in data.splitlines() if line.strip()]


def _list_clipboard(is_wanted: bool) -> list[Source]:
    """Return the picture in the clipboard, or the files that were copied."""
    if not is_wanted:
        return []
    from nhin.image.clipboard import read_clipboard

    try:
        found = read_clipboard()
    except NhinError as why:
        return [why]
    return list(found) if isinstance(found, list) else [Stream("the clipboard", lambda: found)]


def _open_address(url: str) -> Stream:
    from nhin.image.fetch import fetch

    return Stream(url, lambda: fetch(url))


def _iter_sources(paths: Sequence[Path], files: FileOptions) -> Iterator[Source]:
    from nhin.image.inputs import expand_paths

    outputs = [
        Path(os.path.normpath(folder.absolute()))
        for folder in (files.out, files.annotate)
        if folder is not None
    ]
    done: set[Path] = set()
    for path in paths:
        if str(path) == "-":
            yield STDIN
            continue
        if str(path).lower().startswith(("http:/", "https:/")) and not path.exists():
            raise UsageError(f"{path} is an address: read it with --fetch before it")
        for item in expand_paths([path], files.recursive):
            if isinstance(item, Path):
                parents = Path(os.path.normpath(item.absolute())).parents
                is_output = item != path and any(folder in parents for folder in outputs)
                if is_output or (outputs and item in done):
                    continue
                done.add(item)
            yield item
