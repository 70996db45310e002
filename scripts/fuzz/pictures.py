"""Open damaged pictures of every format, and read the small ones.

python scripts/fuzz/pictures.py --count 11000
"""

import io
import struct
import sys
import zlib
from functools import cache
from pathlib import Path
from random import Random

import numpy as np
from mutate import damage_bytes
from PIL import Image
from runner import main

from nhin.image.contrast import is_blank
from nhin.image.load import close_child, open_picture

_SIZES = (0, 1, 2, 255, 4000, 10_000, 20_000, 65_535, 2**24, 2**31 - 1, 2**32 - 1)
_FORMS: dict[str, tuple[str, dict[str, object]]] = {
    "png": ("PNG", {}),
    "gif": ("GIF", {}),
    "bmp": ("BMP", {}),
    "jpg": ("JPEG", {}),
    "progressive.jpg": ("JPEG", {"progressive": True, "subsampling": 0}),
    "webp": ("WEBP", {}),
    "lossless.webp": ("WEBP", {"lossless": True}),
    "tif": ("TIFF", {}),
    "lzw.tif": ("TIFF", {"compression": "tiff_lzw"}),
    "jpeg.tif": ("TIFF", {"compression": "jpeg"}),
    "jp2": ("JPEG2000", {}),
    "j2k": ("JPEG2000", {"no_jp2": True}),
    "avif": ("AVIF", {}),
    "ico": ("ICO", {}),
    "tga": ("TGA", {}),
    "rle.tga": ("TGA", {"compression": "tga_rle"}),
    "ppm": ("PPM", {}),
}
_MODES = {
    "PNG": ("RGB", "RGBA", "L", "P", "1", "LA", "I;16"),
    "GIF": ("P", "L"),
    "TIFF": ("RGB", "L", "RGBA", "CMYK"),
}


@cache
def draw(kind: str, mode: str) -> bytes:
    """Return the bytes of a small picture with two words of bars, with EXIF data and a profile."""
    pixels = np.full((48, 96, 3), 230, np.uint8)
    for left in (8, 17, 26, 50, 60, 75):
        pixels[12:36, left : left + 4] = (20, 40, 90)
    image, (form, options) = Image.fromarray(pixels), _FORMS[kind]
    if mode == "I;16":
        image = Image.fromarray(np.asarray(image.convert("L"), np.uint16) * 257)
    if options.get("compression") == "jpeg":
        mode = "RGB"
    out, exif = io.BytesIO(), Image.Exif()
    exif[0x0112] = 6
    keeps_exif = form in ("PNG", "JPEG", "WEBP", "AVIF")
    more = {"exif": exif.tobytes()} if keeps_exif else {}
    image = image if mode == "I;16" else image.convert(mode)
    image.save(out, form, **options, **more)
    return out.getvalue()


def make(random: Random, folder: Path) -> str:
    """Write one damaged picture."""
    kind = random.choice(list(_FORMS))
    mode = random.choice(_MODES.get(_FORMS[kind][0], ("RGB",)))
    data = draw(kind, mode)
    parts = []
    for _ in range(random.choice((1, 1, 1, 2, 4))):
        damage = resize if random.random() < 0.3 else damage_bytes
        data, what = damage(random, data)
        parts.append(what)
    if kind == "png":
        data = repair_checksums(data)
    (folder / f"picture.{kind}").write_bytes(data)
    return f"{kind} {mode}: {', '.join(parts)}"


def resize(random: Random, data: bytes) -> tuple[bytes, str]:
    """Write other sizes wherever the header has the picture's width or height."""
    width, height = random.choice(_SIZES), random.choice(_SIZES)
    out, spots = bytearray(data), 0
    for old, new in ((96, width), (48, height)):
        for form in (">I", "<I", ">H", "<H"):
            field = struct.pack(form, old)
            at = data.find(field, 0, 512)
            if at >= 0 and new < 256 ** struct.calcsize(form) and random.random() < 0.7:
                out[at : at + len(field)] = struct.pack(form, new)
                spots += 1
    return bytes(out), f"{width} x {height} in {spots} places"


def repair_checksums(data: bytes) -> bytes:
    """Make the checksums of a PNG's chunks right again, so that damage is decoded."""
    out, at = bytearray(data), 8
    while at + 12 <= len(out):
        (length,) = struct.unpack_from(">I", out, at)
        stop = at + 8 + length
        if stop + 4 > len(out):
            break
        struct.pack_into(">I", out, stop, zlib.crc32(out[at + 4 : stop]))
        at = stop + 4
    return bytes(out)


def attempt(folder: Path) -> None:
    """Open the picture as ``nhin read`` does."""
    try:
        picture = open_picture(next(folder.iterdir()))
    finally:
        close_child()  # so that its memory and time are counted
    assert picture.pixels.ndim == 3 and picture.pixels.dtype == np.uint8
    is_blank(picture.pixels)


if __name__ == "__main__":
    sys.exit(main("pictures", make, attempt, 11_000))
