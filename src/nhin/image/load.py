"""Open a picture from any source, safely, as RGB.

What decoding will take is estimated from the header and checked before any pixel is decoded. Formats whose
cost does not follow from their header, and large files, are decoded in a child process with limits. Large
photographs are scaled down (their original size is kept): no line of text needs forty megapixels.
"""

import io
import itertools
import re
import struct
import sys
import threading
import zlib
from collections.abc import Container, Iterator
from dataclasses import dataclass, replace
from os import PathLike, fspath
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from nhin.errors import PictureError
from nhin.image.color import from_array, over_white, to_8bit
from nhin.image.decode_cost import MAX_DECODE_BYTES, decode_bytes, has_many_scans
from nhin.image.heic import check_heic
from nhin.image.quiet import ignore_warnings
from nhin.image.tiff import MAX_PAGES, list_tiff_pages, point_to_page
from nhin.sandbox import Sandbox, SandboxError

PictureSource = str | PathLike[str] | bytes | bytearray | memoryview | BinaryIO | NDArray | Image.Image

MAX_PIXELS = 120_000_000
WORK_PIXELS = 24_000_000
MAX_BYTES = 160 * 2**20
MAX_SECONDS = 8.0
"""CPU time that a child process may take for one picture."""
MAX_FAILURES = 3
"""Pages of one file that may end the child process; the pages after them are not opened."""

# No PostScript: Pillow would pass it to another program. Formats that need no search come first.
_FORMATS = ("JPEG", "PNG", "GIF", "BMP", "DIB", "PPM", "WEBP", "TIFF", "AVIF", "JPEG2000", "ICO", "TGA")
_ANIMATIONS = ("GIF", "WEBP", "PNG", "AVIF", "HEIF")
_MAY_MOVE = re.compile(rb"(?s)GIF8|RIFF.{4}WEBP|\x89PNG|.{4}ftyp")
# TIFF, JPEG 2000, AVIF and other boxes, ICO.
_APART = re.compile(rb"(?s)II[*+]\0|MM\0[*+]|\0\0\0\x0cjP  |\xff\x4f\xff\x51|.{4}ftyp|\0\0\x01\0")
_LARGE_FILE = 16 * 2**20
# Pillow's decoders raise all of these on torn files.
_DECODE_ERRORS = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    LookupError,
    EOFError,
    ArithmeticError,
    MemoryError,
    AttributeError,
    AssertionError,
    RuntimeError,
    struct.error,
    zlib.error,
)
_UNSUPPORTED = (
    (re.compile(rb"^%PDF-"), "is a PDF; turn its pages into pictures first"),
    (re.compile(rb"(?i)^\s*<(\?xml|svg)"), "is a vector drawing (SVG); save it as PNG first"),
)
_ORIENTATION = 0x0112
_ORIENTATIONS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_QUARTER_TURNS = tuple(_ORIENTATIONS[orientation] for orientation in (5, 6, 7, 8))


@dataclass(frozen=True, slots=True)
class Picture:
    """Pixels to process (uint8, height x width x RGB) and the original size of the picture.

    ``others`` is the number of pages or frames of its file that are not in it.
    """

    pixels: NDArray[np.uint8]
    width: int
    height: int
    others: int = 0


@dataclass(frozen=True, slots=True)
class Page:
    """One page of a file with ``count`` pages: its number, from 1, and its picture or why it has none."""

    number: int
    count: int
    content: Picture | PictureError


def load_picture(source: PictureSource, name: str | None = None) -> NDArray[np.uint8]:
    """Open a picture as RGB, uint8, height x width x 3, upright by its EXIF orientation.

    Args:
        source: A path, the bytes of a file, an open binary file, an array (RGB order), a Pillow image.
        name: Its name in errors; by default its path.

    Raises:
        PictureError: Missing, torn, not a picture, or too large.
        MissingExtra: It is a HEIC photo, and pillow-heif is not installed.
    """
    return open_picture(source, name).pixels


def open_picture(source: PictureSource, name: str | None = None) -> Picture:
    """Open a picture, scaled down if very large, with its original size; see ``load_picture``.

    Of a file with several pages or frames it is the first.
    """
    name = name or source_name(source)
    if isinstance(source, np.ndarray):
        if source.size > 4 * MAX_PIXELS:
            raise PictureError(_too_large_message(name))
        pixels = from_array(source, name)
        if pixels.shape[0] * pixels.shape[1] > WORK_PIXELS:
            return _decode(Image.fromarray(pixels), name)
        return Picture(pixels, pixels.shape[1], pixels.shape[0])
    if isinstance(source, Image.Image):
        return _decode(source, name)
    data = _read_bytes(source, name)
    if len(data) <= _LARGE_FILE and not _APART.match(data):
        return decode_file(data, name)
    check_heic(data, name)
    pages = list_tiff_pages(data)
    picture = _decode_apart(_FileForChild(data), name)
    return replace(picture, others=len(pages.offsets) - 1) if pages and len(pages.offsets) > 1 else picture


