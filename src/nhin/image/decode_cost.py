"""Estimate what decoding a picture takes, from its header, before a pixel is decoded.

A file of a few kilobytes can ask for gigabytes: the memory follows from the size, the mode and the format.
Factors were measured with Pillow; formats whose memory does not follow from their header are decoded in a
child process, see ``load``.
"""

import re
from typing import Any

from PIL import Image

MAX_DECODE_BYTES = 640 * 2**20
"""The most bytes that decoding and converting one picture may take, with its file."""
_MAX_SCAN_PIXELS = 2e9
_STORED = {"1": 1, "L": 1, "P": 1, "I;16": 2, "I;16L": 2, "I;16B": 2, "I;16N": 2}
_CONVERTED = {
    "L": 0,
    "RGB": 0,
    "1": 4,
    "YCbCr": 4,
    "HSV": 4,
    "RGBX": 4,
    "CMYK": 8,
    "LAB": 1,
    "I": 17,
    "F": 21,
}
_WITH_ALPHA = 13
"""Bytes of a pixel that converting takes beside the stored picture; the rest becomes RGBA, then RGB."""
_DECODER = {"WEBP": 12, "AVIF": 6, "JPEG2000": 16, "GIF": 4, "HEIF": 8}
"""Bytes of a pixel that a decoder keeps beside the picture."""
_START_OF_SCAN = re.compile(rb"\xff\xda")


def decode_bytes(image: Image.Image, file_size: int, pixels: int) -> int:
    """Estimate the bytes that decoding and converting take.

    Args:
        image: A picture whose header was read; its size is the one that it will be decoded to.
        file_size: Bytes of its file.
        pixels: Its pixels by the header.
    """
    stored = _STORED.get(image.mode, 4)
    converted = 15 if image.mode.startswith("I;") else _CONVERTED.get(image.mode, _WITH_ALPHA)
    if "transparency" in image.info:
        converted = max(converted, _WITH_ALPHA)
    coefficients = 2 * _samples(image) if image.info.get("progressive") else 0
    kept = pixels * (_DECODER.get(image.format or "", 0) + coefficients)
    return round(file_size + image.width * image.height * (stored + converted) + kept)


def _samples(image: Any) -> float:
    """Return the samples of a pixel in a JPEG, by the sampling of its components."""
    layers = [(h, v) for _, h, v, _ in getattr(image, "layer", ())]
    widest = max((h for h, _ in layers), default=1) * max((v for _, v in layers), default=1)
    return sum(h * v for h, v in layers) / max(1, widest)


def has_many_scans(image: Image.Image, data: bytes, pixels: int) -> bool:
    """Return whether a JPEG goes over its pixels so often that decoding takes many seconds."""
    if image.format not in ("JPEG", "MPO"):
        return False
    return len(_START_OF_SCAN.findall(data)) * pixels > _MAX_SCAN_PIXELS
