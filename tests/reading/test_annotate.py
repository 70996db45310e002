"""The annotated picture has an outline and a number for every line, whatever the picture's own size."""

import numpy as np
import pytest
from made_lines import make_line

from nhin.reading.annotate import COLORS, annotate_picture
from nhin.reading.reading import Reading
from nhin.reading.result import TextBlock

LINES = make_line("tiêu đề", 100, 100), make_line("đoạn văn", 100, 200, angle=5)
BLOCKS = TextBlock("heading", (((LINES[0],),),), 1), TextBlock("paragraph", (((LINES[1],),),))
READING = Reading(LINES, 600, 400, blocks=BLOCKS)


@pytest.mark.parametrize("scale", [1, 0.5])
def test_lines_are_outlined_in_the_color_of_their_block_and_numbered(scale):
    white = np.full((int(400 * scale), int(600 * scale), 3), 255, np.uint8)
    drawn = np.asarray(annotate_picture(white, READING))
    assert drawn.shape == white.shape
    for line, kind in zip(LINES, ("heading", "paragraph"), strict=True):
        rows, columns = np.nonzero((drawn == COLORS[kind]).all(axis=2))
        box = np.array(line.box) * scale
        assert columns.max() == pytest.approx(box[:, 0].max(), abs=3)
        assert rows.max() == pytest.approx(box[:, 1].max(), abs=3)
        assert columns.min() < box[0, 0] - 4  # its number stands before it
    assert (white == 255).all()


def test_a_page_without_lines_is_its_picture():
    gray = np.full((10, 10, 3), 99, np.uint8)
    assert (np.asarray(annotate_picture(gray, Reading((), 10, 10))) == gray).all()
