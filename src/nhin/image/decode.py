"""Decode a picture in this process, upright and as RGB.

What decoding will take is estimated from the header and checked before any pixel is decoded. Large
photographs are scaled down (their original size is kept): no line of text needs forty megapixels.
"""

import io
import re
import struct
import zlib
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from nhin.errors import PictureError
from nhin.image.color import from_array, over_white, to_8bit
from nhin.image.decode_cost import MAX_DECODE_BYTES, decode_bytes, has_many_scans
from nhin.image.quiet import ignore_warnings
from nhin.image.tiff import point_to_page

MAX_PIXELS = 120_000_000
WORK_PIXELS = 24_000_000

# No PostScript: Pillow would pass it to another program. Formats that need no search come first.
_FORMATS = ("JPEG", "PNG", "GIF", "BMP", "DIB", "PPM", "WEBP", "TIFF", "AVIF", "JPEG2000", "ICO", "TGA")
_ANIMATIONS = ("GIF", "WEBP", "PNG", "AVIF", "HEIF")
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


def decode_array(source: NDArray, name: str) -> Picture:
    """Take the pixels of an array (RGB order), scaled down if very large."""
    if source.size > 4 * MAX_PIXELS:
        raise PictureError(_too_large_message(name))
    pixels = from_array(source, name)
    if pixels.shape[0] * pixels.shape[1] > WORK_PIXELS:
        return decode_image(Image.fromarray(pixels), name)
    return Picture(pixels, pixels.shape[1], pixels.shape[0])


def decode_file(data: bytes, name: str, offset: int | None = None, frame: int = 0) -> Picture:
    """Decode the bytes of a file in this process.

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
            return replace(decode_image(image, name, data), others=_count_frames(image) - 1)


def decode_image(image: Image.Image, name: str, data: bytes = b"") -> Picture:
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


def _count_frames(image: Image.Image) -> int:
    """Count the frames of an animation; the other pictures in a JPEG are smaller copies and depth maps."""
    try:
        return int(getattr(image, "n_frames", 1)) if image.format in _ANIMATIONS else 1
    except _DECODE_ERRORS:
        return 1


def _describe_unsupported(data: bytes) -> str:
    """Return what the bytes are if Pillow cannot open them."""
    descriptions = (text for pattern, text in _UNSUPPORTED if pattern.match(data[:64]))
    return next(descriptions, "is not a picture nhin can open, or it is torn")


def _too_large_message(name: str) -> str:
    return f"{name} is too large: nhin opens pictures of up to {MAX_PIXELS // 1_000_000} megapixels"


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