def open_pages(
    source: PictureSource, name: str | None = None, wanted: Container[int] | None = None
) -> Iterator[Page]:
    """Open the pages of a picture one by one, each only when it is asked for.

    A TIFF may have up to ``MAX_PAGES``. Other files have one, unless ``wanted`` is given: the pages of an
    animation are then its frames. A page that cannot be opened is yielded with
    the reason, and so is one more after the last where pages are missing or too many: the others are opened
    all the same. Every page has the limits of one picture.

    Args:
        source: A path, the bytes of a file, an open binary file, an array (RGB order), a Pillow image.
        name: Its name in errors; by default its path.
        wanted: Numbers of the pages, from 1; all pages if None. The others are not decoded.

    Raises:
        PictureError: A file of one page, or its first directory, cannot be opened.
    """
    name = name or source_name(source)
    data = read_source(source, name)
    pages = list_tiff_pages(data) if isinstance(data, bytes) else None
    if wanted is not None and isinstance(data, bytes) and _MAY_MOVE.match(data):
        yield from _open_frames(_FileForChild(data), name, wanted)
        return
    if pages is None or (len(pages.offsets) < 2 and not (pages.offsets and pages.is_torn)):
        if wanted is None or 1 in wanted:
            yield Page(1, 1, open_picture(data, name))
        return
    assert isinstance(data, bytes)
    end = min(len(pages.offsets), MAX_PAGES)
    numbered = enumerate(pages.offsets[:MAX_PAGES], start=1)
    places = {n: {"offset": offset} for n, offset in numbered if wanted is None or n in wanted}
    yield from _decode_pages(_FileForChild(data), name, "page", places, end)
    if pages.is_torn:
        reason = f"is torn after page {end}: what follows is missing"
        yield Page(end + 1, end + 1, PictureError(f"{name} {reason}"))
    elif len(pages.offsets) > MAX_PAGES:
        reason = f"has more than {MAX_PAGES:,} pages; those after them are not opened"
        yield Page(end + 1, end + 1, PictureError(f"{name} {reason}"))


def _open_frames(file: "_FileForChild", name: str, wanted: Container[int]) -> Iterator[Page]:
    """Open the frames of an animation that are wanted; the first is decoded first, to count them."""
    check_heic(file.data, name)
    first = _decode_apart(file, name, has_more=True)
    total = first.others + 1
    count = min(total, MAX_PAGES)
    if 1 in wanted:
        yield Page(1, count, replace(first, others=0))
    del first
    places = {number: {"frame": number - 1} for number in range(2, count + 1) if number in wanted}
    yield from _decode_pages(file, name, "frame", places, count)
    if any(number in wanted for number in range(count + 1, total + 1)):
        reason = f"has more than {MAX_PAGES:,} frames; those after them are not opened"
        yield Page(count + 1, count + 1, PictureError(f"{name} {reason}"))


def _decode_pages(
    file: "_FileForChild", name: str, kind: str, places: dict[int, dict[str, int]], count: int
) -> Iterator[Page]:
    """Decode the pages or frames of some numbers; after ``MAX_FAILURES``, say that the others are not."""
    failures = 0
    for number, following in itertools.pairwise([*places, 0]):
        try:
            title = f"{name}, {kind} {number},"
            picture = _decode_apart(file, title, **places[number], has_more=following > 0)
            yield Page(number, count, replace(picture, others=0))
        except PictureError as why:
            yield Page(number, count, why)
            failures += isinstance(why.__cause__, SandboxError)
        if failures == MAX_FAILURES and following:
            reason = f"its {kind}s from {following} on are not opened: {failures} took too much to decode"
            yield Page(following, count, PictureError(f"{name}: {reason}"))
            return


def decode_file(data: bytes, name: str, offset: int | None = None, frame: int = 0) -> Picture:
    """Decode the bytes of a file in this process; see ``open_pages``.

    Args:
        data: The file.
        name: Its name in errors.
        offset: Of a TIFF, where the directory of the page is.
        frame: Of an animation, counted from 0.
    """
    with ignore_warnings():
        try:
            file = io.BytesIO(data if offset is None else point_to_page(data, offset))
            image = Image.open(file, formats=[*_FORMATS, *({"HEIF"} & Image.OPEN.keys())])
            if frame:
                image.seek(frame)
        except Image.DecompressionBombError:
            raise PictureError(_too_large_message(name)) from None
        except _DECODE_ERRORS:
            raise PictureError(f"{name} {_describe_unsupported(data)}") from None
        with image:
            return replace(_decode(image, name, data), others=_count_frames(image) - 1)


