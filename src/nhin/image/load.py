"""Open a picture from any source, safely, as RGB; of a file with several pages or frames, those wanted.

Formats whose cost does not follow from their header, and large files, are decoded in a child process with
limits.
"""

import itertools
import re
import sys
import threading
from collections.abc import Container, Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from nhin.errors import PictureError
from nhin.image.decode import Picture, decode_array, decode_file, decode_image
from nhin.image.decode_cost import MAX_DECODE_BYTES
from nhin.image.heic import check_heic
from nhin.image.source import PictureSource, read_source, read_source_bytes, source_name
from nhin.image.tiff import MAX_PAGES, list_tiff_pages
from nhin.sandbox import Sandbox, SandboxError

MAX_SECONDS = 8.0
"""CPU time that a child process may take for one picture."""
MAX_FAILURES = 3
"""Pages of one file that may end the child process; the pages after them are not opened."""

_MAY_MOVE = re.compile(rb"(?s)GIF8|RIFF.{4}WEBP|\x89PNG|.{4}ftyp")
# TIFF, JPEG 2000, AVIF and other boxes, ICO.
_APART = re.compile(rb"(?s)II[*+]\0|MM\0[*+]|\0\0\0\x0cjP  |\xff\x4f\xff\x51|.{4}ftyp|\0\0\x01\0")
_LARGE_FILE = 16 * 2**20


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
        return decode_array(source, name)
    if isinstance(source, Image.Image):
        return decode_image(source, name)
    data = read_source_bytes(source, name)
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
