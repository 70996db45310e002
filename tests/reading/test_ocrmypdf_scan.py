"""A scan comes through OCRmyPDF with its own pixels; what is more than a scan, OCRmyPDF draws."""

import io
import zlib
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from nhin.image.load import open_picture

pikepdf = pytest.importorskip("pikepdf", reason="the extra ocrmypdf is not installed")
img2pdf = pytest.importorskip("img2pdf", reason="the extra ocrmypdf is not installed")
pytest.importorskip("ocrmypdf", reason="the extra ocrmypdf is not installed")

WIDTH, HEIGHT, DPI = 165, 235, 200
"""A size at which PDFium stretches the picture."""


def make_scan(mode: str = "RGB", format: str = "JPEG", **options) -> bytes:
    shape = (HEIGHT, WIDTH, 3) if mode == "RGB" else (HEIGHT, WIDTH)
    pixels = np.random.default_rng(5).integers(0, 256, shape).astype(np.uint8)
    image = Image.fromarray(pixels)
    image = image.quantize(16) if mode == "P" else image.convert(mode)
    out = io.BytesIO()
    image.save(out, format, **{"dpi": (DPI, DPI), **options})
    return out.getvalue()


@pytest.fixture
def pdf(tmp_path):
    """Return a function that writes a PDF with a scan, changed by another function."""

    def write_pdf(scan: bytes | None = None, change=None, layout=img2pdf.default_layout_fun):
        path = tmp_path / "trang.pdf"
        path.write_bytes(img2pdf.convert(make_scan() if scan is None else scan, layout_fun=layout))
        if change is not None:
            with pikepdf.open(path, allow_overwriting_input=True) as file:
                change(file.pages[0], file.pages[0].resources.XObject.Im0)
                file.save(path)
        return path

    return write_pdf


SCANS = {
    "color": make_scan(),
    "gray": make_scan("L"),
    "gray PNG": make_scan("L", "PNG"),
    "palette": make_scan("P", "PNG"),
    "fax": make_scan("1", "TIFF", compression="group4"),
}


@pytest.mark.parametrize("name", SCANS)
def test_a_scan_is_read_with_its_own_pixels(pdf, tmp_path, monkeypatch, name):
    import ocrmypdf

    from nhin.reading import ocrmypdf_engine
    from nhin.reading.reading import Reading

    seen = []

    def read_picture(picture, crop, name):
        seen.append(picture.pixels)
        return Reading((), picture.width, picture.height)

    monkeypatch.setattr(ocrmypdf_engine, "_load_reader", lambda: SimpleNamespace(read_picture=read_picture))
    ocrmypdf.ocr(
        pdf(SCANS[name]),
        tmp_path / "ra.pdf",
        plugins=["nhin"],
        language=["vie"],
        output_type="pdf",
        optimize=0,
        progress_bar=False,
    )
    assert np.array_equal(seen[0], open_picture(SCANS[name]).pixels)


def write(pdf, tmp_path, number: int = 1, dpi: float = DPI) -> bool:
    from nhin.reading.ocrmypdf_scan import write_scan

    return write_scan(pdf, number, dpi, tmp_path / "trang.png")


@pytest.mark.parametrize(
    "options, format",
    [
        ({}, "JPEG"),
        ({"dpi": (72, 72)}, "PNG"),
        ({"dpi": (0, 0)}, "PNG"),
        ({"mode": "1", "format": "TIFF"}, "PNG"),
        ({"format": "PNG"}, "PNG"),
    ],
)
def test_the_picture_is_written_with_its_resolution_and_taken_once(pdf, tmp_path, options, format):
    from nhin.reading.ocrmypdf_scan import take_scan

    scan = make_scan(**options)
    path, link = pdf(scan, layout=img2pdf.get_fixed_dpi_layout_fun((DPI, DPI))), tmp_path / "ocr.png"
    link.symlink_to(tmp_path / "trang.png")
    assert write(path, tmp_path)
    with Image.open(link) as image:
        assert (image.format, image.size) == (format, (WIDTH, HEIGHT))
        assert image.info["dpi"] == pytest.approx((DPI, DPI), abs=0.01)
        taken = take_scan(link)
        assert taken is not None and np.array_equal(np.asarray(taken), np.asarray(image))
    assert take_scan(link) is None
    assert write(path, tmp_path)
    assert take_scan(tmp_path / "khác.png") is None


