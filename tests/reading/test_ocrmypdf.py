"""nhin as OCRmyPDF's engine: chosen only when asked for, and what it reads comes out of the PDF again."""

import io
import shutil
import subprocess
import sys
import tomllib
import types
from pathlib import Path

import numpy as np
import pypdfium2
import pytest
from made_lines import make_line
from PIL import Image

import nhin
from nhin.reading.reading import Reading

HOOKS = ("add_options", "get_ocr_engine", "rasterize_pdf_page")
WIDTH, HEIGHT, DPI = 1000, 1400, 144
LEVEL = (
    make_line("CỘNG HÒA XÃ HỘI CHỦ NGHĨA VIỆT NAM", 100, 100),
    make_line("Độc lập – Tự do – Hạnh phúc", 200, 150),
    make_line("Kính gửi: Ủy ban nhân dân phường 7", 100, 260),
    make_line("Số 12/QĐ, ngày 5 tháng 9", 100, 310),
)
TURNED = (
    make_line("chữ nghiêng xuống phải", 100, 500, 5),
    make_line("chữ nghiêng lên trên", 100, 750, -8),
    make_line("dọc xuống dưới", 900, 100, 90),
    make_line("dọc lên trên", 60, 1300, -90),
)


def test_the_hooks_are_attributes_of_nhin_wherever_ocrmypdf_runs(monkeypatch):
    """It asks for the names, then takes what stands in the module, without calling ``__getattr__``."""
    assert "get_ocr_engine" not in dir(nhin) or "ocrmypdf" in sys.modules
    fake = types.ModuleType("ocrmypdf")
    monkeypatch.setattr(fake, "hookimpl", lambda function: function, raising=False)
    monkeypatch.setitem(sys.modules, "ocrmypdf", fake)
    monkeypatch.delitem(sys.modules, "nhin.reading.ocrmypdf_plugin", raising=False)
    try:
        assert set(HOOKS) <= set(dir(nhin))
        assert set(HOOKS) <= set(vars(nhin))
    finally:
        for name in HOOKS:
            vars(nhin).pop(name, None)
        sys.modules.pop("nhin.reading.ocrmypdf_plugin", None)


@pytest.fixture
def ocrmypdf():
    return pytest.importorskip("ocrmypdf", reason="the extra ocrmypdf is not installed")


@pytest.fixture
def folder(tmp_path):
    """Return a folder with entry points as the installed nhin has them."""
    info = tmp_path / "site" / "nhin_entry-0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: nhin-entry\nVersion: 0\n")
    tree = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text("utf-8"))
    ((name, target),) = tree["project"]["entry-points"]["ocrmypdf"].items()
    (info / "entry_points.txt").write_text(f"[ocrmypdf]\n{name} = {target}\n")
    return tmp_path


def choose(folder, monkeypatch, *words: str) -> str:
    """Return the name of the engine that a command line of OCRmyPDF chooses."""
    from ocrmypdf.cli import get_options_and_plugins

    monkeypatch.syspath_prepend(str(folder / "site"))
    options, manager = get_options_and_plugins([*words, "vào.pdf", "ra.pdf"])
    return str(manager.get_ocr_engine(options=options)).split()[0]


@pytest.mark.parametrize(
    "words, engine",
    [
        ([], "Tesseract"),
        (["--ocr-engine", "nhin"], "nhin"),
        (["--plugin", "nhin"], "nhin"),
        (["--plugin", "nhin", "--ocr-engine", "tesseract"], "Tesseract"),
        (["--plugin", "nhin", "--ocr-engine", "none"], "No"),
    ],
)
def test_the_engine_is_nhin_only_where_it_is_asked_for(ocrmypdf, folder, monkeypatch, words, engine):
    assert choose(folder, monkeypatch, *words) == engine


@pytest.fixture
def run(ocrmypdf, tmp_path, monkeypatch):
    """Return a function that lays the text of lines over a page, and returns the file."""
    from nhin.reading import ocrmypdf_engine

    def run_ocrmypdf(lines, renderer: str = "auto"):
        reading = Reading(lines, WIDTH, HEIGHT)
        monkeypatch.setattr(ocrmypdf_engine, "_read_page", lambda path, number: (reading, float(DPI)))
        page, out = tmp_path / "trang.pdf", tmp_path / "ra.pdf"
        Image.new("RGB", (WIDTH, HEIGHT), "white").save(page, resolution=DPI)
        ocrmypdf.ocr(
            page,
            out,
            plugins=["nhin"],
            language=["vie"],
            output_type="pdf",
            pdf_renderer=renderer,
            progress_bar=False,
        )
        return out

    return run_ocrmypdf


