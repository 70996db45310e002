"""Lines come in the order a person reads them, however the page is laid out or held."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nhin.reading.reading_order import reading_order


def box(left: float, top: float, right: float, bottom: float) -> np.ndarray:
    return np.array([[left, top], [right, top], [right, bottom], [left, bottom]], np.float32)


def tilted(quads: list[np.ndarray], degrees: float) -> list[np.ndarray]:
    angle = np.radians(degrees)
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    return [quad @ turn for quad in quads]


def paragraph(left: float, top: float, lines: int, width: float = 300) -> list[np.ndarray]:
    return [box(left, top + 30 * i, left + width, top + 30 * i + 20) for i in range(lines)]


PAGES = {
    "sign": [box(100, 10, 300, 30), box(20, 40, 380, 90), box(90, 100, 310, 125), box(80, 130, 320, 150)],
    "one row": [box(10, 12, 90, 30), box(100, 10, 200, 32), box(215, 14, 300, 31)],
    "two columns": [*paragraph(0, 0, 5), *paragraph(350, 0, 5)],
    "two uneven columns": [*paragraph(0, 0, 6), *paragraph(350, 11, 4)],
    "title over columns": [box(100, -60, 550, -20), *paragraph(0, 0, 4), *paragraph(350, 0, 4)],
    "columns over footer": [*paragraph(0, 0, 4), *paragraph(350, 0, 4), box(0, 160, 650, 180)],
    "menu": [
        piece
        for i in range(5)
        for piece in (box(0, 30 * i, 160, 30 * i + 20), box(300, 30 * i + 1, 360, 30 * i + 21))
    ],
    "table": [
        piece
        for i in range(4)
        for piece in (
            box(0, 40 * i, 60, 40 * i + 20),
            box(90, 40 * i, 170, 40 * i + 20),
            box(200, 40 * i, 260, 40 * i + 20),
        )
    ],
    "marks overlap the row above": [box(0, 0, 200, 40), box(0, 34, 200, 74), box(0, 68, 200, 108)],
    "big number beside two lines": [box(0, 0, 60, 60), box(80, 0, 300, 26), box(80, 34, 300, 60)],
}


@pytest.mark.parametrize("degrees", [-12, -4, 0, 3, 9])
@pytest.mark.parametrize("name", PAGES)
def test_pages_are_read_as_people_read_them(name, degrees):
    """The pages above are written in reading order; shuffled and tilted they come back so."""
    quads = tilted(PAGES[name], degrees)
    shuffle = np.random.default_rng(3).permutation(len(quads))
    order = reading_order([quads[i] for i in shuffle])
    assert [int(shuffle[i]) for i in order] == list(range(len(quads)))


@given(st.lists(st.tuples(*[st.floats(0, 500)] * 2, *[st.floats(1, 200)] * 2), max_size=9))
def test_every_line_comes_once(boxes):
    quads = [box(x, y, x + wide, y + high) for x, y, wide, high in boxes]
    assert sorted(reading_order(quads)) == list(range(len(quads)))


@given(st.permutations(range(10)))
def test_the_order_of_detection_does_not_matter(order):
    quads = PAGES["two columns"]
    assert [order[i] for i in reading_order([quads[i] for i in order])] == list(range(10))


@given(st.floats(0.2, 30), st.floats(-500, 500))
def test_scale_and_position_do_not_matter(scale, move):
    for quads in PAGES.values():
        assert reading_order([quad * scale + move for quad in quads]) == list(range(len(quads)))
