"""Rules, borders and the sides of cards are found however the page stands; rows of letters are none."""

import cv2
import numpy as np
import pytest

from nhin.reading.line_shape import LineShape
from nhin.reading.page_edges import PageEdges, find_edges, locate

CAP = 20
ROWS, COLUMNS = (100, 180, 260, 340), (60, 300, 420, 640)


def draw_letters(picture: np.ndarray, left: int, right: int, top: int) -> LineShape:
    """Draw stems as high as capitals, with a foot."""
    for x in range(left, right, 12):
        picture[top : top + CAP, x : x + 3] = 30
        picture[top + CAP - 3 : top + CAP, x : x + 8] = 30
    middle = top + CAP / 2
    return LineShape(np.array([[left, middle], [right, middle]], np.float32), CAP)


def draw_table(thick: int = 2) -> tuple[np.ndarray, list[LineShape]]:
    picture = np.full((440, 700, 3), 240, np.uint8)
    lines = [
        draw_letters(picture, COLUMNS[i] + 15, COLUMNS[i + 1] - 15, y + 30)
        for y in ROWS[:3]
        for i in range(3)
    ]
    for y in ROWS:
        picture[y : y + thick, COLUMNS[0] : COLUMNS[-1] + thick] = 60
    for x in COLUMNS:
        picture[ROWS[0] : ROWS[-1] + thick, x : x + thick] = 60
    return picture, lines


def turn(picture: np.ndarray, lines: list[LineShape], degrees: float) -> tuple[np.ndarray, list[LineShape]]:
    """Turn clockwise."""
    height, width = picture.shape[:2]
    matrix = cv2.getRotationMatrix2D((width / 2, height / 2), -degrees, 1.0)
    corners = np.array([[0, 0], [width, 0], [width, height], [0, height]]) @ matrix[:, :2].T + matrix[:, 2]
    matrix[:, 2] -= corners.min(0)
    size = np.ceil(np.ptp(corners, axis=0)).astype(int).tolist()
    out = cv2.warpAffine(picture, matrix, size, borderValue=(240, 240, 240))
    moved = [
        LineShape((line.center @ matrix[:, :2].T + matrix[:, 2]).astype(np.float32), line.height)
        for line in lines
    ]
    return np.asarray(out, np.uint8), moved


def find_places(edges: PageEdges) -> tuple[list[float], list[float]]:
    """Return where the vertical and the horizontal edges are in the middle, sorted."""
    return tuple(  # pyright: ignore[reportReturnType]
        sorted(float(locate(edge, (edge[1] + edge[3]) / 2)) for edge in part)
        for part in (edges.vertical, edges.horizontal)
    )


@pytest.mark.parametrize("degrees", [0, 90, 180, 270, 3, -2.5, 92])
@pytest.mark.parametrize("thick", [1, 2, 4])
def test_the_rules_of_a_table_are_found_each_once_however_the_page_stands(degrees, thick):
    picture, lines = turn(*draw_table(thick), degrees)
    edges = find_edges(picture, lines)
    assert edges is not None
    vertical, horizontal = find_places(edges)
    assert len(vertical) == 4 and len(horizontal) == 4
    for found, drawn in ((vertical, COLUMNS), (horizontal, ROWS)):
        # The page is reduced until capitals are 10 pixels high.
        assert np.diff(found) == pytest.approx(np.diff(drawn) / 2, abs=2.0)


def test_a_line_that_is_hardly_one_hides_no_rule():
    picture, lines = draw_table()
    doubtful = LineShape(np.array([[70, 180], [130, 180]], np.float32), 80, score=0.6, certainty=0.2)
    edges = find_edges(picture, [*lines, doubtful])
    assert edges is not None
    assert all(end - begin > 250 for _, begin, _, end in edges.horizontal)


@pytest.mark.parametrize("size", [10, 14, 40])
def test_rows_of_letters_have_no_edges(size):
    picture = np.full((30 * 12, 500, 3), 240, np.uint8)
    lines = [draw_letters(picture, 20, 480, 10 + 30 * row) for row in range(11)]
    scaled = cv2.resize(picture, None, fx=size / CAP, fy=size / CAP, interpolation=cv2.INTER_AREA)
    edges = find_edges(np.asarray(scaled, np.uint8), [line.transform(size / CAP) for line in lines])
    assert edges is not None and not len(edges.vertical) and not len(edges.horizontal)


def test_what_runs_through_the_lines_of_a_paragraph_is_no_edge_and_a_rule_at_their_ends_is():
    picture = np.full((30 * 12, 700, 3), 240, np.uint8)
    for right, found in ((300, 1), (660, 0)):
        page = picture.copy()
        lines = [draw_letters(page, 20, right, 10 + 30 * row) for row in range(11)]
        page[10:340, 318:321] = 30
        edges = find_edges(page, lines)
        assert edges is not None and len(edges.vertical) == found


def test_the_sides_of_a_card_are_edges_though_no_line_is_drawn():
    picture = np.full((300, 500, 3), 200, np.uint8)
    picture[60:240, 80:420] = (200, 225, 200)
    edges = find_edges(picture, [draw_letters(picture, 120, 300, 100)])
    assert edges is not None
    assert find_places(edges) == (pytest.approx([40, 210], abs=2), pytest.approx([30, 120], abs=2))


def test_a_pattern_behind_the_text_has_no_edges():
    picture = np.full((300, 500, 3), 240, np.uint8)
    picture[:, ::16] = 120
    edges = find_edges(picture, [draw_letters(picture, 120, 300, 100)])
    assert edges is not None and not len(edges.vertical)


def test_a_page_without_lines_has_none():
    assert find_edges(np.zeros((50, 50, 3), np.uint8), []) is None
