"""Letters below each other are one line where they are words; lists and tables stay as they are."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import nhin
from nhin.reading.layout import arrange_lines
from nhin.reading.line_crop import LineCrop, locate_line
from nhin.reading.onnx_model import load_prior
from nhin.reading.result import Recognition, Span
from nhin.reading.stacked_letters import join_stacked, split_letters

SIGN = Path(__file__).parents[1] / "serve" / "pictures" / "geo_stacked.png"


def place(text, x, y, size=40, confidence=0.9):
    """Return a line of a text whose upper left corner is at x, y."""
    wide = size * len(text)
    corners = np.array([[x, y], [x + wide, y]], float), np.array([[x, y + size], [x + wide, y + size]], float)
    crop = LineCrop(np.zeros((size, wide, 3), np.uint8), np.array([0.0, wide]), *corners)
    chars = tuple(Span(char, confidence, i * size, (i + 1) * size) for i, char in enumerate(text))
    return crop, Recognition(text, confidence, chars)


def stack(letters, x=100, pitch=70):
    return [place(letter, x, 20 + i * pitch) for i, letter in enumerate(letters)]


def test_an_upright_sign_is_one_line_whose_words_have_their_boxes():
    joined, rest = join_stacked(stack("NHÀTHUỐC"))
    assert not rest
    (line,) = joined
    assert line.text == "NHÀ THUỐC"
    assert [(word.text, word.box[0], word.box[2]) for word in line.words] == [
        ("NHÀ", (100, 20), (140, 200)),
        ("THUỐC", (100, 230), (140, 550)),
    ]
    assert line.confidence == pytest.approx(0.9**8)


def test_two_signs_beside_each_other_and_a_line_are_kept_apart():
    pairs = stack("CẤMĐỖXE", 100) + stack("KARAOKE", 300) + [place("Mở cửa", 500, 20)]
    joined, rest = join_stacked(pairs[::-1])
    assert sorted(line.text for line in joined) == ["CẤM ĐỖ XE", "KARAOKE"]
    assert [result.text for _, result in rest] == ["Mở cửa"]


@pytest.mark.parametrize(
    "pairs",
    [
        stack("ABCD"),
        stack("ABC"),
        stack("12345"),
        stack("XE"),
        stack("NHÀ", pitch=200),
        [place("N", 100, 20), place("H", 160, 90), place("À", 220, 160)],
        [place("N", 100, 20), place("H", 100, 90, 90), place("À", 100, 230)],
        [place("N", 100, 20), place("H", 100, 90), place("À", 100, 190)],
        stack(["NH", "À", "TH"]),
    ],
)
def test_what_may_be_a_list_or_a_table_stays(pairs):
    assert join_stacked(pairs) == ([], pairs)


def test_letters_are_split_into_the_likeliest_words_or_not_at_all():
    prior = load_prior()
    assert split_letters("PHỞBÒ", prior) == ["PHỞ", "BÒ"]
    assert split_letters("NHÀNGHỈ", prior) == ["NHÀ", "NGHỈ"]
    assert split_letters("NHÀTHUỐCX", prior) == []
    assert split_letters("", prior) == []


def test_the_sign_of_a_pharmacy_is_read():
    assert nhin.read(SIGN).text == "NHÀ THUỐC"


def test_a_sign_is_a_part_of_the_page_of_its_own_whatever_stands_beside_it():
    (sign,), _ = join_stacked(stack("KARAOKE", 30))
    texts = ["Mở cửa từ 7 giờ", "Phòng lạnh, âm thanh hay", "Giá rẻ nhất phố"]
    lines = [locate_line(*place(text, 200, 40 + 120 * i, 20)) for i, text in enumerate(texts)]
    layout = arrange_lines([*lines, sign])
    assert layout.turn == 0
    assert [line.text for line in layout.lines] == ["KARAOKE", *texts]
    assert layout.blocks[0].lines == (sign,)


@pytest.mark.parametrize("turn", [0, 90, 180, 270])
def test_the_letters_of_a_common_line_stand_beside_each_other_whatever_its_turn(turn):
    angle = np.deg2rad(turn)
    matrix = np.round([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    line = locate_line(*place("Mở cửa", 10, 20))

    def rotate(part):
        return replace(part, box=tuple(map(tuple, (np.array(part.box) @ matrix.T).tolist())))

    assert not replace(rotate(line), chars=tuple(map(rotate, line.chars))).is_stacked
    thin = replace(line.chars[0], box=(line.box[0], line.box[0], line.box[3], line.box[3]))
    assert not replace(line, chars=(thin, *line.chars[1:])).is_stacked
