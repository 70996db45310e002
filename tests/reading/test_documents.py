"""Pages of PDFs: read by the text layer where it can be trusted, as pictures otherwise."""

import numpy as np
import pytest
from pdfs import InProcess, PdfPage, TextAt, make_pdf

from nhin.errors import PictureError
from nhin.image import pdf as pdf_module
from nhin.reading import documents as module
from nhin.reading.line_shape import Detection, LineShape
from nhin.reading.reader import Reader
from nhin.reading.result import Recognition


@pytest.fixture(autouse=True)
def in_process(monkeypatch):
    monkeypatch.setattr(pdf_module, "Sandbox", InProcess)


class Recognizer:
    """Reads every crop as one word."""

    def read(self, crops) -> list[Recognition]:
        return [Recognition("ảnh", 0.9) for _ in crops]


class Detector:
    """Finds one line."""

    def find(self, picture):
        return Detection((LineShape(np.array([[300, 350], [900, 350]], np.float32), 60),))


READER = Reader(recognizer=Recognizer(), detector=Detector())
LETTER = PdfPage([TextAt("Kính gửi Ủy ban", 60, 700), TextAt("Tôi tên là Đỗ Thị Huệ", 60, 660)])
SCAN = PdfPage(picture=(0, 0, 595, 842))


def read(*pages: PdfPage, **options):
    return list(READER.read_pages(make_pdf(*pages), name="thư.pdf", **options))


def test_a_page_is_read_by_its_text_layer_or_as_a_picture():
    first, second = read(LETTER, SCAN)
    assert (first.source, first.text) == ("text", "Kính gửi Ủy ban\nTôi tên là Đỗ Thị Huệ")
    assert (second.source, second.text, second.page) == ("picture", "ảnh", 2)
    assert first.confidence == 1.0
    assert not first.warnings + second.warnings
    assert (first.width, first.height) == (second.width, second.height)


def test_ocr_always_and_never_do_not_ask_the_text_layer():
    assert [page.source for page in read(LETTER, SCAN, ocr="always")] == ["picture"] * 2
    pages = read(LETTER, SCAN, ocr="never")
    assert [page.source for page in pages] == ["text"] * 2
    assert [len(page.lines) for page in pages] == [2, 0]
    assert [warning.code for warning in pages[1].warnings] == ["text-layer"]
    assert "thư.pdf, page 2, has no text layer" in pages[1].warnings[0].message


OVER = [TextAt("chữ nằm trên ảnh quét của cả trang giấy này", 30, 800 - 20 * i, 12) for i in range(8)]
DISTRUSTED = {
    "characters without a meaning": PdfPage([TextAt("\ue001\ue002\ue003\ufffd abc", 60, 700)]),
    "a TCVN3 text": PdfPage([TextAt("Céng hßa x· héi chñ nghÜa ViÖt Nam", 60, 700)]),
    "a VNI text": PdfPage([TextAt("Coäng hoøa xaõ hoäi chuû nghóa Vieät Nam", 60, 700)]),
    "a font from before Unicode": PdfPage([TextAt("Hµ", 60, 700)], font="ABCDEF+.VnTime"),
    "a scan with a stamped number": PdfPage([TextAt("No. 12", 500, 800)], picture=(0, 0, 595, 842)),
}


@pytest.mark.parametrize("page", DISTRUSTED.values(), ids=DISTRUSTED)
def test_a_text_layer_that_cannot_be_trusted_is_not_used(page):
    assert [reading.source for reading in read(page)] == ["picture"]


TRUSTED = {
    "letters": LETTER,
    "a scan with its text": PdfPage(OVER, picture=(0, 0, 595, 842)),
    "a letter with a logo": PdfPage(LETTER.lines, picture=(400, 700, 560, 800)),
    "a Unicode text in a font named like an old one": PdfPage(LETTER.lines, font="VNI-Times"),
    "French": PdfPage([TextAt("Le garçon a déjà été là où naît l'élève", 60, 700)]),
}


@pytest.mark.parametrize("page", TRUSTED.values(), ids=TRUSTED)
def test_a_text_layer_that_can_be_trusted_is_used(page):
    assert [reading.source for reading in read(page)] == ["text"]


def test_lines_of_a_text_layer_have_spaces_and_boxes_of_their_characters():
    (line,) = read(PdfPage([TextAt("Số 12", 60, 700)]))[0].lines
    assert line.text == "".join(char.text for char in line.chars) == "Số 12"
    lefts = [char.box[0][0] for char in line.chars]
    assert lefts == sorted(lefts)
    assert line.box[0] == line.chars[0].box[0]
    assert line.box[2] == line.chars[-1].box[2]
    assert line.box[0][0] == pytest.approx(60 * 200 / 72, abs=3)


