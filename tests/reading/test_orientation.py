"""A page has one orientation, whatever the detector thinks of a line or two."""

from collections.abc import Sequence

import numpy as np
import pytest

from nhin.reading.line_shape import LineShape
from nhin.reading.orientation import align_directions, settle_orientation
from nhin.reading.result import Recognition, Span


def make_page(turn: int, count: int = 6) -> list[LineShape]:
    """Lines 200 long and 10 high, 30 apart, of a page that is turned clockwise by ``turn`` degrees."""
    angle = np.radians(turn)
    rotation = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    lines = [np.array([[-100.0, 30 * i - 80], [100.0, 30 * i - 80]]) @ rotation for i in range(count)]
    return [LineShape((center + 300).astype(np.float32), 10) for center in lines]


class OneWayReader:
    """Reads well what runs in one direction; counts what it reads."""

    def __init__(self, turn: int, good: float = 0.95, bad: float = 0.3) -> None:
        self.turn, self.good, self.bad, self.count = turn, good, bad, 0

    def __call__(self, lines: Sequence[LineShape]) -> list[Recognition]:
        self.count += len(lines)
        sure = [self.good if line.turn == self.turn else self.bad for line in lines]
        return [Recognition("abcd", s**4, tuple(Span("a", s, 0, 1) for _ in range(4))) for s in sure]


@pytest.mark.parametrize("turn", [0, 90, 180, 270])
def test_lines_that_read_badly_are_read_from_the_other_end(turn):
    for page in (make_page(turn), [line.reverse() for line in make_page(turn)]):
        lines = settle_orientation(align_directions(page), OneWayReader(turn))
        assert {line.turn for line in lines} == {turn}
        assert len(lines) == 6


@pytest.mark.parametrize("turn", [0, 90, 180, 270])
def test_one_line_in_another_direction_takes_that_of_the_page(turn):
    page = make_page(turn)
    page[2] = page[2].reverse()
    assert {line.turn for line in align_directions(page)} == {turn}


def test_a_page_that_reads_well_costs_no_second_reading():
    reader = OneWayReader(0)
    settle_orientation(make_page(0, 20), reader)
    assert reader.count == 4


def test_a_page_that_reads_badly_both_ways_stays_as_it_is():
    lines = make_page(0)
    assert settle_orientation(lines, OneWayReader(90)) == lines


def test_a_side_line_keeps_its_own_direction():
    side = LineShape(np.array([[20, 400], [20, 200]], np.float32), 10)
    lines = align_directions([*make_page(0), side])
    assert [line.turn for line in lines] == [0] * 6 + [270]


def test_a_single_letter_stands_as_the_page_does():
    letter = LineShape(np.array([[50, 40], [50, 48]], np.float32), 10)
    lines = align_directions([*make_page(0), letter])
    assert lines[-1].turn == 0
    np.testing.assert_allclose(lines[-1].center.mean(0), (50, 44))


def test_letters_alone_stand_upright():
    letters = [LineShape(np.array([[54, 40 * i], [50, 40 * i]], np.float32), 10) for i in range(5)]
    assert {line.turn for line in align_directions(letters)} == {0}


def test_no_lines_need_no_reading():
    assert settle_orientation(align_directions([]), OneWayReader(0)) == []
