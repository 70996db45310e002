"""Convert every pixel format to 8-bit RGB on white.

Values of more than 8 bits are scaled, never clipped: a 16-bit scan clipped at 255 is a white page.
"""

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageChops

from nhin.errors import PictureError

_PLAIN_MODES = frozenset({"1", "L", "RGB", "YCbCr", "HSV", "RGBX"})
_BANDS = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}


def to_8bit(image: Image.Image) -> Image.Image:
    """Convert a picture to an 8-bit mode: L, RGB or RGBA."""
    if image.mode.startswith(("I", "F")):
        return Image.fromarray(_scale_to_8bit(np.asarray(image)))
    if image.mode == "CMYK":
        return _from_cmyk(image)
    if image.mode == "LAB":
        return image.getchannel(0)
    if "transparency" in image.info or image.mode not in _PLAIN_MODES:
        return image.convert("RGBA")
    return image if image.mode in ("L", "RGB") else image.convert("RGB")


def over_white(image: Image.Image) -> Image.Image:
    """Composite a picture with alpha on white, or on black where white would hide it."""
    if image.mode != "RGBA":
        return image
    alpha = image.getchannel("A")
    if alpha.getextrema() == (255, 255):
        return image.convert("RGB")
    on_white = _paste_on(image, alpha, "white")
    if _is_uniform(on_white) and not _is_uniform(alpha):
        return _paste_on(image, alpha, "black")
    return on_white


def from_array(array: NDArray, name: str) -> NDArray[np.uint8]:
    """Convert an array to RGB: H x W, or H x W x 1 (gray), 2, 3 (RGB) or 4 bands (alpha last).

    Floats range from 0 to 1 when none is above 1, else from 0 to 255; 16-bit integers are scaled.

    Raises:
        PictureError: The shape or the type is not that of a picture.
    """
    if array.ndim == 2:
        array = array[:, :, None]
    if array.ndim != 3 or array.shape[2] not in _BANDS or 0 in array.shape:
        shape = " x ".join(map(str, array.shape))
        raise PictureError(f"{name} has shape {shape}; a picture is H x W or H x W x 1, 2, 3 or 4")
    if array.dtype.kind not in "buif":
        raise PictureError(f"{name} has values of type {array.dtype}; a picture has numbers")
    bands = array if array.dtype == np.uint8 else _scale_to_8bit(array)
    if bands.shape[2] == 3:
        return np.ascontiguousarray(bands)
    if bands.shape[2] == 1:
        return np.repeat(bands, 3, axis=2)
    rgba = bands if bands.shape[2] == 4 else bands[:, :, [0, 0, 0, 1]]
    return np.array(over_white(Image.fromarray(np.ascontiguousarray(rgba))), dtype=np.uint8)


def _scale_to_8bit(values: NDArray) -> NDArray[np.uint8]:
    """Scale values to 0..255 from the range that their type or their maximum implies."""
    if values.dtype == np.bool_:
        return values.astype(np.uint8) * np.uint8(255)
    if values.dtype.kind == "f":
        values = np.nan_to_num(values, nan=0.0, posinf=0.0, neginf=0.0)
    top = float(values.max())
    if values.dtype.itemsize == 2 and values.dtype.kind == "u":
        limit = 65535.0
    elif values.dtype.kind == "f" and top <= 1.0:
        limit = 1.0
    else:
        limit = next((limit for limit in (255.0, 65535.0) if top <= limit), top)
    scaled = np.clip(values, 0, None).astype(np.float32) * np.float32(255.0 / limit)
    return np.rint(scaled, out=scaled).astype(np.uint8)


def _from_cmyk(image: Image.Image) -> Image.Image:
    """Convert CMYK to RGB. Pillow inverts every CMYK JPEG, but only Adobe's are stored inverted."""
    if image.format in ("JPEG", "MPO") and "adobe" not in image.info:
        image = ImageChops.invert(image)
    return image.convert("RGB")


def _paste_on(image: Image.Image, alpha: Image.Image, color: str) -> Image.Image:
    canvas = Image.new("RGB", image.size, color)
    canvas.paste(image, mask=alpha)
    return canvas


def _is_uniform(image: Image.Image) -> bool:
    ranges = [image.getchannel(band).getextrema() for band in image.getbands()]
    return all(high - low < 16 for low, high in ranges)  # pyright: ignore
