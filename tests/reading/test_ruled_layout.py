"""What stands in ruled cells and boxes is read together, and rules part columns; see ``test_cells``."""

import numpy as np
from pages_of_lines import MAINS, PROSE, STARTERS, column, make_line, texts

from nhin.reading.cells import PageCell, Surroundings
from nhin.reading.layout import arrange_lines
from nhin.reading.result import Line


def in_cells(rows: list[list[list[str]]]) -> tuple[list[Line], list[Surroundings]]:
    """Lines of a ruled table, each with its cell; the lines of a cell stand below each other."""
    lines, around = [], []
    for i, row in enumerate(rows):
        for j, cell in enumerate(row):
            own = column(cell, 300 * j, 120 * i, 26)
            lines += own
            around += [Surroundings(PageCell(0, i, j))] * len(own)
    return lines, around


def test_a_ruled_table_is_read_cell_by_cell_though_lines_of_cells_stand_level():
    rows = [[["Bên A", "(bên giao)"], ["Bên B", "(bên nhận)"]], [["Giao hàng", "đúng hạn"], [], ["Ghi chú"]]]
    lines, around = in_cells(rows)
    order = np.random.default_rng(1).permutation(len(lines))
    (block,) = arrange_lines([lines[i] for i in order], [around[i] for i in order]).blocks
    assert block.kind == "table"
    assert block.texts == (
        ("Bên A (bên giao)", "Bên B (bên nhận)", ""),
        ("Giao hàng đúng hạn", "", "Ghi chú"),
    )


def test_cells_of_many_level_lines_are_rows_unless_they_are_prose():
    """A table whose columns alone are ruled has one tall cell for each; so has a newspaper."""
    dishes = STARTERS + MAINS
    goods = [[name for name, _ in dishes], [price for _, price in dishes]]
    (block,) = arrange_lines(*in_cells([goods])).blocks
    assert block.texts == tuple(map(tuple, dishes))
    layout = arrange_lines(*in_cells([[PROSE[:6], PROSE[6:12]]]))
    assert texts(layout.lines) == PROSE[:12]


def test_what_stands_in_a_box_stays_together():
    left, right = column(["Phụ trách:", "Lê Thị Hoa", "Kế toán"], 0, 0, 40), column(PROSE[:3], 300, 0, 40)
    layout = arrange_lines(left + right, [Surroundings(PageCell(0, 0, 0))] * 3 + [Surroundings()] * 3)
    assert texts(layout.lines) == texts(left + right)
    below = arrange_lines(
        [make_line("Mục lục", 0, -60), *left, make_line("Hết", 0, 200)],
        [Surroundings(), *[Surroundings(PageCell(0, 0, 0))] * 3, Surroundings()],
    )
    assert texts(below.lines) == ["Mục lục", *texts(left), "Hết"]


def test_a_rule_makes_a_narrow_gap_a_gutter():
    left, right = column(PROSE[:5], 0, 0, 26), column(PROSE[5:10], 0, 13, 26)
    width = max(line.box[1][0] for line in left)
    left = [stretch(line, 0, width) for line in left]
    right = [stretch(line, width + 4, 2 * width) for line in right]
    around = [Surroundings(is_rule_after=True)] * 5 + [Surroundings(is_rule_before=True)] * 5
    assert texts(arrange_lines(left + right, around).lines) == PROSE[:10]
    assert texts(arrange_lines(left + right).lines) != PROSE[:10]


def stretch(line: Line, left: float, right: float) -> Line:
    top, bottom = line.box[0][1], line.box[2][1]
    return Line(line.text, 0.9, ((left, top), (right, top), (right, bottom), (left, bottom)))