@pytest.mark.parametrize(
    "matrix, turn", [("1 0 0 1", 0), ("0 -1 1 0", 90), ("-1 0 0 -1", 180), ("0 1 -1 0", 270)]
)
def test_text_that_stands_turned_has_turned_boxes(matrix, turn):
    (reading,) = read(PdfPage([TextAt("chữ xoay", 300, 400, 20, matrix)]))
    (start, along, *_), height = reading.lines[0].box, 20 * 200 / 72
    angle = np.degrees(np.arctan2(along[1] - start[1], along[0] - start[0])) % 360
    assert (reading.text, reading.turn) == ("chữ xoay", turn)
    assert angle == pytest.approx(turn, abs=1)
    assert np.hypot(*np.subtract(reading.lines[0].box[3], start)) == pytest.approx(height, rel=0.4)


def test_text_far_apart_on_one_level_is_no_single_line_and_text_off_the_page_is_none():
    page = PdfPage([TextAt("Họ tên", 60, 700), TextAt("Tuổi", 400, 700), TextAt("ngoài", 60, -300)])
    assert sorted(line.text for line in read(page)[0].lines) == ["Họ tên", "Tuổi"]


def test_marks_of_their_own_are_joined_to_their_letters():
    (line,) = read(PdfPage([TextAt("hue\u0302\u0323", 60, 700)]))[0].lines
    assert (line.text, len(line.chars)) == ("huệ", 3)


def test_only_the_pages_asked_for_are_read():
    pages = read(LETTER, SCAN, LETTER, SCAN, pages="3-")
    assert [(page.page, page.source) for page in pages] == [(3, "text"), (4, "picture")]
    with pytest.raises(PictureError, match="has 1 pages, none of those that --pages names"):
        read(LETTER, pages="7")
    (page,) = read(LETTER, pages="1-7")
    assert [warning.code for warning in page.warnings] == ["pages-missing"]


def test_a_pdf_with_too_many_pages_is_read_up_to_the_limit_and_the_rest_is_said(monkeypatch):
    monkeypatch.setattr(module, "MAX_PAGES", 2)
    *pages, rest = read(LETTER, LETTER, LETTER)
    assert [page.page for page in pages] == [1, 2]
    assert [warning.code for warning in rest.warnings] == ["page-skipped"]
    assert "has 3 pages; those after page 2 are read with --pages 3-3" in rest.warnings[0].message
    assert [page.page for page in read(LETTER, LETTER, LETTER, pages="1-3")] == [1, 2, 3]


def test_a_scan_of_thirty_meters_is_refused_and_the_other_pages_are_read():
    band = PdfPage(picture=(0, 0, 85039, 595), media=(0, 0, 85039, 595))
    first, second = read(band, LETTER)
    assert "page 1, is 30.00 x 0.21 meters, too large" in first.warnings[0].message
    assert second.source == "text"


def test_one_reading_of_a_pdf_is_its_first_page():
    reading = READER.read(make_pdf(LETTER, SCAN), name="thư.pdf")
    assert reading.source == "text"
    assert [warning.code for warning in reading.warnings] == ["others-ignored"]


def test_pages_of_a_picture_file_are_chosen_too():
    picture = np.zeros((40, 60, 3), np.uint8)
    picture[10:30, 10:50] = 255
    assert len(list(READER.read_pages(picture, pages="1"))) == 1
    with pytest.raises(PictureError, match="none of the pages"):
        list(READER.read_pages(picture, pages="2"))


class Once(InProcess):
    """A child process that ends after the text of a page."""

    def call(self, values, arrays, seconds):
        answer = super().call(values, arrays, seconds)
        self.is_open = "text" not in values
        return answer


def test_a_pdf_is_read_again_for_a_new_child_process_unless_it_was_changed(tmp_path, monkeypatch):
    monkeypatch.setattr(pdf_module, "Sandbox", Once)
    path = tmp_path / "thư.pdf"
    path.write_bytes(make_pdf(LETTER, LETTER, LETTER))
    pages = READER.read_pages(path)
    assert next(pages).text == next(pages).text != ""
    path.write_bytes(make_pdf(LETTER))
    (warning,) = next(pages).warnings
    assert (warning.code, "was changed while it was read" in warning.message) == ("page-skipped", True)


def test_the_bytes_of_a_pdf_that_has_a_path_are_not_kept(tmp_path, monkeypatch):
    gone = []

    class Bytes(bytes):
        def __del__(self):
            gone.append(True)

    monkeypatch.setattr(module, "read_source", lambda source, name: Bytes(source.read_bytes()))
    path = tmp_path / "thư.pdf"
    path.write_bytes(make_pdf(LETTER, LETTER))
    pages = READER.read_pages(path)
    next(pages)
    assert gone
