"""The picture of a page that consists of one picture, as scans do, for OCRmyPDF.

OCRmyPDF has such a page drawn by PDFium, which mostly stretches the picture by a pixel: its letters become
softer, and some are read differently. Here it keeps its own pixels, those that ``nhin read`` reads.
"""

import logging
import threading
from pathlib import Path
from typing import Any

import pikepdf  # pyright: ignore[reportMissingImports]
from pikepdf.models.ctm import get_objects_with_ctm  # pyright: ignore[reportMissingImports]
from PIL import Image

_MODES = ("1", "L", "P", "RGB")
_OPERATORS = {"q", "Q", "cm", "Do"}
_CHANGES = ("/Decode", "/ImageMask", "/Mask", "/OC", "/SMask")
"""Keys of a picture that change how it looks, or whether it is seen."""
_MAX_DEPTH = 50
_DPI_ERROR = 1e-4  # a JPEG tells whole numbers; 0.03 mm on an A4 page
_log = logging.getLogger(__name__)
_written = threading.local()


def write_scan(path: Path, number: int, dpi: float, out: Path) -> bool:
    """Write the picture that a page of a PDF consists of; return whether it does.

    It is written as the JPEG that it is in the PDF if that tells the resolution, else as PNG: OCRmyPDF opens
    it by its content. The pixels are kept for ``take_scan``, since the same thread reads the page next.

    Args:
        path: The PDF.
        number: The page, from 1.
        dpi: Pixels per inch that the page is asked for with.
        out: Where the picture goes.
    """
    found = _extract_scan(path, number, dpi)
    if found is None:
        return False
    image, jpeg = found
    if jpeg:
        out.write_bytes(jpeg)
    else:
        image.save(out, "PNG", dpi=(dpi, dpi), compress_level=1)
    _written.path, _written.image = out.resolve(), image
    return True


def take_scan(path: Path) -> Image.Image | None:
    """Return the picture that this thread wrote last if a path leads to it, once."""
    is_it = getattr(_written, "path", None) == path.resolve()
    image = _written.image if is_it else None
    _written.path = _written.image = None
    return image


def _extract_scan(path: Path, number: int, dpi: float) -> tuple[Image.Image, bytes] | None:
    """Return the picture that a page consists of.

    Returns:
        Its pixels, and its bytes if it is a JPEG that can stand alone. None if the page holds anything else,
        or not at this size, or the picture cannot be decoded: then OCRmyPDF has to draw the page.
    """
    try:
        with pikepdf.open(path) as pdf:
            page = pdf.pages[number - 1]
            picture, size = _find_only_picture(page, dpi), _measure_page(page, dpi)
            if picture is None or pikepdf.PdfImage(picture).size != size:
                return None
            image = pikepdf.PdfImage(picture).as_pil_image()
            if image.mode not in _MODES or image.size != size:
                return None
            image.load()
            jpeg = picture.read_raw_bytes() if _is_jpeg(picture, image, dpi) else b""
    except Exception as why:  # noqa: BLE001 - whatever is wrong, OCRmyPDF says it when it draws the page
        _log.debug("page %d is drawn: %s", number, why)
        return None
    image.info.clear()  # EXIF would turn it
    return image, jpeg


def _is_jpeg(picture: Any, image: Image.Image, dpi: float) -> bool:
    """Return whether the bytes of a picture are a JPEG that says the resolution, and nothing of a turn."""
    told = image.info.get("dpi", (0, 0))
    is_told = all(abs(side - dpi) < _DPI_ERROR * dpi for side in told)
    return picture.get("/Filter") == "/DCTDecode" and is_told and "exif" not in image.info


def _find_only_picture(page: Any, dpi: float) -> Any:
    """Return the picture that fills a page where there is nothing else on it, else None."""
    operators = {str(step.operator) for step in pikepdf.parse_content_stream(page)}
    placed = get_objects_with_ctm(page)
    is_plain = operators <= _OPERATORS and not _is_turned(page.obj)
    if not is_plain or len(placed) != 1 or "/Annots" in page.obj or "/UserUnit" in page.obj:
        return None
    ((name, matrix),) = placed
    left, bottom, right, top = map(float, page.mediabox)
    place = (right - left, 0, 0, top - bottom, left, bottom)
    half_pixel = 72 / dpi / 2
    if any(abs(a - b) > half_pixel for a, b in zip(matrix.shorthand, place, strict=True)):
        return None
    picture = page.resources.XObject[name]
    return None if any(key in picture for key in _CHANGES) else picture


def _measure_page(page: Any, dpi: float) -> tuple[int, int]:
    """Return the width and height that OCRmyPDF expects, in pixels."""
    left, bottom, right, top = map(float, page.mediabox)
    return round((right - left) * dpi / 72), round((top - bottom) * dpi / 72)


def _is_turned(node: Any) -> bool:
    """Return whether a page is shown turned, by itself or by a node of pages above it."""
    for _ in range(_MAX_DEPTH):
        if node is None or "/Rotate" in node:
            return node is not None and int(node.Rotate) % 360 != 0
        node = node.get("/Parent")
    return True  # a circle
