"""Lines are points where they are, at any size and angle, and nowhere else."""

import logging
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

import nhin
from nhin.image.load import load_picture
from nhin.reading.detector import Detector, DetectorConfig
from nhin.reading.line_cleanup import (
    drop_crossing,
    drop_doubles,
    drop_marks,
    join_pieces,
    measure_skew,
    merge_scales,
)
from nhin.reading.line_shape import LineShape

SIGN = Path(nhin.__file__).parent / "examples" / "street_sign.png"


@pytest.fixture(scope="module")
def detector() -> Detector:
    return Detector()


def page(
    size: int, texts: tuple[str, ...] = ("BAN NHA", "quan com 45.000"), paper: str = "white"
) -> Image.Image:
    """A page with one text a row, letters ``size`` pixels high."""
    sheet = Image.new("RGB", (size * 14, size * 3 * len(texts) + size), paper)
    for row, text in enumerate(texts):
        font = ImageFont.load_default(size)
        ImageDraw.Draw(sheet).text((size, size * (3 * row + 1)), text, (20, 20, 20), font=font)
    return sheet


def find(detector: Detector, picture: np.ndarray) -> tuple[LineShape, ...]:
    return detector.find(picture).lines


def centers(lines: tuple[LineShape, ...]) -> list[tuple[float, float]]:
    return sorted((float(line.center[:, 1].mean()), float(line.center[:, 0].mean())) for line in lines)


@pytest.mark.parametrize("size", [14, 40, 120])
def test_each_line_is_found_once_at_any_size(detector, size):
    points = centers(find(detector, np.array(page(size))))
    assert len(points) == 2
    assert points[0][0] == pytest.approx(1.6 * size, abs=0.6 * size)
    assert points[1][0] == pytest.approx(4.6 * size, abs=0.6 * size)


def test_the_sign_has_four_lines(detector):
    assert len(find(detector, load_picture(SIGN))) == 4


@pytest.mark.parametrize("degrees", [0, 15, 90, 180, 270])
def test_lines_follow_a_turned_page(detector, degrees):
    texts = ("Cộng hòa xã hội chủ nghĩa Việt Nam", "Độc lập - Tự do - Hạnh phúc", "Quyết định số 45")
    turned = page(30, texts).rotate(-degrees, expand=True, fillcolor="white")
    lines = find(detector, np.array(turned))
    assert len(lines) == 3
    for line in lines:
        # Which end is the first, the page's lines settle together (``orientation``).
        assert (line.angle - degrees + 90) % 180 - 90 == pytest.approx(0, abs=3)


