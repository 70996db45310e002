"""A PDF is opened in a child process: text layers and pictures of its pages, in the same pixels."""

import io
import sys
import zlib

import numpy as np
import pytest
from pdfs import ENCRYPTED, InProcess, PdfPage, TextAt, make_pdf, write_objects
from PIL import Image
from pypdfium2 import PdfDocument

from nhin.errors import PictureError, UsageError
from nhin.image import pdf as module
from nhin.image import pdf_worker
from nhin.image.page_ranges import parse_pages
from nhin.image.pdf import PdfFile, is_pdf
from nhin.sandbox import SandboxError


@pytest.fixture
def in_process(monkeypatch):
    monkeypatch.setattr(module, "Sandbox", InProcess)


def text_of(codes: np.ndarray) -> str:
    return "".join(map(chr, codes)).strip()


def test_a_child_process_gives_text_and_pixels_of_each_page():
    data = make_pdf(PdfPage([TextAt("Đường Lê Lợi", 60, 700)]), PdfPage())
    with PdfFile(data, "thư.pdf") as pdf:
        assert pdf.count == 2
        text, (picture, dpi) = pdf.read_text(1), pdf.render(1)
        assert text_of(text.codes) == "Đường Lê Lợi"
        assert dpi == text.dpi == 200
        assert (picture.width, picture.height) == (text.width, text.height) == (1653, 2339)
        assert len(pdf.read_text(2).codes) == 0


@pytest.mark.parametrize("width, height", [(165, 235), (166, 234), (333, 127), (400, 301)])
def test_a_scan_at_our_resolution_keeps_its_pixels(in_process, width, height):
    noise = np.random.default_rng(3).integers(0, 256, (height, width), np.uint8)
    data = io.BytesIO()
    Image.fromarray(noise).save(data, "PDF", resolution=module.DPI)
    (picture,) = PdfDocument(data.getvalue())[0].get_objects()
    with PdfFile(data.getvalue(), "quét.pdf") as pdf:
        pixels = pdf.render(1)[0].pixels
    assert np.array_equal(pixels[..., 0], picture.get_bitmap().to_numpy().reshape(height, width))


def test_the_file_is_opened_anew_after_some_pages_with_the_same_answers(in_process, monkeypatch):
    """PDFium keeps the pictures of the pages that it has seen."""
    opened = []
    monkeypatch.setattr(pdf_worker, "_REQUESTS", 2)
    monkeypatch.setattr(
        pdf_worker.pypdfium2, "PdfDocument", lambda data: opened.append(data) or PdfDocument(data)
    )
    names = ["một", "hai", "ba", "bốn", "năm"]
    with PdfFile(make_pdf(*(PdfPage([TextAt(name, 60, 700)]) for name in names)), "thư.pdf") as pdf:
        assert [text_of(pdf.read_text(number).codes) for number in (1, 2, 3, 4, 5)] == names
    assert len([data for data in opened if data != b"torn"]) == 3


@pytest.mark.parametrize("turn", [0, 90, 180, 270])
def test_boxes_of_the_text_layer_lie_on_the_ink_of_the_rendered_page(in_process, turn):
    page = PdfPage([TextAt("HHH", 120, 600, 40)], extra=f"/Rotate {turn} /CropBox [50 100 550 800]")
    with PdfFile(make_pdf(page), "x.pdf") as pdf:
        text, (picture, _) = pdf.read_text(1), pdf.render(1)
    rows, columns = np.nonzero(picture.pixels.min(axis=2) < 128)
    left, top = text.boxes[:, :2].min(axis=0)
    right, bottom = text.boxes[:, 2:].max(axis=0)
    assert left - 2 <= columns.min() <= columns.max() <= right + 2
    assert top - 2 <= rows.min() <= rows.max() <= bottom + 2
    assert (right - left) * (bottom - top) < 4 * np.ptp(rows) * np.ptp(columns)
    assert np.degrees(text.angles) % 360 == pytest.approx([turn] * 3, abs=0.1)


def test_what_is_written_into_a_form_is_part_of_the_text(in_process):
    look = "/Subtype /Widget /FT /Tx /T (a) /V (Huế) /F 4 /Rect [60 600 200 630]"
    page = PdfPage([TextAt("Nơi sinh", 60, 700)], extra=f"/Annots [<< /Type /Annot {look} >>]")
    with PdfFile(make_pdf(page), "đơn.pdf") as pdf:
        assert "Nơi sinh" in text_of(pdf.read_text(1).codes)


