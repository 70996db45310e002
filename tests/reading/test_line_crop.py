"""A line is cut out whole, without its neighbours, and every place in it leads back to the picture."""

from pathlib import Path

import cv2
import numpy as np
import pytest

import nhin
from nhin.image.load import load_picture
from nhin.reading import line_crop
from nhin.reading.ink_box import tight_box
from nhin.reading.line_crop import LineCrop, locate_line, whole_picture
from nhin.reading.line_shape import LineShape
from nhin.reading.result import Recognition, Span

SIGN = Path(nhin.__file__).parent / "examples" / "street_sign.png"


def shape(left: float, top: float, right: float, bottom: float) -> LineShape:
    """A level line whose capitals fill a box."""
    middle = (top + bottom) / 2
    return LineShape(np.array([[left, middle], [right, middle]], np.float32), bottom - top)


def cut(picture: np.ndarray, line: LineShape) -> LineCrop:
    """Crop a line that exists."""
    crop = line_crop.crop_line(picture, line)
    assert crop is not None
    return crop


def lettering(*letters: tuple[int, int, int, int], size: tuple[int, int] = (400, 200)) -> np.ndarray:
    """White paper with dark bars: left, top, right, bottom."""
    picture = np.full((size[1], size[0], 3), 240, np.uint8)
    for left, top, right, bottom in letters:
        picture[top:bottom, left:right] = (30, 20, 60)
    return picture


WORD = tuple((x, 80, x + 12, 120) for x in range(100, 300, 25))


def extent(crop: LineCrop) -> tuple[float, float, float, float]:
    corners = np.array(crop.box())
    return (*corners.min(axis=0), *corners.max(axis=0))


def test_marks_the_detector_cut_off_stay_in_the_crop():
    """A tilde above and a dot below, beyond the box found."""
    picture = lettering(*WORD, (150, 66, 165, 72), (200, 126, 208, 133))
    left, top, right, bottom = extent(cut(picture, shape(98, 82, 290, 120)))
    assert top <= 66
    assert bottom >= 133
    assert left <= 100
    assert right >= 287


def test_neighbors_that_enter_the_box_are_left_out():
    picture = lettering(*WORD, *((x, 20, x + 12, 68) for x in range(100, 300, 25)))
    _, top, _, bottom = extent(cut(picture, shape(98, 80, 290, 120)))
    assert 68 <= top <= 80
    assert 120 <= bottom <= 130


def test_a_small_row_close_above_is_left_out_even_where_it_fits_in_whole():
    """The detector's boxes of large rows reach over the small print beside them."""
    picture = lettering(*WORD, *((x, 42, x + 6, 57) for x in range(120, 260, 12)))
    _, top, _, bottom = extent(cut(picture, shape(98, 80, 290, 120)))
    assert 62 <= top <= 80
    assert 120 <= bottom <= 130


def test_a_loose_box_is_trimmed_to_its_ink():
    left, top, right, bottom = extent(cut(lettering(*WORD), shape(92, 84, 300, 124)))
    for value, ink in ((left, 100), (top, 80), (right, 287), (bottom, 120)):
        assert value == pytest.approx(ink, abs=10)


def test_the_rim_of_a_sign_beside_the_line_is_left_out():
    picture = lettering(*WORD, (88, 0, 91, 200), (297, 0, 301, 200))
    left, top, right, bottom = extent(cut(picture, shape(100, 80, 288, 120)))
    assert 91 <= left <= 100
    assert 287 <= right <= 297
    assert top >= 72
    assert bottom <= 128


@pytest.mark.parametrize("seed", range(3))
def test_texture_without_clear_ink_keeps_the_box_and_a_little_more(seed):
    noise = np.random.default_rng(seed).integers(0, 256, (200, 400, 3), dtype=np.uint8)
    left, top, right, bottom = extent(cut(noise, shape(100, 80, 300, 120)))
    assert 65 <= top <= 80
    assert 120 <= bottom <= 135
    assert left <= 100
    assert right >= 300


@pytest.mark.parametrize("degrees", [-20, 0, 5, 45, 90, 180, -90])
def test_a_tilted_line_is_rectified_and_mapped_back(degrees):
    turn = cv2.getRotationMatrix2D((200, 100), degrees, 1)
    turn[1, 2] += 100  # room for a line that stands upright
    picture = np.asarray(
        cv2.warpAffine(lettering(*WORD), turn, (400, 400), borderValue=(240, 240, 240)), np.uint8
    )
    ends = np.array([[100, 100, 1], [287, 100, 1]]) @ turn.T
    crop = cut(picture, LineShape(ends.astype(np.float32), 40))
    dark = crop.pixels[:, :, 0] < 128
    assert dark.any(axis=1).mean() > 0.8
    middle = np.array(crop.box()).mean(axis=0)
    np.testing.assert_allclose(middle, turn @ (193.5, 100, 1), atol=4)


def test_spans_in_a_crop_are_mapped_to_the_letters_in_the_picture():
    crop = cut(lettering(*WORD), shape(100, 80, 287, 120))
    columns = np.flatnonzero((crop.pixels[:, :, 0] < 128).any(axis=0))
    box = np.array(crop.boxes([(float(columns[0]), float(columns[0] + 12))])[0])
    np.testing.assert_allclose(box[:, 0], [100, 112, 112, 100], atol=1.5)


