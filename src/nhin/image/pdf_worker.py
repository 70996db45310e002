"""The child process that parses PDFs with pypdfium2: pages as pixels, and their text layers; see ``pdf``.

Requests: ``{"open": true}`` with the bytes of the file, ``{"text": page}`` and ``{"render": page}``, pages
counted from 0.
"""

import ctypes
import time
from typing import Any

import numpy as np
import pypdfium2
import pypdfium2.raw as pdfium
from numpy.typing import NDArray

from nhin.image.decode import WORK_PIXELS
from nhin.image.pdf import DPI, MAX_CHARS, MAX_PICTURES, MAX_SIDE, POINTS_PER_INCH
from nhin.sandbox import Message, serve

_REFUSALS = {
    pdfium.FPDF_ERR_PASSWORD: "needs a password; save a copy without one",
    pdfium.FPDF_ERR_SECURITY: "is encrypted in a way that nhin does not know",
}
_TORN = "is torn, or has no pages"
_DEVICE = 1_000_000
_FONT_NAME = 256
_LESS = 1 - 1e-6
"""A scan of 1,665 pixels may be 1,665.0000001 wide in points: all its letters would be stretched to 1,666."""
_REQUESTS = 40
"""After so many the file is opened anew: PDFium keeps the streams of all pages that it has seen."""


class PdfWorker:
    """The PDF that is open."""

    data: bytes
    pdf: pypdfium2.PdfDocument
    requests = 0

    def handle(self, values: dict[str, Any], arrays: list[NDArray]) -> Message:
        """Answer one request; what the file is to blame for is answered as ``refused``."""
        try:
            numbers, results = self._answer(values, arrays)
        except pypdfium2.PdfiumError as why:
            numbers, results = {"refused": _REFUSALS.get(why.err_code or 0, _TORN)}, []
        return {**numbers, "used": time.process_time()}, results

    def _answer(self, values: dict[str, Any], arrays: list[NDArray]) -> Message:
        if "open" in values:
            self.data = arrays[0].tobytes()
            self._open()
            return {"count": len(self.pdf)}, []
        if self.requests == _REQUESTS:
            self.pdf.close()
            self._open()
        self.requests += 1
        number = values["text"] if "text" in values else values["render"]
        page = self.pdf[number]
        # What is written in forms and notes becomes part of the page's own text.
        if pdfium.FPDFPage_Flatten(page, pdfium.FLAT_NORMALDISPLAY) == pdfium.FLATTEN_SUCCESS:
            page.close()
            page = self.pdf[number]
        try:
            scale, size = measure(page)
            numbers = {"dpi": scale * POINTS_PER_INCH, "width": size[0], "height": size[1]}
            return numbers, [render(page, scale)] if "render" in values else list_text(page, size)
        finally:
            page.close()

    def _open(self) -> None:
        self.pdf, self.requests = pypdfium2.PdfDocument(self.data), 0
        self.pdf.init_forms()


def measure(page: pypdfium2.PdfPage) -> tuple[float, tuple[int, int]]:
    """Return pixels for each point, and the size in pixels: at ``DPI``, less for large pages."""
    width, height = page.get_size()
    if not (width > 0 and height > 0):
        raise pypdfium2.PdfiumError("a page without a size")
    limits = (DPI / POINTS_PER_INCH, (WORK_PIXELS / (width * height)) ** 0.5, MAX_SIDE / max(width, height))
    scale = min(limits)
    return scale, (int(np.ceil(width * scale * _LESS)), int(np.ceil(height * scale * _LESS)))


def render(page: pypdfium2.PdfPage, scale: float) -> NDArray[np.uint8]:
    """Return the page over white: height x width x RGB."""
    bitmap = page.render(scale=scale * _LESS, rev_byteorder=True)  # pyright: ignore[reportArgumentType]  # any number
    pixels = bitmap.to_numpy()
    if pixels.ndim == 2:
        pixels = pixels[..., None]
    return np.ascontiguousarray(np.broadcast_to(pixels[..., :3], (*pixels.shape[:2], 3)))


