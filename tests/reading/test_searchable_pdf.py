"""A searchable PDF: words stand where their boxes are, and are copied in order, in other programs too."""

import io
import re
import shutil
import subprocess

import numpy as np
import pypdfium2
import pytest
from made_lines import make_line as line

from nhin.reading.glyphless_font import make_glyphless_font
from nhin.reading.reading import Reading
from nhin.reading.searchable_pdf import SearchablePdf

DPI, WIDTH, HEIGHT = 144, 1000, 800


def write(*readings: Reading) -> bytes:
    out = io.BytesIO()
    pdf = SearchablePdf(out)
    for reading in readings:
        pdf.add_page(reading, np.full((80, 100, 3), 200, np.uint8), DPI)
    pdf.finish()
    return out.getvalue()


LINES = (
    line("Cộng hòa xã hội", 100, 100),
    line("Độc lập – Tự do 😀", 100, 150, letter=20),
    line("i", 500, 400, letter=4),
    line("chữ nghiêng", 100, 300, 5),
    line("dọc xuống", 700, 100, 90),
    line("ngược đầu", 500, 700, 180),
    line("dọc lên", 60, 700, -90),
)
READING = Reading(LINES, WIDTH, HEIGHT)


def test_pdfium_reads_every_line_in_order():
    pdf = pypdfium2.PdfDocument(write(READING, Reading((line("trang hai", 50, 50),), WIDTH, HEIGHT, 2)))
    assert len(pdf) == 2
    assert pdf[0].get_size() == pytest.approx((WIDTH / 2, HEIGHT / 2))
    text = pdf[0].get_textpage().get_text_range()
    assert text.splitlines() == [part.text for part in LINES]
    assert pdf[1].get_textpage().get_text_range() == "trang hai"


@pytest.mark.parametrize("turn, x, y", [(0, 100, 100), (90, 600, 100), (180, 600, 500), (270, 60, 700)])
def test_lines_of_a_turned_page_come_in_order(turn, x, y):
    down = np.array([-np.sin(np.radians(turn)), np.cos(np.radians(turn))]) * 50
    own = tuple(
        line(text, x + down[0] * i, y + down[1] * i, turn) for i, text in enumerate(("một hai", "ba bốn"))
    )
    page = pypdfium2.PdfDocument(write(Reading(own, WIDTH, HEIGHT, turn=turn)))[0].get_textpage()
    assert page.get_text_range().splitlines() == ["một hai", "ba bốn"]


@pytest.mark.parametrize("own", LINES, ids=[own.text for own in LINES])
def test_the_boxes_of_pdfium_are_those_of_the_words(own):
    page = pypdfium2.PdfDocument(write(Reading((own,), WIDTH, HEIGHT)))[0].get_textpage()
    text = page.get_text_range()
    for word in own.words:
        start = text.index(word.text)
        boxes = np.array([page.get_charbox(start + i, loose=True) for i in range(len(word.text))]) * 2
        left, bottom, right, top = *boxes[:, :2].min(axis=0), *boxes[:, 2:].max(axis=0)
        corners = np.array(word.box)
        expected = [*corners.min(axis=0), *corners.max(axis=0)]
        assert [left, HEIGHT - top, right, HEIGHT - bottom] == pytest.approx(expected, abs=5)


def test_poppler_finds_the_words_within_five_pixels():
    if not shutil.which("pdftotext"):
        pytest.skip("pdftotext (poppler-utils) is not installed")
    ran = subprocess.run(
        ["pdftotext", "-bbox", "-", "-"], input=write(READING), capture_output=True, check=True
    )
    pattern = r'<word xMin="(.*?)" yMin="(.*?)" xMax="(.*?)" yMax="(.*?)">(.*?)</word>'
    found = re.findall(pattern, ran.stdout.decode())
    words = [word for own in LINES for word in own.words]
    assert sorted(text for *_, text in found) == sorted(word.text for word in words)
    for word in words:
        corners = np.array(word.box)
        expected = [*corners.min(axis=0), *corners.max(axis=0)]
        boxes = [np.array(box, float) * 2 for *box, text in found if text == word.text]
        assert min(np.abs(box - expected).max() for box in boxes) <= 5, word.text


def test_the_text_draws_nothing_over_the_picture():
    bare, full = (
        pypdfium2.PdfDocument(write(Reading(lines, WIDTH, HEIGHT)))[0].render(scale=1).to_numpy()
        for lines in ((), LINES)
    )
    assert np.array_equal(bare, full)
    assert 190 < bare.mean() < 210


def test_a_page_that_was_not_read_is_a_white_one():
    out = io.BytesIO()
    pdf = SearchablePdf(out)
    pdf.add_page(Reading((), 0, 0), None, 72.0)
    pdf.finish()
    assert pypdfium2.PdfDocument(out.getvalue())[0].get_size() == (595, 842)


def test_the_font_has_the_tables_of_a_font():
    fonts = pytest.importorskip("fontTools.ttLib")
    font = fonts.TTFont(io.BytesIO(make_glyphless_font()))
    assert font["head"].unitsPerEm == 1000
    assert font["hmtx"].metrics["glyph00001"] == (500, 0)
    assert font["maxp"].numGlyphs == 2
