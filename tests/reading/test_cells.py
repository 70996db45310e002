"""Lines of one ruled cell, box or card are told to be so; no cells are frames, and boxes around one line."""

import numpy as np
import pytest

from nhin.reading.cells import PageCell, find_surroundings
from nhin.reading.page_edges import PageEdges
from nhin.reading.result import Box

HEIGHT = 14.0


def make_edges(vertical, horizontal) -> PageEdges:
    """Edges of a page that is not turned: (x, top, bottom) and (y, left, right)."""
    upright = np.eye(3)[:2]
    segments = [
        np.array([[at, begin, at, end] for at, begin, end in part], float).reshape(-1, 4)
        for part in (vertical, horizontal)
    ]
    return PageEdges(upright, *segments)


def make_box(left: float, top: float, width: float = 60) -> Box:
    right, bottom = left + width, top + HEIGHT
    return (left, top), (right, top), (right, bottom), (left, bottom)


def make_grid(rows, columns) -> PageEdges:
    return make_edges([(x, rows[0], rows[-1]) for x in columns], [(y, columns[0], columns[-1]) for y in rows])


GRID = make_grid((0, 60, 100), (0, 100, 200, 300))


def find_cells(edges: PageEdges, boxes: list[Box]) -> list[PageCell | None]:
    return [around.cell for around in find_surroundings(edges, boxes)]


def test_cells_of_a_table_are_numbered_by_rows_and_columns_and_hold_all_their_lines():
    boxes = [make_box(10, 10), make_box(10, 30), make_box(110, 10), make_box(210, 70), make_box(10, 70)]
    cells = find_cells(GRID, boxes)
    places = [(cell.row, cell.column) for cell in cells if cell]
    assert places == [(0, 0), (0, 0), (0, 1), (1, 2), (1, 0)]
    assert len({cell.group for cell in cells if cell}) == 1


def test_a_cell_of_two_columns_begins_in_the_first():
    edges = make_edges([(0, 0, 100), (100, 50, 100), (200, 0, 100)], [(y, 0, 200) for y in (0, 50, 100)])
    cells = find_cells(edges, [make_box(20, 15, 140), make_box(10, 70), make_box(110, 70)])
    assert [(cell.row, cell.column) for cell in cells if cell] == [(0, 0), (1, 0), (1, 1)]


def test_rows_and_columns_are_told_though_the_page_is_seen_from_the_side():
    slanted = np.array([[y, 0, y + 24, 300] for y in (0.0, 60.0, 110.0)])
    upright = make_edges([(x, 0, 140) for x in (0, 100, 200, 300)], []).vertical
    edges = PageEdges(np.eye(3)[:2], upright, slanted)
    boxes = [make_box(10, 20), make_box(110, 28), make_box(210, 36), make_box(210, 100), make_box(10, 75)]
    cells = find_cells(edges, boxes)
    assert [(cell.row, cell.column) for cell in cells if cell] == [(0, 0), (0, 1), (0, 2), (1, 2), (1, 0)]


def test_cards_are_apart_though_their_corners_are_round():
    edges = make_edges(
        [(x, 8, 72) for x in (0, 100, 110, 210)], [(y, x + 8, x + 92) for y in (0, 80) for x in (0, 110)]
    )
    cells = find_cells(edges, [make_box(10, 10), make_box(10, 40), make_box(120, 10), make_box(120, 40)])
    assert cells[0] == cells[1] != cells[2] == cells[3]
    assert cells[0] and cells[2] and cells[0].group != cells[2].group


def test_a_frame_around_a_table_is_no_cell_and_a_field_in_a_card_belongs_to_it():
    framed = make_edges(
        [*((x, 100, 200) for x in (50, 150, 250)), (0, 0, 300), (300, 0, 300)],
        [*((y, 50, 250) for y in (100, 150, 200)), (0, 0, 300), (300, 0, 300)],
    )
    boxes = [make_box(60, 115), make_box(160, 115), make_box(60, 165), make_box(20, 30), make_box(20, 250)]
    cells = find_cells(framed, boxes)
    assert all(cells[:3]) and cells[3:] == [None, None]
    card = make_edges(
        [(0, 0, 120), (200, 0, 120), (80, 60, 90), (180, 60, 90)],
        [(0, 0, 200), (120, 0, 200), (60, 80, 180), (90, 80, 180)],
    )
    cells = find_cells(card, [make_box(10, 10), make_box(10, 68), make_box(90, 68), make_box(10, 95)])
    assert cells[0] is not None and set(cells) == {cells[0]}


@pytest.mark.parametrize(
    "edges",
    [
        make_edges([], []),
        make_edges([], [(0, 0, 100), (60, 0, 100)]),
        make_edges([(0, 0, 60), (100, 0, 60)], []),
        make_edges([(0, 0, 60), (100, 0, 60)], [(0, 0, 100), (60, 0, 40)]),
        make_edges([(0, 0, 20), (100, 0, 60)], [(0, 0, 100), (60, 0, 100)]),
    ],
)
def test_without_edges_on_all_four_sides_there_is_no_cell(edges):
    assert find_cells(edges, [make_box(10, 5), make_box(10, 35)]) == [None, None]


def test_a_lone_line_in_a_box_is_in_no_cell():
    assert find_cells(make_grid((0, 30), (0, 100)), [make_box(10, 8), make_box(10, 50)]) == [None, None]


def test_a_long_rule_is_seen_beside_the_lines_at_its_sides_and_a_short_one_not():
    boxes = [make_box(30, 20), make_box(110, 20), make_box(300, 20)]
    for length, seen in ((200, True), (30, False)):
        around = find_surroundings(make_edges([(100, 10, 10 + length)], []), boxes)
        assert [(one.is_rule_before, one.is_rule_after) for one in around] == [
            (False, seen),
            (seen, False),
            (False, False),
        ]


def test_lines_on_a_page_without_edges_have_nothing_around_them():
    assert find_surroundings(None, [make_box(0, 0)])[0].cell is None
    assert find_surroundings(GRID, []) == []


def test_a_line_of_a_table_has_a_cell_though_a_stain_hides_its_edges():
    vertical = [(x, 0, 100) for x in (0, 100, 200, 300)] + [(150, 72, 82)]
    edges = make_edges(vertical, [(y, 0, 300) for y in (0, 60, 100)])
    boxes = [make_box(10, 10), make_box(110, 70, 30), make_box(110, 10), make_box(210, 70), make_box(10, 70)]
    cells = find_cells(edges, boxes)
    assert [(cell.row, cell.column) for cell in cells if cell] == [(0, 0), (1, 1), (0, 1), (1, 2), (1, 0)]


def test_rules_to_write_on_make_no_cells_with_the_sides_of_the_paper():
    rules = [(y, 150, 850) for y in (100, 140, 180, 220)]
    edges = make_edges([(0, 0, 1200), (880, 0, 1200)], [(0, 0, 880), *rules, (1200, 0, 880)])
    boxes = [make_box(20, y - 16) for y in (100, 140, 180, 220)]
    assert len(set(find_cells(edges, boxes))) == 1


def test_what_stands_between_the_rows_of_cards_is_in_no_card():
    vertical = [(x, top, top + 60) for x in (0, 100, 150, 250) for top in (0, 100)]
    horizontal = [(y, left, left + 100) for y in (0, 60, 100, 160) for left in (0, 150)]
    cards = [make_box(x, y) for x in (20, 170) for y in (20, 120)]
    cells = find_cells(make_edges(vertical, horizontal), [*cards, make_box(20, 72)])
    assert cells[-1] is None
