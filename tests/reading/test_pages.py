"""Whole pictures with fake networks: everything between the detector and the recognizer."""

import io
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import FrozenInstanceError, replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import nhin
from nhin.errors import NhinError, PictureError, UnknownName
from nhin.image import decode
from nhin.reading.line_shape import Detection, LineShape
from nhin.reading.reader import Reader
from nhin.reading.result import Recognition, Span

SIGN = Path(nhin.__file__).parent / "examples" / "street_sign.png"


def run_python(code: str) -> str:
    """Run code in a fresh Python and return what it printed."""
    home = {**os.environ, "PYTHONPATH": str(Path(nhin.__file__).parents[1])}
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=home)
    return ran.stdout.strip()


class FixedRecognizer:
    """Recognizes the same text in every crop, and records the crops."""

    def __init__(self, text: str = "chữ") -> None:
        self.text = text
        self.crops: list[np.ndarray] = []

    def read(self, crops: Sequence[np.ndarray]) -> list[Recognition]:
        self.crops += crops
        spans = tuple(Span(c, 0.97, 2.0 * i, 2.0 * i + 2) for i, c in enumerate(self.text))
        return [Recognition(self.text, 0.9, spans) for _ in crops]


class FixedDetector:
    """Detects given boxes."""

    def __init__(self, *quads: tuple[float, float, float, float]) -> None:
        self.quads = quads

    def find(self, picture: np.ndarray) -> Detection:
        boxes = ((a, c, (b + d) / 2, 0.6 * (d - b)) for a, b, c, d in self.quads)
        return Detection(
            tuple(LineShape(np.array([[a, y], [c, y]], np.float32), height) for a, c, y, height in boxes)
        )


class FailingDetector:
    """Must not be called."""

    def find(self, picture: np.ndarray) -> Detection:
        raise AssertionError("ran the detector on a crop")


def make_reader(
    *quads: tuple[float, float, float, float], text: str = "chữ"
) -> tuple[Reader, FixedRecognizer]:
    recognizer = FixedRecognizer(text)
    return Reader(recognizer=recognizer, detector=FixedDetector(*quads)), recognizer


