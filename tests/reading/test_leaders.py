"""Laws of rows of dots and dashes, which are no text."""

import numpy as np
import pytest
from bars import LETTERS, Bars
from PIL import Image, ImageDraw

from nhin.image.fonts import font_dirs, list_font_files, load_font
from nhin.reading.leaders import is_leader
from nhin.reading.recognizer import Recognizer

FONT = next(str(path) for path in list_font_files(font_dirs()) if path.name == "DejaVuSans.ttf")

TEXTS = (
    "Họ và tên: ..............................",
    "................. 3",
    *(12 * letter for letter in "o01IlDi=:"),
    "ăn no ngủ kỹ",
    "888-888-888",
)


def draw(text: str, size: int = 32):
    font = load_font(FONT, size)
    left, top, right, bottom = map(int, font.getbbox(text))
    picture = Image.new("RGB", (right - left + 6, bottom - top + 6), "white")
    ImageDraw.Draw(picture).text((3 - left, 3 - top), text, "black", font=font)
    return np.asarray(picture)


@pytest.mark.parametrize("text", ["." * 40, ". " * 20, "- " * 14, "•" * 12])
@pytest.mark.parametrize("size", [18, 60])
def test_a_line_of_nothing_but_dots_or_dashes_has_no_text(text, size):
    crop = draw(text, size)
    for shown in (crop, 255 - crop):
        assert is_leader(shown)
        assert Recognizer(Bars(), LETTERS).read([shown])[0].text == ""


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("size", [12, 40])
def test_letters_digits_and_labels_are_no_leader(text, size):
    assert not is_leader(draw(text, size))


@pytest.mark.parametrize("shape", [(1, 400), (3, 4000, 3), (40, 900, 3)])
def test_a_flat_crop_is_no_leader(shape):
    assert not is_leader(np.full(shape, 128, np.uint8))