def read_pdfium(path) -> list[str]:
    lines = pypdfium2.PdfDocument(path)[0].get_textpage().get_text_range().splitlines()
    return [line.strip() for line in lines]


def read_pdfminer(path) -> list[str]:
    pytest.importorskip("pdfminer")
    from pdfminer.high_level import extract_text
    from pdfminer.layout import LAParams

    # OCRmyPDF's text stands in a form, which pdfminer takes for a figure.
    text = extract_text(path, laparams=LAParams(all_texts=True))
    return [" ".join(line.split()) for line in text.splitlines() if line.strip()]


def read_poppler(path) -> list[str]:
    if not shutil.which("pdftotext"):
        pytest.skip("pdftotext (poppler-utils) is not installed")
    ran = subprocess.run(["pdftotext", "-raw", path, "-"], capture_output=True, check=True)
    return [line.strip() for line in ran.stdout.decode().replace("\f", "").splitlines() if line.strip()]


@pytest.mark.parametrize("renderer", ["auto", "sandwich"])
def test_three_programs_read_the_same_lines_again(run, renderer):
    out = run(LEVEL, renderer)
    texts = [line.text for line in LEVEL]
    for read in (read_pdfium, read_pdfminer, read_poppler):
        assert read(out) == texts, read.__name__


def test_slanted_and_upright_lines_come_out_whole(run):
    out = run(LEVEL + TURNED)
    assert read_pdfium(out) == [line.text for line in LEVEL + TURNED]


def test_words_stand_where_their_boxes_are(run):
    page = pypdfium2.PdfDocument(run(LEVEL + TURNED[:2]))[0].get_textpage()
    text, scale = page.get_text_range(), DPI / 72
    for line in LEVEL + TURNED[:2]:
        start = text.index(line.text)
        for word in line.words:
            start = text.index(word.text, start)
            boxes = [page.get_charbox(start + i, loose=True) for i in range(len(word.text))]
            left, right = boxes[0][0] * scale, boxes[-1][2] * scale
            middle = HEIGHT - np.mean([box[1] + box[3] for box in boxes]) / 2 * scale
            corners = np.array(word.box)
            assert abs(left - corners[:, 0].min()) < 5
            assert abs(right - corners[:, 0].max()) < 5
            assert abs(middle - corners[:, 1].mean()) < 8
            start += len(word.text)


def test_the_tree_has_the_confidence_of_every_word(ocrmypdf):
    from nhin.reading.ocrmypdf_engine import make_elements

    page = make_elements(Reading(LEVEL, WIDTH, HEIGHT, page=3), DPI)
    assert (page.bbox.width, page.bbox.height, page.dpi, page.page_number) == (WIDTH, HEIGHT, DPI, 2)
    assert [word.text for word in page.words[:3]] == ["CỘNG", "HÒA", "XÃ"]
    assert all(word.confidence == pytest.approx(0.9) for word in page.words)
    assert [line.get_text_recursive() for line in page.lines] == [line.text for line in LEVEL]
    assert make_elements(Reading((), 10, 10), DPI).words == []


def test_the_street_sign_is_read_turned_or_askew(ocrmypdf, tmp_path):
    from nhin.reading.ocrmypdf_engine import NhinOcrEngine

    sign = Image.open(Path(nhin.__file__).parent / "examples" / "street_sign.png").convert("RGB")
    for turn in (0, 90, 180, 270):
        path = tmp_path / "biển.png"
        sign.rotate(-turn, expand=True).save(path, dpi=(DPI, DPI))
        found = NhinOcrEngine.get_orientation(path, None)
        assert found.angle == -turn % 360
        assert found.confidence > 14
    border = Image.new("RGB", (sign.width + 80, sign.height + 80), sign.getpixel((2, 2)))
    border.paste(sign, (40, 40))
    border.rotate(-4, fillcolor=sign.getpixel((2, 2))).save(path, dpi=(DPI, DPI))
    assert NhinOcrEngine.get_deskew(path, None) == pytest.approx(4, abs=1)


def test_a_page_that_cannot_be_read_ends_the_run_with_our_sentence(ocrmypdf, tmp_path):
    from ocrmypdf.exceptions import InputFileError

    from nhin.reading.ocrmypdf_engine import NhinOcrEngine

    torn = io.BytesIO()
    Image.new("L", (50, 50)).save(torn, "PNG")
    path = tmp_path / "rách.png"
    path.write_bytes(torn.getvalue()[:60])
    with pytest.raises(InputFileError, match="page 5"):
        NhinOcrEngine.generate_ocr(path, None, 4)
