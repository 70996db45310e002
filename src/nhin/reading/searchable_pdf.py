"""A searchable PDF: the picture of each page, and over it its text, which can be searched and copied.

The text is invisible (rendering mode 3) and in reading order, a text object for each line. Each word is
stretched to its own box, with a space after it that is no wider than a letter. Pages are written as they
come, so that no more than one is in memory.
"""

import io
import math
import zlib
from itertools import pairwise
from typing import IO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from nhin.reading.glyphless_font import ASCENT, DESCENT, UNITS, WIDTH, make_glyphless_font
from nhin.reading.markup import measure_angle
from nhin.reading.result import Line, PageResult, Point
from nhin.version import __version__

POINTS_PER_INCH = 72
_QUALITY = 85
_GRAY = 16
_MAX_CODES = 65_000
_CATALOG, _PAGES, _FONT, _LETTERS, _INFO = range(1, 6)
_A4 = (595, 842)
_TURNED = 0.7  # about the sine of 45 degrees


class SearchablePdf:
    """Writes a PDF into a file, page by page; ``finish`` makes it complete.

    Args:
        file: Open for writing bytes; it need not be able to go back.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self._file, self._length = file, 0
        self._offsets: dict[int, int] = {}
        self._next, self._pages = _INFO + 1, list[int]()
        self._codes: dict[str, int] = {}
        self._write(b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n")

    def add_page(self, reading: PageResult, pixels: NDArray[np.uint8] | None, dpi: float) -> None:
        """Write a page: its text over its picture.

        Args:
            reading: What was read; boxes are in pixels of ``reading.width`` x ``reading.height``.
            pixels: RGB (H x W x 3), of any size; the page is left white where it is None.
            dpi: Pixels of the reading for each inch.
        """
        scale = POINTS_PER_INCH / dpi
        size = (reading.width * scale, reading.height * scale) if reading.width and reading.height else _A4
        parts = [] if pixels is None else [f"q {size[0]:.3f} 0 0 {size[1]:.3f} 0 0 cm /P Do Q\n"]
        is_level = reading.turn % 180 == 0
        parts += [
            self._format_line(line, size[1], scale, is_level) for line in reading.lines if line.text.strip()
        ]
        content = self._add("/Filter /FlateDecode", zlib.compress("".join(parts).encode()))
        picture = "" if pixels is None else f"/XObject << /P {self._add_picture(pixels)} 0 R >>"
        self._pages.append(
            self._add_object(
                f"<< /Type /Page /Parent {_PAGES} 0 R /MediaBox [0 0 {size[0]:.3f} {size[1]:.3f}] "
                f"/Contents {content} 0 R /Resources << /Font << /F1 {_FONT} 0 R >> {picture} >> >>"
            )
        )

    def finish(self) -> None:
        """Write the font and the table of objects."""
        self._add_font()
        kids = " ".join(f"{page} 0 R" for page in self._pages)
        self._add_object(f"<< /Type /Catalog /Pages {_PAGES} 0 R /Lang (vi) >>", _CATALOG)
        self._add_object(f"<< /Type /Pages /Count {len(self._pages)} /Kids [{kids}] >>", _PAGES)
        self._add_object(f"<< /Producer (nhin {__version__}) >>", _INFO)
        start, count = self._length, self._next
        rows = "".join(f"{self._offsets[number]:010d} 00000 n \n" for number in range(1, count))
        trailer = f"trailer\n<< /Size {count} /Root {_CATALOG} 0 R /Info {_INFO} 0 R >>"
        self._write(
            f"xref\n0 {count}\n0000000000 65535 f \n{rows}{trailer}\nstartxref\n{start}\n%%EOF\n".encode()
        )

    def _format_line(self, line: Line, height: float, scale: float, is_level: bool) -> str:
        """Return the text object of a line on a page of some height in points.

        PDFium turns the order of words that stand on their head, and breaks lines that run up or down a page
        whose others are level; it does neither where one operator shows the line.
        """
        angle = math.radians(measure_angle(line.box))
        cos, sin = math.cos(angle), math.sin(angle)
        words, size = line.words, max(0.1, _distance(line.box[0], line.box[3]) * scale)
        above = size * -DESCENT / (ASCENT - DESCENT)
        widths = [max(0.01, _distance(*word.box[:2]) * scale) for word in words]
        gaps = [_distance(left.box[1], right.box[0]) * scale for left, right in pairwise(words)]
        turn, starts = f"{cos:.5f} {-sin:.5f} {sin:.5f} {cos:.5f}", [word.box[3] for word in words]
        places = [
            f"{turn} {x * scale + above * sin:.3f} {height - y * scale + above * cos:.3f} Tm"
            for x, y in starts
        ]
        texts = [word.text for word in words]
        if cos < -_TURNED or (is_level and abs(sin) > _TURNED):
            shown = f"{places[0]} {self._show_at_once(texts, widths, gaps, size)}"
        else:
            shown = self._show_words(places, texts, widths, gaps, size * WIDTH / UNITS)
        return f"BT 3 Tr /F1 {size:.3f} Tf\n{shown}ET\n"

    def _show_words(
        self, places: list[str], texts: list[str], widths: list[float], gaps: list[float], letter: float
    ) -> str:
        """Show each word at its own place, stretched to its own width, and a space after it."""
        out = []
        for place, text, width, gap in zip(places, texts, widths, [*gaps, None], strict=True):
            out.append(f"{place} {100 * width / (letter * len(text)):.3f} Tz <{self._encode(text)}> Tj\n")
            if gap is not None:
                stretch = 100 * min(1.0, max(0.1, gap / letter))
                out.append(f"{stretch:.3f} Tz <{self._encode(' ')}> Tj\n")
        return "".join(out)

    def _show_at_once(self, texts: list[str], widths: list[float], gaps: list[float], size: float) -> str:
        """Show a line by one operator: its letters stand in their places, all stretched alike."""
        pairs = zip(texts, widths, [*gaps, None], strict=True)
        steps: list[tuple[str, float]] = []
        for text, width, gap in pairs:
            steps += [(char, width / len(text)) for char in text]
            steps += [(" ", gap)] if gap is not None else []
        stretch = sum(widths) / sum(map(len, texts)) / (size * WIDTH / UNITS)
        unit = size * stretch / UNITS
        shown = " ".join(f"<{self._encode(char)}> {WIDTH - step / unit:.1f}" for char, step in steps)
        return f"{100 * stretch:.3f} Tz [{shown}] TJ\n"

    def _encode(self, text: str) -> str:
        """Return the codes of a text in this file, as hexadecimal digits."""
        codes = self._codes
        for char in text:
            if char not in codes:
                codes[char] = len(codes) + 1 if len(codes) < _MAX_CODES else 0
        return "".join(f"{codes[char]:04x}" for char in text)

    def _add_picture(self, pixels: NDArray[np.uint8]) -> int:
        """Write a picture as JPEG, gray where it has no color; return its number."""
        is_gray = int((pixels.max(axis=2) - pixels.min(axis=2)).max(initial=0)) < _GRAY
        image, data = Image.fromarray(pixels), io.BytesIO()
        (image.convert("L") if is_gray else image).save(data, "JPEG", quality=_QUALITY)
        head = f"/Type /XObject /Subtype /Image /Width {image.width} /Height {image.height}"
        color = f"/ColorSpace /Device{'Gray' if is_gray else 'RGB'} /BitsPerComponent 8 /Filter /DCTDecode"
        return self._add(f"{head} {color}", data.getvalue())

    def _add_font(self) -> None:
        font = make_glyphless_font()
        file = self._add(f"/Length1 {len(font)} /Filter /FlateDecode", zlib.compress(font))
        glyphs = b"\0\1" * (len(self._codes) + 1)
        to_glyphs = self._add("/Filter /FlateDecode", zlib.compress(glyphs))
        to_unicode = self._add("/Filter /FlateDecode", zlib.compress(self._make_cmap().encode()))
        descriptor = self._add_object(
            f"<< /Type /FontDescriptor /FontName /NhinGlyphless /Flags 4 /ItalicAngle 0 /StemV 80 "
            f"/FontBBox [0 {DESCENT} {WIDTH} {ASCENT}] "
            f"/Ascent {ASCENT} /Descent {DESCENT} /CapHeight {ASCENT} /FontFile2 {file} 0 R >>"
        )
        self._add_object(
            f"<< /Type /Font /Subtype /CIDFontType2 /BaseFont /NhinGlyphless "
            f"/FontDescriptor {descriptor} 0 R "
            f"/CIDSystemInfo << /Registry (Adobe) /Ordering (Identity) /Supplement 0 >> "
            f"/DW {WIDTH} /CIDToGIDMap {to_glyphs} 0 R >>",
            _LETTERS,
        )
        self._add_object(
            f"<< /Type /Font /Subtype /Type0 /BaseFont /NhinGlyphless /Encoding /Identity-H "
            f"/DescendantFonts [{_LETTERS} 0 R] /ToUnicode {to_unicode} 0 R >>",
            _FONT,
        )

    def _make_cmap(self) -> str:
        """Return the table from codes to Unicode."""
        pairs = [
            f"<{code:04x}> <{char.encode('utf-16-be', 'replace').hex()}>"
            for char, code in self._codes.items()
            if code
        ]
        parts = [pairs[i : i + 100] for i in range(0, len(pairs), 100)]
        rows = "".join(f"{len(part)} beginbfchar\n{chr(10).join(part)}\nendbfchar\n" for part in parts)
        return (
            "/CIDInit /ProcSet findresource begin\n12 dict begin\nbegincmap\n"
            "/CIDSystemInfo << /Registry (Adobe) /Ordering (UCS) /Supplement 0 >> def\n"
            "/CMapName /Adobe-Identity-UCS def\n/CMapType 2 def\n"
            f"1 begincodespacerange\n<0000> <ffff>\nendcodespacerange\n{rows}"
            "endcmap\nCMapName currentdict /CMap defineresource pop\nend\nend\n"
        )

    def _add(self, head: str, data: bytes) -> int:
        """Write a stream; return its number."""
        return self._add_object(
            f"<< {head} /Length {len(data)} >>\nstream\n".encode() + data + b"\nendstream"
        )

    def _add_object(self, body: str | bytes, number: int = 0) -> int:
        if not number:
            number, self._next = self._next, self._next + 1
        self._offsets[number] = self._length
        data = body.encode() if isinstance(body, str) else body
        self._write(b"%d 0 obj\n%s\nendobj\n" % (number, data))
        return number

    def _write(self, data: bytes) -> None:
        self._file.write(data)
        self._length += len(data)


def _distance(start: Point, end: Point) -> float:
    return math.hypot(end[0] - start[0], end[1] - start[1])
