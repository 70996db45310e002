"""Lines are points where they are, at any size and angle, and nowhere else."""

import logging
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

import nhin
from nhin.errors import MissingExtra
from nhin.image.load import load_picture
from nhin.reading import detector as module
from nhin.reading.detector import Detector, DetectorConfig, enlarge_box, order_corners

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


def centers(quads: list[np.ndarray]) -> list[tuple[float, float]]:
    return sorted((float(quad[:, 1].mean()), float(quad[:, 0].mean())) for quad in quads)


@pytest.mark.parametrize("size", [14, 40, 120])
def test_each_line_is_found_once_at_any_size(detector, size):
    points = centers(detector.find(np.array(page(size))))
    assert len(points) == 2
    assert points[0][0] == pytest.approx(1.6 * size, abs=0.6 * size)
    assert points[1][0] == pytest.approx(4.6 * size, abs=0.6 * size)


def test_the_sign_has_four_lines(detector):
    assert len(detector.find(load_picture(SIGN))) == 4


def test_boxes_follow_a_tilted_page(detector):
    tilted = page(40).rotate(15, expand=True, fillcolor="white")
    for quad in detector.find(np.array(tilted)):
        across = quad[1] - quad[0]
        assert np.degrees(np.arctan2(-across[1], across[0])) == pytest.approx(15, abs=3)


def test_faint_ink_is_found(detector):
    faint = (np.array(page(40)).astype(int) // 12 + 200).astype(np.uint8)
    assert len(detector.find(faint)) == 2


@pytest.mark.parametrize("shape", [(1, 1), (3, 4000), (4000, 3), (40, 3000), (300, 400)])
@pytest.mark.parametrize("tone", [0, 255])
def test_blank_pictures_have_no_lines(detector, shape, tone):
    assert detector.find(np.full((*shape, 3), tone, np.uint8)) == []


@pytest.mark.parametrize("shape", [(1, 1), (2, 2), (3, 4000), (4000, 3), (7, 9), (200, 300)])
def test_noise_never_fails(detector, shape):
    noise = np.random.default_rng(1).integers(0, 256, (*shape, 3), dtype=np.uint8)
    for quad in detector.find(noise):
        assert np.isfinite(quad).all()


def test_a_long_receipt_keeps_its_lines(detector):
    texts = tuple(f"mon an so {i} 35.000" for i in range(30))
    assert len(detector.find(np.array(page(22, texts)))) >= 28


def test_the_picture_is_not_changed(detector):
    picture = np.array(page(40))
    before = picture.copy()
    detector.find(picture)
    np.testing.assert_array_equal(picture, before)


def test_loading_and_detecting_print_nothing(capfd, caplog):
    with caplog.at_level(logging.DEBUG):
        Detector().find(np.array(page(20)))
    assert capfd.readouterr() == ("", "")
    assert not caplog.records


def test_a_missing_detector_says_what_to_install(monkeypatch):
    monkeypatch.setattr(module, "find_spec", lambda name: None)
    with pytest.raises(MissingExtra, match="rapidocr"):
        Detector()


def test_corners_begin_at_the_top_left_and_run_clockwise():
    corners = np.array([[0, 0], [10, 1], [9, 5], [-1, 4]], np.float32)
    for shift in range(4):
        np.testing.assert_array_equal(order_corners(np.roll(corners, shift, axis=0)), corners)
        np.testing.assert_array_equal(order_corners(np.roll(corners, shift, axis=0)[::-1]), corners)


def test_a_box_grows_by_shares_of_its_line_height():
    wide = np.array([[0, 0], [100, 0], [100, 10], [0, 10]], np.float32)
    np.testing.assert_allclose(
        enlarge_box(wide, 0.1, 0.2), [[-1, -2], [101, -2], [101, 12], [-1, 12]], atol=1e-4
    )
    tall = wide[:, ::-1][[0, 3, 2, 1]]
    np.testing.assert_allclose(
        enlarge_box(tall, 0.1, 0.2), [[-2, -1], [12, -1], [12, 101], [-2, 101]], atol=1e-4
    )


def test_a_picture_costs_no_more_than_its_share():
    picture = np.zeros((3000, 4000, 3), np.uint8)
    sheet, scale = module._preprocess(picture, DetectorConfig())
    assert sheet.shape[2] * sheet.shape[3] < 1.1 * DetectorConfig().max_pixels
    assert sheet.shape[2] % 32 == sheet.shape[3] % 32 == 0
    assert scale == pytest.approx(1460 / 4000, rel=0.01)