def list_text(page: pypdfium2.PdfPage, size: tuple[int, int]) -> list[NDArray]:
    """Return the arrays of ``PageText``: codes, boxes, angles, fonts, and the boxes of pictures."""
    to_pixels = _find_transform(page, size)
    text = page.get_textpage()
    try:
        count = min(text.count_chars(), MAX_CHARS)
        codes, fonts = np.zeros(count, np.int64), np.zeros(count, np.uint8)
        corners, angles = np.zeros((count, 4)), np.zeros(count, np.float32)
        for i in range(count):
            codes[i] = pdfium.FPDFText_GetUnicode(text, i)
            if pdfium.FPDFText_HasUnicodeMapError(text, i) == 1:
                codes[i] = 0xFFFD
            corners[i], angles[i] = _find_char_box(text, i, to_pixels)
            fonts[i] = _is_old_font(text, i)
    finally:
        text.close()
    pictures = [item.get_bounds() for item in page.get_objects(filter=[pdfium.FPDF_PAGEOBJ_IMAGE])]
    areas = np.array(pictures[:MAX_PICTURES], np.float64).reshape(-1, 4)
    return [codes, _transform(corners, to_pixels), angles, fonts, _transform(areas, to_pixels)]


def _find_transform(page: pypdfium2.PdfPage, size: tuple[int, int]) -> NDArray[np.float64]:
    """Return the matrix (3 x 2) from points of the page to pixels, turn and crop box of the page included."""

    def locate(x: float, y: float) -> tuple[float, float]:
        left, top = ctypes.c_int(), ctypes.c_int()
        pdfium.FPDF_PageToDevice(page, 0, 0, _DEVICE, _DEVICE, 0, x, y, left, top)
        return left.value / _DEVICE * size[0], top.value / _DEVICE * size[1]

    step = 1000.0
    origin, right, up = (np.array(locate(*point)) for point in ((0, 0), (step, 0), (0, step)))
    return np.stack([(right - origin) / step, (up - origin) / step, origin])


def _transform(boxes: NDArray[np.float64], to_pixels: NDArray[np.float64]) -> NDArray[np.float32]:
    """Return left, top, right and bottom in pixels of boxes in points."""
    ends = boxes.reshape(-1, 2, 2) @ to_pixels[:2] + to_pixels[2]
    return np.concatenate([ends.min(axis=1), ends.max(axis=1)], axis=1).astype(np.float32)


def _find_char_box(
    text: pypdfium2.PdfTextPage, i: int, to_pixels: NDArray[np.float64]
) -> tuple[tuple[float, float, float, float], float]:
    """Return the box of a character in points, as high as its font, and its angle in pixels, clockwise."""
    box, matrix = pdfium.FS_RECTF(), pdfium.FS_MATRIX()
    pdfium.FPDFText_GetLooseCharBox(text, i, box)
    angle = 0.0
    if pdfium.FPDFText_GetMatrix(text, i, matrix):
        across = np.array([matrix.a, matrix.b]) @ to_pixels[:2]
        angle = float(np.arctan2(across[1], across[0]))
    return (box.left, box.bottom, box.right, box.top), angle


def _is_old_font(text: pypdfium2.PdfTextPage, i: int) -> bool:
    """Return whether a character's font is one of the Vietnamese fonts from before Unicode."""
    name, flags = ctypes.create_string_buffer(_FONT_NAME), ctypes.c_int()
    length = pdfium.FPDFText_GetFontInfo(text, i, name, _FONT_NAME, flags)
    if not 0 < length <= _FONT_NAME:
        return False
    plain = name.value.rpartition(b"+")[2].lower()
    return plain.startswith((b".vn", b"vni-", b"vni ", b"vps"))


if __name__ == "__main__":
    serve(PdfWorker().handle)