def test_a_photograph_is_not_turned_by_what_its_file_says(pdf, tmp_path):
    from nhin.reading.ocrmypdf_scan import take_scan

    exif = Image.Exif()
    exif[0x0112] = 6
    turned = make_scan(exif=exif)
    path = pdf(change=lambda page, picture: picture.write(turned, filter=pikepdf.Name.DCTDecode))
    assert write(path, tmp_path)
    taken = take_scan(tmp_path / "trang.png")
    assert taken is not None
    assert open_picture(taken).pixels.shape == (HEIGHT, WIDTH, 3)
    assert open_picture(tmp_path / "trang.png").pixels.shape == (HEIGHT, WIDTH, 3)


def test_a_jpeg_that_is_compressed_again_is_unpacked(pdf, tmp_path):
    filters = [pikepdf.Name.FlateDecode, pikepdf.Name.DCTDecode]
    packed = zlib.compress(make_scan())
    assert write(pdf(change=lambda page, picture: picture.write(packed, filter=filters)), tmp_path)
    assert np.array_equal(open_picture(tmp_path / "trang.png").pixels, open_picture(make_scan()).pixels)


def draw_line(page, picture):
    page.contents_add(b"0 0 10 10 re f")


def draw_twice(page, picture):
    page.contents_add(page.Contents.read_bytes())


def turn(page, picture):
    page.Rotate = 180


def turn_all(page, picture):
    page.Parent.Rotate = 90


def bend_parents(page, picture):
    page.Parent = page.obj


def widen(page, picture):
    page.MediaBox[2] = float(page.MediaBox[2]) + 1


def move(page, picture):
    page.Contents.write(b"q 1 0 0 1 1 0 cm\n" + page.Contents.read_bytes() + b"\nQ")


def invert(page, picture):
    picture.Decode = [1, 0] * 3


def hide(page, picture):
    picture.OC = pikepdf.Dictionary(Type=pikepdf.Name.OCG)


def mask(page, picture):
    picture.Mask = [0, 9] * 3


def comment(page, picture):
    page.Annots = [pikepdf.Dictionary(Subtype=pikepdf.Name.Stamp)]


def enlarge(page, picture):
    page.UserUnit = 2


def tear(page, picture):
    picture.write(picture.read_raw_bytes()[:900], filter=pikepdf.Name.DCTDecode)


def break_contents(page, picture):
    page.Contents.write(b"q (")


CHANGES = (
    draw_line, draw_twice, turn, turn_all, bend_parents, widen, move, invert, hide, mask, comment, enlarge,
    tear, break_contents,
)  # fmt: skip


@pytest.mark.parametrize("change", CHANGES)
def test_a_page_that_is_more_than_its_picture_is_left_to_ocrmypdf(pdf, tmp_path, change):
    assert not write(pdf(change=change), tmp_path)
    assert not (tmp_path / "trang.png").exists()


def test_a_picture_of_another_size_is_left_to_ocrmypdf(pdf, tmp_path):
    assert not write(pdf(), tmp_path, dpi=2 * DPI)
    assert not write(pdf(), tmp_path, number=2)


@pytest.mark.parametrize(
    "changes, is_written",
    [
        ({}, True),
        ({"ocr_engine": "nhin"}, True),
        ({"ocr_engine": "tesseract"}, False),
        ({"rasterizer": "ghostscript"}, False),
        ({"lossless_reconstruction": False}, False),
        ({"clean": True}, False),
    ],
)
def test_ocrmypdf_draws_where_it_was_told_how_or_draws_anew(pdf, tmp_path, changes, is_written):
    from nhin.reading.ocrmypdf_plugin import NamedEngine, rasterize_pdf_page

    defaults = {"ocr_engine": "auto", "rasterizer": "auto", "lossless_reconstruction": True, "clean": False}
    options = SimpleNamespace(**defaults | changes)
    dpi, out = SimpleNamespace(x=DPI, y=DPI), tmp_path / "trang.png"
    assert (rasterize_pdf_page(pdf(), out, "png16m", dpi, 1, 0, options) == out) == is_written
    assert rasterize_pdf_page(pdf(), out, "png16m", dpi, 1, 90, options) is None
    assert rasterize_pdf_page(pdf(), out, "jpeg", dpi, 1, 0, options) is None
    assert rasterize_pdf_page(pdf(), out, "png16m", dpi, 1, 0, None) is None
    is_named = is_written and options.ocr_engine == "nhin"
    assert (NamedEngine.rasterize_pdf_page(pdf(), out, "png16m", dpi, 1, 0, options) == out) == is_named