def noise(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def test_lines_come_in_reading_order_with_their_boxes():
    reader, _ = make_reader((50, 200, 350, 240), (50, 40, 350, 80), (50, 120, 350, 160))
    reading = reader.read(noise(300, 400))
    tops = [line.box[0][1] for line in reading.lines]
    assert len(tops) == 3
    assert tops == sorted(tops)
    assert reading.text == "chữ\nchữ\nchữ"
    assert (reading.width, reading.height) == (400, 300)
    assert reading.confidence == pytest.approx(0.9)


def test_lines_without_text_are_dropped():
    for text in ("", "  ", "•", ". ."):
        reader, recognizer = make_reader((50, 40, 350, 80), (50, 120, 350, 160), text=text)
        assert reader.read(noise(300, 400)).lines == ()
        assert {len(crop) for crop in recognizer.crops} == {40}


def test_a_crop_is_read_whole_and_no_line_is_detected():
    recognizer = FixedRecognizer()
    reader = Reader(recognizer=recognizer, detector=FailingDetector())
    picture = noise(200, 300)
    reading = reader.read(picture, crop=True)
    np.testing.assert_array_equal(recognizer.crops[0], picture)
    assert reading.lines[0].box == ((0, 0), (300, 0), (300, 200), (0, 200))
    assert reading.lines[0].chars[1].box[0] == (2, 0)


@pytest.mark.parametrize("quads", [(), ((3, 3, 40, 25),)])
def test_a_word_alone_is_read_whole(quads):
    reader, recognizer = make_reader(*quads)
    assert reader.read(noise(30, 48)).text == "chữ"
    assert recognizer.crops[0].shape == (30, 48, 3)


def test_a_small_picture_of_two_lines_is_no_word():
    reader, _ = make_reader((5, 5, 90, 25), (5, 35, 90, 55))
    assert len(reader.read(noise(60, 95)).lines) == 2


def test_a_large_picture_without_lines_is_empty():
    reader, recognizer = make_reader()
    assert reader.read(noise(300, 400)).lines == ()
    assert not recognizer.crops


@pytest.mark.parametrize("size", [(1, 1), (3, 4000), (4000, 3), (4, 4), (600, 800)])
@pytest.mark.parametrize("crop", [False, True])
def test_blank_pictures_are_empty_and_no_network_runs(size, crop):
    reader, recognizer = make_reader((0, 0, *size))
    for tone in (0, 128, 255):
        reading = reader.read(np.full((*size, 3), tone, np.uint8), crop)
        assert reading.lines == ()
        assert reading.text == ""
        assert reading.confidence == 0
    assert not recognizer.crops


@pytest.mark.parametrize("size", [(1, 1), (3, 4000), (4000, 3), (6, 6), (30, 4000), (300, 400)])
@pytest.mark.parametrize("crop", [False, True])
def test_noise_of_any_size_never_fails(size, crop):
    reader = Reader(recognizer=FixedRecognizer())
    for line in reader.read(noise(*size), crop).lines:
        assert np.isfinite(np.array(line.box)).all()


def test_every_source_gives_the_same_reading():
    reader, _ = make_reader((50, 40, 350, 80))
    picture = noise(300, 400)
    data = io.BytesIO()
    Image.fromarray(picture).save(data, "PNG")
    expected = reader.read(picture)
    assert reader.read(data.getvalue()) == reader.read(io.BytesIO(data.getvalue())) == expected


def test_boxes_of_a_large_photograph_are_in_its_own_pixels(monkeypatch):
    monkeypatch.setattr(decode, "WORK_PIXELS", 300 * 400)
    reader, _ = make_reader((50, 40, 350, 80))
    reading = reader.read(noise(600, 800))
    assert (reading.width, reading.height) == (800, 600)
    (line,) = reading.lines
    assert line.box[1][0] > 690
    assert line.chars[0].box[1][0] - line.chars[0].box[0][0] == pytest.approx(4, abs=0.1)


def test_a_turned_photograph_reads_like_the_upright_one():
    reader, _ = make_reader((50, 40, 350, 80))
    exif = Image.Exif()
    exif[0x0112] = 6
    data = io.BytesIO()
    Image.fromarray(np.rot90(noise(300, 400))).save(data, "PNG", exif=exif)
    assert reader.read(data.getvalue()) == reader.read(noise(300, 400))


def test_pages_are_read_one_by_one():
    reader, recognizer = make_reader((5, 5, 90, 25))
    data = io.BytesIO()
    sheets = [Image.fromarray(noise(60 + 10 * i, 95)) for i in range(3)]
    sheets[0].save(data, "TIFF", save_all=True, append_images=sheets[1:])
    pages = reader.read_pages(data.getvalue(), name="a.tif")
    assert (next(pages).page, len(recognizer.crops)) == (1, 1)
    assert [(page.page, page.height, page.text, page.warnings) for page in pages] == [
        (2, 70, "chữ", ()),
        (3, 80, "chữ", ()),
    ]
    (warning,) = reader.read(data.getvalue(), name="a.tif").warnings
    assert warning.code == "others-ignored"
    assert warning.message.startswith("a.tif has 3 pages")
    assert [reading.page for reading in reader.read_pages(noise(300, 400))] == [1]


class RatedRecognizer(FixedRecognizer):
    """Reads crops with given confidences of their characters."""

    def __init__(self, *confidences: float) -> None:
        super().__init__()
        self.confidences = confidences

    def read(self, crops: Sequence[np.ndarray]) -> list[Recognition]:
        if len(crops) != len(self.confidences):  # some of them, tried from the other end
            return [Recognition("", 0.0) for _ in crops]
        pairs = zip(super().read(crops), self.confidences, strict=True)
        return [
            replace(one, chars=tuple(replace(char, confidence=p) for char in one.chars)) for one, p in pairs
        ]


def test_lines_of_low_confidence_are_left_out_and_counted():
    detector = FixedDetector((50, 40, 350, 80), (50, 120, 350, 160), (50, 200, 350, 240))
    for least, kept, said in ((0.55, 1, "2 lines left out"), (0.3, 2, "1 line left out"), (0, 3, None)):
        reader = Reader(recognizer=RatedRecognizer(0.2, 0.9, 0.5), detector=detector, min_confidence=least)
        reading = reader.read(noise(300, 400), name="a.png")
        assert len(reading.lines) == kept
        assert [warning.code for warning in reading.warnings] == ["low-confidence"] * (said is not None)
        assert all(f"a.png has {said} for a confidence below" in w.message for w in reading.warnings)
    for wrong in (-0.1, 1.5, float("nan")):
        with pytest.raises(NhinError, match="min-confidence"):
            Reader(min_confidence=wrong)


def test_what_is_too_small_to_read_is_said():
    reader, recognizer = make_reader((50, 40, 350, 80), (50, 120, 350, 122))
    (warning,) = reader.read(noise(300, 400), name="a.png").warnings
    assert warning.code == "too-small"
    assert "a.png has 1 line under 6 pixels high" in warning.message
    assert len(recognizer.crops) == 1
    (warning,) = reader.read(noise(3, 9000), name="dải.png").warnings
    assert (warning.code, len(recognizer.crops)) == ("too-small", 1)
    assert warning.message == "dải.png is 9000 x 3 pixels, too small to read"


def test_letters_that_gave_no_line_are_said():
    """Two rows of letters, one of which was detected; then one that was detected and gave no text."""
    page = np.full((300, 400, 3), 255, np.uint8)
    for top in (60, 200):
        for i, wide in enumerate((9, 14, 8, 12, 10, 15, 9, 13)):
            left = 60 + 30 * i
            page[top : top + 22, left : left + 3] = 0
            page[top : top + 3, left : left + wide] = 0
    for text, boxes, count in (
        ("chữ", [(50, 50, 350, 90)], "1 line"),
        ("", [(50, 50, 350, 90)], "2 lines"),
        ("chữ", [(50, 50, 350, 90), (50, 190, 350, 230)], None),
    ):
        reader, _ = make_reader(*boxes, text=text)
        warnings = reader.read(page, name="a.png").warnings
        assert [warning.code for warning in warnings] == ["ink-unread"] * (count is not None)
        assert all(f"ink that looks like {count} of text" in warning.message for warning in warnings)


def test_errors_name_the_picture():
    reader, _ = make_reader()
    with pytest.raises(PictureError, match=r"không có\.png"):
        reader.read("không có.png")
    with pytest.raises(PictureError, match="standard input"):
        reader.read(b"", name="standard input")


def test_unknown_weights_are_refused_when_they_are_first_needed():
    reader = Reader("no-such-weights")
    with pytest.raises(UnknownName, match="no-such-weights"):
        reader.load(crop=True)


def test_readings_cannot_be_changed():
    reader, _ = make_reader((50, 40, 350, 80))
    reading = reader.read(noise(300, 400))
    with pytest.raises(FrozenInstanceError):
        reading.width = 3  # pyright: ignore[reportAttributeAccessIssue]


@pytest.mark.parametrize("module", ["nhin", "nhin.cli.app"])
def test_importing_loads_nothing_heavy(module):
    names = ("torch", "cv2", "onnxruntime", "numpy", "rapidocr", "PIL")
    code = f"import sys, {module}; print(*[m for m in {names} if m in sys.modules])"
    assert run_python(code) == ""


def test_reading_imports_no_torch():
    """Everything on the reading path, whole pictures included."""
    code = (
        "import sys, numpy as np\n"
        "from nhin.reading.reader import Reader\n"
        "class R:\n"
        "    def read(self, crops): return []\n"
        f"try: Reader(recognizer=R()).read({str(SIGN)!r})\n"
        "except ValueError: pass\n"
        "import nhin.reading.onnx_model, nhin.cli.read, nhin.cli.synth, nhin.data.images.synthetic\n"
        "print(*[m for m in ('torch', 'rapidocr', 'torchvision') if m in sys.modules])"
    )
    assert run_python(code) == ""


def test_of_more_text_than_is_read_at_once_the_rest_is_counted():
    """A strip, many lines, and lines that overlap: what takes many seconds or gigabytes is not read."""
    page = np.zeros((900, 1200, 3), np.uint8)
    page[::2] = 255
    strip = np.ascontiguousarray(np.broadcast_to(page[:20, :1], (20, 140_000, 3)))
    dense = FixedDetector(*((0, y, 1200, y + 6) for y in range(0, 890, 6)))
    nested = FixedDetector(*((i, i, 1200 - i, 900 - i) for i in range(200)))
    for picture, detector, crop, rest in (
        (strip, FailingDetector(), True, "1 of 1 line"),
        (strip.swapaxes(0, 1), FixedDetector(), False, "1 of 1 line"),
        (page, dense, False, "117 of 149 lines"),
        (page, nested, False, "of 200 lines"),
    ):
        recognizer = FixedRecognizer()
        reading = Reader(recognizer=recognizer, detector=detector).read(picture, crop, name="dải.png")
        (warning,) = [warning for warning in reading.warnings if warning.code == "too-much-text"]
        assert warning.message.startswith("dải.png has too much text for one picture")
        assert f"{rest} not read" in warning.message
        assert len(recognizer.crops) == (0 if rest.startswith("1 ") else len(reading.lines)) < 149
        assert sum(crop.size for crop in recognizer.crops) <= 3 * 100e6
