"""Which files are meant by the paths, folders and patterns that a user gives."""

import os
import re
from collections.abc import Iterable, Iterator
from glob import escape, glob
from pathlib import Path

from nhin.errors import PictureError

_KINDS = "jpg jpeg jpe jfif png gif bmp dib tif tiff webp avif heic heif ppm pgm pbm pnm jp2 tga pdf"
SUFFIXES = frozenset(f".{kind}" for kind in _KINDS.split())
_PATTERN = re.compile(r"[*?\[]")


def list_pictures(folder: Path, recursive: bool = False) -> list[Path]:
    """List the pictures and PDFs of a folder in natural order: 2 before 10; hidden ones are left out.

    Args:
        folder: Its path.
        recursive: List those of the folders in it, too, after its own; links to folders are not followed.

    Raises:
        PictureError: The folder cannot be listed or has no picture.
    """
    failures: list[OSError] = []
    pictures: list[Path] = []
    for place, folders, names in os.walk(folder, onerror=failures.append):
        folders[:] = (
            sorted((f for f in folders if not f.startswith(".")), key=_natural_key) if recursive else []
        )
        paths = [Path(place) / name for name in sorted(names, key=_natural_key) if not name.startswith(".")]
        pictures += [path for path in paths if path.suffix.lower() in SUFFIXES and path.is_file()]
    if failures and not pictures:
        raise PictureError(f"{folder} cannot be listed: {failures[0].strerror or failures[0]}")
    if not pictures:
        hint = "" if recursive else "; --recursive looks into the folders in it"
        raise PictureError(f"{folder} is a folder without pictures{hint}")
    return pictures


def expand_paths(paths: Iterable[Path], recursive: bool = False) -> list[Path | PictureError]:
    """Replace each folder by its pictures, each pattern by its files; by an error if there are none."""
    out: list[Path | PictureError] = []
    for path in paths:
        try:
            for found in _expand_pattern(path):
                out += list_pictures(found, recursive) if found.is_dir() else [found]
        except PictureError as why:
            out.append(why)
    return out


def _expand_pattern(path: Path) -> list[Path]:
    """Return the files that a pattern names; a path as it is, also one with brackets in its name."""
    if "\0" in str(path):
        raise PictureError(f"{path} is no path: it has a zero byte")
    if not _PATTERN.search(str(path)) or path.exists():
        return [path]
    found = {str(Path(name)) for name in _iter_names(path.parts)}
    if not found:
        raise PictureError(f"{path} names no file")
    return list(map(Path, sorted(found, key=_natural_key)))


def _iter_names(parts: tuple[str, ...]) -> Iterator[str]:
    """Yield what a pattern names; ``**`` follows no links, which Python's own does, also in circles."""
    stars = parts.index("**") if "**" in parts else len(parts)
    names = glob(str(Path(*parts[:stars])))  # noqa: PTH207  # absolute ones too
    if stars == len(parts):
        yield from names
        return
    for name in names:
        for place, folders, _ in os.walk(name):
            folders[:] = [folder for folder in folders if not folder.startswith(".")]
            yield from _iter_names((escape(place), *(parts[stars + 1 :] or ("*",))))


def _natural_key(name: str) -> tuple[list[tuple[int, int, str]], str]:
    """Return a sort key that compares digits as numbers, then the name itself."""
    parts = re.findall(r"[0-9]+|[^0-9]+", name.casefold())
    return [(0, int(part), "") if part.isdecimal() else (1, 0, part) for part in parts], name