@pytest.mark.parametrize(
    ("turn", "first"), [(0, (10, 20, 0, 40)), (90, (0, 100, 20, 30)), (-90, (0, 100, 10, 20))]
)
def test_rotated_readings_are_mapped_to_their_letters(turn, first):
    """Crop 100 wide, 40 high; a span from 10 to 20 of the rotated crop."""
    line = locate_line(
        whole_picture(np.zeros((40, 100, 3), np.uint8)),
        Recognition("a", 0.5, (Span("a", 0.5, 10, 20),), turn),
    )
    corners = np.array(line.chars[0].box)
    low, high = corners.min(axis=0), corners.max(axis=0)
    assert (low[0], high[0], low[1], high[1]) == first
    assert {tuple(point) for point in line.box} == {(0, 0), (100, 0), (100, 40), (0, 40)}


def test_a_crop_turned_four_times_is_the_same():
    crop = cut(lettering(*WORD), shape(100, 80, 287, 120))
    for degrees in (90, 180, -90):
        turned = crop.rotate(degrees)
        back = turned.rotate(-degrees)
        np.testing.assert_array_equal(back.pixels, crop.pixels)
        np.testing.assert_allclose(back.boxes([(5, 20)]), crop.boxes([(5, 20)]))


def test_a_bent_line_is_straightened():
    """Bars along a wave: in the crop all stand at one height."""
    picture = np.full((260, 600, 3), 240, np.uint8)
    x = np.linspace(60, 540, 25)
    y = 130 + 40 * np.sin(x / 90)
    for left, middle in zip(x.astype(int), y.astype(int), strict=True):
        picture[middle - 15 : middle + 15, left : left + 9] = 20
    crop = cut(picture, LineShape(np.stack([x, y], 1).astype(np.float32), 30))
    dark = (crop.pixels[:, :, 0] < 128).astype(np.uint8)
    count, _, stats, places = cv2.connectedComponentsWithStats(dark)
    middles = [places[i][1] for i in range(1, count) if stats[i][cv2.CC_STAT_AREA] > 100]
    assert len(middles) >= 23
    assert np.ptp(middles) < 8
    middles = np.array([np.mean(crop.boxes([(c, c + 1)])[0], axis=0) for c in (100, 250, 400)])
    np.testing.assert_allclose(middles[:, 1], 130 + 40 * np.sin(middles[:, 0] / 90), atol=4)


@pytest.mark.parametrize(
    "box", [shape(-50, -20, 30, 20), shape(380, 190, 500, 260), shape(10, 10, 11, 11), shape(0, 0, 400, 200)]
)
def test_boxes_over_the_edge_never_fail(box):
    crop = line_crop.crop_line(lettering(*WORD), box)
    assert crop is None or min(crop.pixels.shape[:2]) >= 1


def test_boxes_outside_the_picture_give_nothing():
    assert line_crop.crop_line(lettering(), shape(900, 900, 950, 920)) is None


def test_the_sign_is_cut_close_to_its_letters():
    """The large row with marks above and below: between 95 and 130 pixels high, by eye 98."""
    crop = cut(load_picture(SIGN), shape(110, 185, 895, 260))
    assert 95 <= crop.pixels.shape[0] <= 125


def test_paper_without_ink_has_no_box():
    assert tight_box(np.full((40, 200, 3), 250, np.uint8)) is None


@pytest.mark.parametrize("turn", [90, 180, 270])
def test_a_level_line_of_a_turned_page_has_the_very_pixels_of_the_upright_one(turn):
    rng = np.random.default_rng(turn)
    upright = np.full((120, 200, 3), 255, np.uint8)
    upright[40:60, 30:150:7] = rng.integers(0, 90, 3)
    center = np.array([[30, 50], [150, 50]], np.float32)
    wanted = line_crop.crop_line(upright, LineShape(center, 20.0))
    height, width = upright.shape[:2]
    moved = {
        90: np.stack([height - center[:, 1], center[:, 0]], 1),
        180: np.array([width, height]) - center,
        270: np.stack([center[:, 1], width - center[:, 0]], 1),
    }[turn]
    picture = np.ascontiguousarray(np.rot90(upright, -turn // 90))
    crop = line_crop.crop_line(picture, LineShape(moved.astype(np.float32), 20.0))
    assert wanted is not None and crop is not None
    assert np.array_equal(crop.pixels, wanted.pixels)
    corner = np.array(wanted.box()[0])
    assert crop.box()[0] == pytest.approx(
        {
            90: (height - corner[1], corner[0]),
            180: (width, height) - corner,
            270: (corner[1], width - corner[0]),
        }[turn]
    )


def test_a_crop_has_room_for_a_faint_full_stop_and_the_line_s_box_has_not():
    crop = cut(lettering(*WORD), shape(100, 80, 287, 120))
    left, _, right, _ = extent(crop)
    assert right <= 297
    whole = np.array(crop.boxes([(0.0, float(crop.pixels.shape[1]))])[0])
    assert whole[:, 0].max() - right >= 5
    assert left - whole[:, 0].min() >= 3
    back = extent(crop.rotate(180))
    assert back == pytest.approx(extent(crop))


def test_the_room_beside_a_line_ends_before_other_ink():
    picture = lettering(*WORD, (298, 0, 302, 200))
    crop = cut(picture, shape(100, 80, 287, 120))
    assert np.array(crop.boxes([(0.0, float(crop.pixels.shape[1]))])[0])[:, 0].max() <= 298


def test_a_turned_reading_has_the_box_without_the_room():
    crop = cut(lettering(*WORD), shape(100, 80, 287, 120))
    for turn in (0, 90, -90):
        line = locate_line(crop, Recognition("a", 0.5, (Span("a", 0.5, 1, 2),), turn))
        box = np.array(line.box)
        assert box[:, 0].max() <= 297
        assert box[:, 0].min() >= 90
