"""Lines come in the order a person reads them, with the structure of the page, however it is held."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pages_of_lines import GOODS, MAINS, PAGES, PERSON, PROSE, STARTERS, column, make_line, table, texts

from nhin.reading.layout import PageLayout, arrange_lines
from nhin.reading.result import Line


def turn_line(line: Line, degrees: float, scale: float = 1.0, shift: float = 0.0) -> Line:
    angle = np.radians(degrees)
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    box = tuple(map(tuple, (np.array(line.box) @ turn * scale + shift).tolist()))
    return Line(line.text, line.confidence, box)  # pyright: ignore[reportArgumentType]


def arrange_turned(name: str, degrees: float, seed: int = 3) -> PageLayout:
    lines = [turn_line(line, degrees) for line in PAGES[name]]
    shuffle = np.random.default_rng(seed).permutation(len(lines))
    return arrange_lines([lines[i] for i in shuffle])


@pytest.mark.parametrize("name", PAGES)
def test_pages_are_read_as_people_read_them(name):
    """The pages above are written in reading order; shuffled they come back so."""
    assert texts(arrange_turned(name, 0).lines) == texts(PAGES[name])


@pytest.mark.parametrize("turn", [0, 90, 180, 270])
@pytest.mark.parametrize("skew", [-10, 4, 10])
def test_a_turned_and_skewed_page_is_read_like_the_upright_one(turn, skew):
    for name in PAGES:
        layout, upright = arrange_turned(name, turn + skew), arrange_turned(name, 0)
        assert layout.turn == turn, name
        assert [(block.kind, block.texts) for block in layout.blocks] == [
            (block.kind, block.texts) for block in upright.blocks
        ], name


@given(st.lists(st.tuples(*[st.floats(0, 500)] * 2, *[st.floats(0, 200)] * 2, st.floats(0, 360)), max_size=9))
def test_every_line_comes_once(boxes):
    lines = [
        turn_line(make_line(f"dòng {i}", x, y, high, wide), turn)
        for i, (x, y, high, wide, turn) in enumerate(boxes)
    ]
    layout = arrange_lines(lines)
    assert sorted(texts(layout.lines)) == sorted(texts(lines))


@given(st.sampled_from(sorted(PAGES)), st.integers(0, 2**32 - 1), st.sampled_from([0.2, 3.0, 30.0]))
def test_scale_place_and_order_of_detection_do_not_matter(name, seed, scale):
    lines = [turn_line(line, 0, scale, 50 * scale) for line in PAGES[name]]
    shuffle = np.random.default_rng(seed).permutation(len(lines))
    assert texts(arrange_lines([lines[i] for i in shuffle]).lines) == texts(PAGES[name])


def test_a_line_turned_otherwise_comes_last_and_does_not_turn_the_page():
    side = [turn_line(make_line("Mẫu số 01", 40, -200), 270), make_line("lề", -40, 10)]
    layout = arrange_lines([side[0], *PAGES["form"]])
    assert layout.turn == 0
    assert texts(layout.lines) == [*texts(PAGES["form"]), "Mẫu số 01"]


def test_a_lone_letter_stands_as_the_page_does():
    """The direction of a box about as wide as high is a guess of the recognizer's."""
    lines = PAGES["table"]
    place = next(i for i, line in enumerate(lines) if line.text == "5")
    box = lines[place].box
    guessed = Line("5", 0.9, (box[1], box[2], box[3], box[0]))
    layout = arrange_lines([*lines[:place], guessed, *lines[place + 1 :]])
    assert texts(layout.lines) == texts(lines)


@pytest.mark.parametrize("name", ["table", "table set tight"])
def test_a_table_has_its_rows_and_cells(name):
    (block,) = arrange_turned(name, 0).blocks
    assert block.kind == "table"
    assert [list(row) for row in block.texts] == GOODS
    assert block.text.splitlines()[1] == "1\tGạo ST25\tkg\t5\t38.000\t190.000"


def test_a_row_with_fewer_cells_keeps_their_columns():
    (block,) = arrange_turned("table with a total", 0).blocks
    assert block.texts[-1] == ("", "Tổng cộng", "", "", "", "338.000")
    assert block.text.splitlines()[-1] == "\tTổng cộng\t\t\t\t338.000"


@pytest.mark.parametrize("shift", [0, 13])
def test_a_cell_of_two_lines_stays_one_cell(shift):
    """Whether its neighbors stand level with its first line or with its middle."""
    rows = [["1", "", "Lít", "20.000"], ["2", "", "Chai", "45.500"], ["3", "", "Túi", "9.000"]]
    lines = table(rows, [0, 80, 340, 440], shift, 70)
    for i, (first, second) in enumerate(
        [("Mật ong rừng", "U Minh"), ("Nước mắm", "loại đặc biệt"), ("Gạo", "")]
    ):
        top = 70 * i + (0 if second else shift)
        lines += [make_line(first, 80, top), *([make_line(second, 80, top + 26)] if second else [])]
    (block,) = arrange_lines(lines).blocks
    assert block.texts == (
        ("1", "Mật ong rừng U Minh", "Lít", "20.000"),
        ("2", "Nước mắm loại đặc biệt", "Chai", "45.500"),
        ("3", "Gạo", "Túi", "9.000"),
    )


def test_prose_is_no_table_and_a_menu_is_one():
    for name in (
        "two columns, 18 px apart",
        "three columns",
        "newspaper",
        "official letter",
        "three signatures",
    ):
        assert {block.kind for block in arrange_turned(name, 0).blocks} <= {"paragraph", "heading"}, name
    assert [block.kind for block in arrange_turned("menu", 0).blocks] == ["table"]
    off_grid = arrange_turned("menu of two columns off the grid", 0)
    assert [block.texts for block in off_grid.blocks] == [
        tuple(map(tuple, STARTERS)),
        tuple(map(tuple, MAINS)),
    ]


def test_label_and_value_stay_on_one_row():
    last = arrange_turned("ID card", 0).blocks[-1]
    assert last.text == "Giới tính / Sex: Nữ\tQuốc tịch / Nationality: Việt Nam"
    (form,) = arrange_turned("form", 0).blocks
    assert [list(row) for row in form.texts] == PERSON


def test_lines_make_paragraphs_headings_and_captions():
    lines = [
        make_line("Mưa lớn ở miền Trung", 0, 0, 40),
        *column(PROSE[:6], 30, 60, 26),
        *column(PROSE[6:12], 30, 216, 26),
        make_line("Hình 1. Đường Trần Phú ngập sâu", 30, 400),
        make_line("Nguồn gốc cơn mưa", 0, 440, 28),
        *column(["1. Gió mùa đông bắc;", "2. Áp thấp nhiệt đới."], 30, 480),
    ]
    lines[1] = make_line(PROSE[0], 60, 60)
    layout = arrange_lines(lines)
    kinds = [(block.kind, block.level, len(block.lines)) for block in layout.blocks]
    paragraph = "paragraph", 0
    assert kinds == [
        ("heading", 1, 1),
        (*paragraph, 6),
        (*paragraph, 6),
        ("caption", 0, 1),
        ("heading", 2, 1),
        (*paragraph, 1),
        (*paragraph, 1),
    ]


def test_an_empty_page_has_no_blocks():
    assert arrange_lines([]) == PageLayout(0, ())
