"""The bytes of what a user gives as a picture, and what it is called in errors."""

from os import PathLike, fspath
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from nhin.errors import PictureError

PictureSource = str | PathLike[str] | bytes | bytearray | memoryview | BinaryIO | NDArray | Image.Image

MAX_BYTES = 160 * 2**20


def source_name(source: PictureSource) -> str:
    """Return what a picture is called in errors where its user gives no name."""
    if isinstance(source, str | PathLike):
        return fspath(source)
    if isinstance(source, np.ndarray | Image.Image):
        return "the picture given"
    if isinstance(source, bytes | bytearray | memoryview):
        return "the picture given as bytes"
    return str(getattr(source, "name", "the picture given as a file"))


def read_source(source: PictureSource, name: str) -> PictureSource:
    """Return the bytes of a file, and an array or a Pillow image as it is; see ``load_picture``."""
    return source if isinstance(source, np.ndarray | Image.Image) else read_source_bytes(source, name)


def read_source_bytes(source: PictureSource, name: str) -> bytes:
    """Read everything, up to a limit, since a pipe may never end."""
    if isinstance(source, bytes | bytearray | memoryview):
        data = bytes(source)
    elif isinstance(source, str | PathLike):
        data = _read_file(Path(source), name)
    elif hasattr(source, "read"):
        data = source.read(MAX_BYTES + 1)  # pyright: ignore[reportAttributeAccessIssue]
    else:
        kind = type(source).__name__
        raise PictureError(f"a {kind} is not a picture; give a path, bytes, a file or an array")
    if not isinstance(data, bytes):
        raise PictureError(f"{name} was opened as text; open it in binary mode")
    if not data:
        raise PictureError(f"{name} is empty")
    if len(data) > MAX_BYTES:
        raise PictureError(f"{name} is larger than {MAX_BYTES >> 20} MiB, more than nhin opens")
    return data


def _read_file(path: Path, name: str) -> bytes:
    if path.is_dir():
        raise PictureError(f"{name} is a folder, not a picture")
    try:
        with path.open("rb") as file:
            return file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise PictureError(f"{name} does not exist") from None
    except (OSError, ValueError) as why:
        raise PictureError(f"{name} cannot be opened: {_error_reason(why)}") from None


def _error_reason(why: Exception) -> str:
    return getattr(why, "strerror", None) or str(why)