def _count_frames(image: Image.Image) -> int:
    """Count the frames of an animation; the other pictures in a JPEG are smaller copies and depth maps."""
    try:
        return int(getattr(image, "n_frames", 1)) if image.format in _ANIMATIONS else 1
    except _DECODE_ERRORS:
        return 1


class _FileForChild:
    """The bytes of a file, which the child process keeps from the first page to the last."""

    def __init__(self, data: bytes) -> None:
        self.data, self.key = data, next(_keys)


def _decode_apart(
    file: _FileForChild, name: str, offset: int | None = None, *, has_more: bool = False, frame: int = 0
) -> Picture:
    """Decode a file, or one of its pages, in a child process, which is kept for the next picture."""
    global _child, _child_seconds, _child_file  # one for the process
    if sys.platform == "emscripten":  # a page of a browser: it has no processes, and limits of its own
        return decode_file(file.data, name, offset, frame)
    with _child_lock:
        try:
            if _child is None or not _child.is_open:
                _child = Sandbox("nhin.image.decode_worker", MAX_DECODE_BYTES)
                _child_seconds, _child_file = 0.0, 0
            arrays = [] if _child_file == file.key else [np.frombuffer(file.data, np.uint8)]
            request = {"name": name, "offset": offset, "frame": frame, "has_more": has_more}
            values, answer = _child.call(request, arrays, _child_seconds + MAX_SECONDS)
        except SandboxError as why:
            raise PictureError(f"{name} cannot be decoded: its process {why.reason}") from why
        _child_seconds, _child_file = float(values["used"]), file.key if has_more else 0
    if "refused" in values:
        raise PictureError(values["refused"])
    return Picture(answer[0], values["width"], values["height"], values["others"])


def close_child() -> None:
    """End the child process that decodes pictures, if there is one."""
    with _child_lock:
        if _child is not None:
            _child.close()


_child: Sandbox | None = None
_child_seconds = 0.0
_child_file = 0
_keys = itertools.count(1)
_child_lock = threading.Lock()


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
    return source if isinstance(source, np.ndarray | Image.Image) else _read_bytes(source, name)


def _read_bytes(source: PictureSource, name: str) -> bytes:
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


def _describe_unsupported(data: bytes) -> str:
    """Return what the bytes are if Pillow cannot open them."""
    descriptions = (text for pattern, text in _UNSUPPORTED if pattern.match(data[:64]))
    return next(descriptions, "is not a picture nhin can open, or it is torn")


def _too_large_message(name: str) -> str:
    return f"{name} is too large: nhin opens pictures of up to {MAX_PIXELS // 1_000_000} megapixels"


def _decode(image: Image.Image, name: str, data: bytes = b"") -> Picture:
    """Decode the first frame upright, as RGB, and scaled down if large."""
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise PictureError(f"{_too_large_message(name)}, this one is {width} x {height}")
    if width * height == 0:
        raise PictureError(f"{name} has no pixels")
    try:
        if width * height > WORK_PIXELS:
            image.draft(None, (width // 2, height // 2))
        _check_cost(image, name, data, width * height)
        image.load()
        transpose = _ORIENTATIONS.get(_exif_orientation(image))
        shrink = int(np.ceil(np.sqrt(image.width * image.height / WORK_PIXELS)))
        image = over_white(to_8bit(image))
        image = image.reduce(shrink) if shrink > 1 else image
        image = image.transpose(transpose) if transpose is not None else image
        pixels = np.array(image.convert("RGB"), dtype=np.uint8)
    except PictureError:
        raise
    except MemoryError:
        raise PictureError(f"{name} needs more memory to decode than nhin may take") from None
    except _DECODE_ERRORS as why:
        raise PictureError(f"{name} is torn: {' '.join(str(why).split()) or 'it stops early'}") from None
    return Picture(pixels, *((height, width) if transpose in _QUARTER_TURNS else (width, height)))


def _check_cost(image: Image.Image, name: str, data: bytes, pixels: int) -> None:
    """Refuse a picture that takes too much memory or time to decode; ``pixels`` are those of its header."""
    if data and (need := decode_bytes(image, len(data), pixels)) > MAX_DECODE_BYTES:
        raise PictureError(
            f"{name} needs {need >> 20:,} MiB of memory to decode ({image.format}, {image.mode}, "
            f"{pixels / 1e6:.0f} megapixels); nhin takes at most {MAX_DECODE_BYTES >> 20}"
        )
    if has_many_scans(image, data, pixels):
        raise PictureError(f"{name} takes too long to decode: its pixels are stored in too many passes")


def _exif_orientation(image: Image.Image) -> int:
    """Return the EXIF orientation; 1 (upright) if the EXIF data is invalid."""
    try:
        return int(image.getexif().get(_ORIENTATION, 1))
    except _DECODE_ERRORS:
        return 1
