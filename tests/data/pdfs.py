"""Small PDFs, made by hand."""

import zlib
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

import pypdfium2

from nhin.image.pdf_worker import PdfWorker

A4 = (0, 0, 595, 842)


@dataclass(frozen=True)
class TextAt:
    """A line of text: where it begins in points, and the six numbers of its matrix before that."""

    text: str
    x: float
    y: float
    size: float = 20
    matrix: str = "1 0 0 1"


@dataclass(frozen=True)
class PdfPage:
    """A page: its lines, the box of a gray picture if there is one, and how it is turned."""

    lines: Sequence[TextAt] = ()
    picture: tuple[float, float, float, float] | None = None
    media: tuple[float, float, float, float] = A4
    extra: str = ""
    font: str = "Helvetica"


def make_pdf(*pages: PdfPage, trailer: str = "", kids: str | None = None) -> bytes:
    """Return a PDF whose text layer is the lines; what is drawn are some letters of Helvetica."""
    chars = sorted({char for page in pages for line in page.lines for char in line.text})
    codes = {char: i + 33 for i, char in enumerate(chars)}
    objects: list[bytes] = [b"<< /Type /Catalog /Pages 2 0 R >>", b""]
    pairs = "".join(f"<{code:02x}> <{char.encode('utf-16-be').hex()}>\n" for char, code in codes.items())
    space = "begincmap 1 begincodespacerange <00> <ff> endcodespacerange"
    cmap = f"{space} {len(codes)} beginbfchar\n{pairs}endbfchar endcmap"
    objects.append(_stream("", cmap.encode()))
    size = "/Width 2 /Height 2 /ColorSpace /DeviceGray /BitsPerComponent 8 /Subtype /Image"
    objects.append(_stream(size, bytes([90, 160, 160, 90])))
    numbers = []
    for page in pages:
        parts = []
        if page.picture:
            left, bottom, right, top = page.picture
            parts.append(f"q {right - left} 0 0 {top - bottom} {left} {bottom} cm /I Do Q")
        for line in page.lines:
            shown = bytes(codes[char] for char in line.text).hex()
            parts.append(f"BT /F {line.size} Tf {line.matrix} {line.x} {line.y} Tm <{shown}> Tj ET")
        number = len(objects) + 1
        numbers.append(number + 1)
        objects.append(_stream("/Filter /FlateDecode", zlib.compress("\n".join(parts).encode())))
        font = f"<< /Type /Font /Subtype /Type1 /BaseFont /{page.font} /ToUnicode 3 0 R >>"
        box = " ".join(map(str, page.media))
        objects.append(
            f"<< /Type /Page /Parent 2 0 R /MediaBox [{box}] /Contents {number} 0 R {page.extra} "
            f"/Resources << /Font << /F {font} >> /XObject << /I 4 0 R >> >> >>".encode()
        )
    kids = " ".join(f"{number} 0 R" for number in numbers) if kids is None else kids
    objects[1] = f"<< /Type /Pages /Count {len(kids.split()) // 3} /Kids [{kids}] >>".encode()
    return write_objects(objects, trailer)


def write_objects(objects: Sequence[bytes], trailer: str = "") -> bytes:
    """Return the file of some objects, the first of which is the catalog."""
    out, offsets = b"%PDF-1.7\n", []
    for number, body in enumerate(objects, start=1):
        offsets.append(len(out))
        out += b"%d 0 obj\n%s\nendobj\n" % (number, body)
    table = "".join(f"{offset:010d} 00000 n \n" for offset in offsets)
    head = f"xref\n0 {len(objects) + 1}\n0000000000 65535 f \n{table}"
    end = f"trailer << /Size {len(objects) + 1} /Root 1 0 R {trailer} >>\nstartxref\n{len(out)}\n%%EOF\n"
    return out + head.encode() + end.encode()


def _stream(head: str, data: bytes) -> bytes:
    return b"<< %s /Length %d >>\nstream\n%s\nendstream" % (head.encode(), len(data), data)


ENCRYPTED = make_pdf(
    PdfPage([TextAt("bí mật", 50, 700)]),
    trailer=f"/ID [<{'00' * 16}> <{'00' * 16}>] /Encrypt << /Filter /Standard /V 1 /R 2 /P -4 "
    f"/O <{'11' * 32}> /U <{'22' * 32}> >>",
)


class InProcess:
    """A ``Sandbox`` for PDFs that answers as the child process does, without its cost and its limits."""

    def __init__(self, module: str, memory: int) -> None:
        assert module == "nhin.image.pdf_worker"
        self.is_open, self._worker = True, PdfWorker()
        with suppress(pypdfium2.PdfiumError):  # pdfium keeps its last error
            pypdfium2.PdfDocument(b"torn")

    def call(self, values, arrays, seconds):
        """Answer one request."""
        return self._worker.handle(values, arrays)

    def close(self) -> None:
        """End as if the child process did."""
        self.is_open = False