def test_faint_ink_is_found(detector):
    faint = (np.array(page(40)).astype(int) // 12 + 200).astype(np.uint8)
    assert len(find(detector, faint)) == 2


@pytest.mark.parametrize("shape", [(1, 1), (3, 4000), (4000, 3), (40, 3000), (300, 400)])
@pytest.mark.parametrize("tone", [0, 255])
def test_blank_pictures_have_no_lines(detector, shape, tone):
    assert find(detector, np.full((*shape, 3), tone, np.uint8)) == ()


@pytest.mark.parametrize("shape", [(1, 1), (2, 2), (3, 1500), (1500, 3), (7, 9), (200, 300)])
def test_noise_never_fails(detector, shape):
    noise = np.random.default_rng(1).integers(0, 256, (*shape, 3), dtype=np.uint8)
    for line in find(detector, noise):
        assert np.isfinite(line.center).all()
        assert np.isfinite(line.outline()).all()


def test_a_long_receipt_keeps_its_lines(detector):
    texts = tuple(f"mon an so {i} 35.000" for i in range(30))
    assert len(find(detector, np.array(page(22, texts)))) >= 28


def test_the_picture_is_not_changed(detector):
    picture = np.array(page(40))
    before = picture.copy()
    find(detector, picture)
    np.testing.assert_array_equal(picture, before)


def test_loading_and_detecting_print_nothing(capfd, caplog):
    with caplog.at_level(logging.DEBUG):
        Detector().find(np.array(page(20)))
    assert capfd.readouterr() == ("", "")
    assert not caplog.records


def line(left: float, right: float, y: float, height: float) -> LineShape:
    return LineShape(np.array([[left, y], [right, y]], np.float32), height)


def test_of_two_scales_each_line_is_taken_once_from_the_one_that_suits_its_height():
    small, large = line(0, 200, 50, 20), line(0, 300, 150, 100)
    again = line(2, 198, 51, 21)
    stroke = line(100, 140, 150, 20)  # seen within a large letter
    assert merge_scales([small, stroke], [again, large], 60) == [small, large]
    assert merge_scales([], [again, large], 60) == [again, large]
    assert merge_scales([small, stroke], [], 60) == [small, stroke]


def test_cells_of_a_column_are_not_one_large_line():
    cells = [line(10, 60, y, 16) for y in (20, 50, 80, 110)]
    column = LineShape(np.array([[35, 10], [35, 120]], np.float32), 60)
    assert merge_scales(cells, [column], 56) == cells
    askew = LineShape(np.array([[10, 40], [60, 60]], np.float32), 70)
    assert merge_scales(cells, [askew], 56) == cells


def test_marks_of_large_letters_are_no_lines():
    large, mark, price = line(0, 300, 100, 60), line(100, 130, 50, 12), line(0, 300, 40, 12)
    assert drop_marks([large, mark, price]) == [large, price]
    assert drop_marks([mark]) == [mark]


def test_pieces_of_a_line_are_joined_and_columns_are_not():
    row, piece, column = line(0, 200, 50, 16), line(202, 240, 52, 15), line(255, 400, 50, 16)
    below, small = line(0, 200, 80, 16), line(202, 240, 50, 8)
    joined = join_pieces([row, piece, column, below, small])
    assert len(joined) == 4
    ends = {tuple(shape.center[-1].tolist()) for shape in joined}
    assert ends == {(240, 52), (400, 50), (200, 80), (240, 50)}
    assert join_pieces([]) == []


def test_a_line_within_another_is_left_out():
    row, part, below = line(0, 200, 50, 16), line(20, 60, 53, 14), line(20, 60, 75, 14)
    assert drop_doubles([part, row, below]) == [row, below]


def test_of_two_lines_that_cross_the_surer_one_is_kept():
    row = line(0, 200, 50, 16)
    across = LineShape(np.array([[60, 30], [62, 70]], np.float32), 16, 0.8, 0.2)
    beside = LineShape(np.array([[240, 20], [240, 90]], np.float32), 16, 0.8, 0.2)
    below = line(0, 200, 80, 16)
    assert drop_crossing([row, across, beside, below]) == [row, beside, below]
    assert drop_crossing([]) == []
    rows = [line(0, 100, y, 16) for y in range(20, 260, 30)]
    edge = LineShape(np.array([[8, 10], [8, 250]], np.float32), 16, 0.9, 0.9)  # longer than any, not than all
    assert drop_crossing([*rows, edge]) == rows


@pytest.mark.parametrize("degrees", [-44, -20, 0, 8, 30])
def test_the_skew_of_lines_does_not_depend_on_their_turn(degrees):
    for turn in (0, 90, 180, 270):
        angle = np.radians(degrees + turn)
        along = np.array([np.cos(angle), np.sin(angle)])
        lines = [LineShape(np.array([0 * along, 90 * along], np.float32), 10)] * 2
        assert measure_skew(lines) == pytest.approx(degrees, abs=0.1)
    assert measure_skew([]) == 0


class CountingSession:
    """A network that finds nothing, or small text everywhere; counts the pixels it sees."""

    def __init__(self, tiny: float) -> None:
        self.tiny, self.pixels, self.sides = tiny, 0, set[int]()

    def run(self, outputs: None, inputs: dict[str, np.ndarray]) -> list[np.ndarray]:
        height, width, _ = inputs["pixels"].shape
        assert height % 32 == width % 32 == 0
        self.pixels += height * width
        self.sides.update((height, width))
        fields = np.zeros((4, height // 4, width // 4), np.float32)
        fields[3] = self.tiny
        return [np.zeros((height // 2, width // 2), np.float32), fields]


@pytest.mark.parametrize(
    ("height", "width"), [(40, 200_000), (200_000, 40), (6, 900_000), (900, 1200), (6000, 8000)]
)
@pytest.mark.parametrize("tiny", [0.0, 1.0])
def test_the_cost_of_a_picture_is_bounded_whatever_its_shape(detector, height, width, tiny):
    picture = np.lib.stride_tricks.as_strided(
        np.arange(6, dtype=np.uint8), (height, width, 3), (0, 1 if width < 4 else 0, 1)
    )
    bounded = Detector()
    bounded._session = session = CountingSession(tiny)  # pyright: ignore[reportAttributeAccessIssue]
    found = bounded.find(np.ascontiguousarray(picture) + np.uint8(0))
    config = DetectorConfig()
    most = 3 * config.max_pixels + (tiny > 0) * config.max_tiles * (config.tile + 64) ** 2
    assert session.pixels <= most
    assert found.lines == ()