BAD = {
    "torn": (b"%PDF-1.7\n" + b"\0" * 400, "is torn"),
    "encrypted": (ENCRYPTED, "needs a password"),
    "no pages": (make_pdf(), "is torn, or has no pages"),
}


@pytest.mark.parametrize("data, reason", BAD.values(), ids=BAD)
def test_a_pdf_that_cannot_be_opened_is_refused_in_one_line(in_process, data, reason):
    with pytest.raises(PictureError, match=f"^xấu.pdf {reason}") as caught:
        PdfFile(data, "xấu.pdf")
    assert "\n" not in str(caught.value)


@pytest.mark.skipif(sys.platform != "linux", reason="limits of a process are Linux's")
def test_a_stream_that_unpacks_to_more_than_the_child_may_take_ends_it(monkeypatch):
    monkeypatch.setattr(module, "MAX_MEMORY", 160 * 2**20)
    once = zlib.compress(bytes(2**27), 1)
    twice = zlib.compress(once, 9)
    head = f"<< /Filter [/FlateDecode /FlateDecode] /Length {len(twice)} >>\nstream\n".encode()
    catalog, pages = b"<< /Type /Catalog /Pages 2 0 R >>", b"<< /Type /Pages /Count 1 /Kids [3 0 R] >>"
    page = b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 9 9] /Contents 4 0 R >>"
    data = write_objects([catalog, pages, page, head + twice + b"\nendstream"])
    assert len(data) < 10_000
    with PdfFile(data, "bom.pdf") as pdf:
        with pytest.raises(PictureError, match=r"bom\.pdf cannot be opened: its process") as caught:
            pdf.render(1)
        assert "\n" not in str(caught.value)


def test_a_pdf_of_ten_thousand_pages_is_counted_and_its_pages_are_opened_one_by_one(in_process):
    data = make_pdf(PdfPage([TextAt("trang", 60, 300)]), kids=" ".join(["6 0 R"] * 10_000))
    with PdfFile(data, "dày.pdf") as pdf:
        assert pdf.count == 10_000
        assert text_of(pdf.read_text(10_000).codes) == "trang"


def test_a_page_of_thirty_meters_is_rendered_within_bounds(in_process):
    page = PdfPage([TextAt("dài", 60, 300)], media=(0, 0, 85039, 595))
    with PdfFile(make_pdf(page), "băng.pdf") as pdf:
        picture, dpi = pdf.render(1)
        assert picture.width <= module.MAX_SIDE
        assert dpi < module.MIN_DPI
        assert text_of(pdf.read_text(1).codes) == "dài"


def test_after_a_page_that_ends_the_child_the_others_are_opened(monkeypatch):
    opened = []

    class Fragile(InProcess):
        def __init__(self, *args) -> None:
            super().__init__(*args)
            opened.append(self)

        def call(self, values, arrays, seconds):
            if values.get("render") == 0:
                self.close()
                raise SandboxError("takes more than 8 seconds")
            return super().call(values, arrays, seconds)

    monkeypatch.setattr(module, "Sandbox", Fragile)
    with PdfFile(make_pdf(PdfPage(), PdfPage()), "x.pdf") as pdf:
        with pytest.raises(PictureError, match=r"x.pdf, page 1, cannot be opened: .*8 seconds"):
            pdf.render(1)
        assert pdf.render(2)[0].width == 1653
    assert len(opened) == 2


def test_only_what_begins_as_a_pdf_is_one():
    assert is_pdf(b"%PDF-1.4")
    assert is_pdf(b"\xef\xbb\xbf\n%PDF-1.4")
    assert not is_pdf(b"\xff\xd8\xff\xe0 %PDF-1.4")


def test_page_ranges_name_pages_from_one():
    ranges = parse_pages("3-5, 9,12-")
    assert [n for n in range(1, 15) if n in ranges] == [3, 4, 5, 9, 12, 13, 14]
    assert 2 in parse_pages("-2")


@pytest.mark.parametrize("text", ["", "0", "a", "3-2", "1,,2", "-", "1-2-3", "٣", "99999999999"])
def test_what_names_no_page_is_refused(text):
    with pytest.raises(UsageError, match="--pages"):
        parse_pages(text)
