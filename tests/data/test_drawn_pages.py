"""Drawn pages know where their lines are, and a picture of a page moves them with it."""

import numpy as np
import pytest

from nhin.data.images.line_text import LineTextGenerator
from nhin.data.images.text_generator import TextGenerator
from nhin.data.pages.capture import capture_page, take_picture
from nhin.data.pages.page_kinds import PAGE_KINDS
from nhin.data.pages.page_loader import PageLoader, PagePosition
from nhin.data.pages.page_source import SIDE, PageSource, draw_targets
from nhin.data.pages.page_writer import DrawnPage, PageLine, PageWriter, TextStyle
from nhin.data.pages.theme import FaceBook
from nhin.image.fonts import Face, find_faces
from nhin.reading.line_crop import crop_line
from nhin.reading.line_maps import find_lines
from nhin.reading.line_shape import LineShape


@pytest.fixture(scope="module")
def source() -> PageSource:
    return PageSource(seed=3)


@pytest.fixture(scope="module")
def face() -> Face:
    return next(face for face in find_faces() if "DejaVuSans.ttf" in face.path)


def write_page(face: Face, texts: tuple[str, ...] = ("Chữ thứ nhất", "Dòng hai", "Ba")) -> DrawnPage:
    writer = PageWriter(420, 300, (250, 250, 250), np.random.default_rng(1))
    for number, text in enumerate(texts):
        writer.begin_block()
        writer.write(40 + 20 * number, 80 + 70 * number, text, TextStyle(face, 30, (20, 30, 40)))
    return writer.finish("test")


def to_shape(line: PageLine) -> LineShape:
    return LineShape(line.center, line.height)


@pytest.mark.parametrize("kind", PAGE_KINDS)
def test_every_kind_of_page_has_ink_where_its_lines_are(source, kind):
    page = source.draw_page(16, np.random.default_rng(5), kind)
    assert page.lines
    inky = 0
    for line in page.lines:
        low, high = line.center.min(0) - line.height / 2, line.center.max(0) + line.height / 2
        left, top, right, bottom = np.clip([*low, *high], 0, None).astype(int)
        window = page.picture[top : bottom + 1, left : right + 1].astype(int)
        inky += window.size > 0 and np.ptp(window.reshape(-1, 3), axis=0).max() > 20
    assert inky >= 0.95 * len(page.lines)


def test_a_page_is_the_same_at_every_call(source):
    first, again = source.sample(7, 2), PageSource(seed=3).sample(7, 2)
    for one, other in zip(first, again, strict=True):
        np.testing.assert_array_equal(one.picture, other.picture)
        assert one.picture.shape == (SIDE, SIDE, 3)
        assert [line.text for line in one.lines] == [line.text for line in other.lines]
    assert not np.array_equal(first[0].picture, first[1].picture)


@pytest.mark.parametrize("turn", [0, 90, 180, 270])
def test_a_turned_page_has_the_same_crops(face, turn):
    """Where a line went, there its letters are, upright."""
    page = write_page(face)
    turned = capture_page(page, "clean", np.random.default_rng(0), turn=turn)
    for line, moved in zip(page.lines, turned.lines, strict=True):
        one, other = crop_line(page.picture, to_shape(line)), crop_line(turned.picture, to_shape(moved))
        assert one is not None
        assert other is not None
        assert abs(one.pixels.shape[0] - other.pixels.shape[0]) <= 3
        assert abs(one.pixels.shape[1] - other.pixels.shape[1]) <= 3
        ink = [(crop.pixels.mean(2) < 128).mean() for crop in (one, other)]
        assert ink[0] == pytest.approx(ink[1], rel=0.1)


def test_the_lines_of_a_photograph_are_where_its_ink_is(face):
    page = write_page(face)
    rng = np.random.default_rng(4)
    for _ in range(6):
        seen = take_picture(page, (320, 448), rng)
        for line in seen.lines:
            inside = (line.center > 4).all(1) & (line.center < np.array([444, 316])).all(1)
            if not inside.all():
                continue
            crop = crop_line(seen.picture, to_shape(line))
            assert crop is not None
            gray = crop.pixels.astype(float).mean(2)
            assert np.ptp(gray[len(gray) // 4 : -len(gray) // 4]) > 60


def test_the_maps_to_learn_give_the_lines_back(face):
    page = write_page(face)
    for turn in (0, 90, 180, 270):
        for skew in (0.0, 8.0):
            seen = capture_page(page, "clean", np.random.default_rng(0), turn=turn, skew=skew)
            height, width = (side // 4 * 4 for side in seen.picture.shape[:2])
            maps = draw_targets(DrawnPage(seen.picture[:height, :width], seen.lines))
            found = find_lines((maps.cores == 1).astype(np.float32), maps.fields.astype(np.float32))
            assert len(found) == len(seen.lines)
            for line in seen.lines:
                near = min(found, key=lambda f: float(np.hypot(*(f.center.mean(0) - line.center.mean(0)))))
                assert near.height == pytest.approx(line.height, rel=0.05)
                np.testing.assert_allclose(near.center[[0, -1]], line.center[[0, -1]], atol=0.3 * line.height)


def test_text_too_small_or_too_large_is_no_line_to_learn(face):
    writer = PageWriter(640, 400, (255, 255, 255), np.random.default_rng(1))
    writer.write(20, 40, "chữ rất nhỏ", TextStyle(face, 5))
    writer.write(20, 300, "To", TextStyle(face, 200))
    maps = draw_targets(writer.finish("test"))
    assert maps.cores.max() <= 0
    assert maps.cores.min() == -1  # the large one is not told
    assert maps.fields[3].max() == 1
    assert not maps.weights.any()


def test_letters_that_a_face_lacks_are_left_out(face):
    writer = PageWriter(400, 100, (255, 255, 255), np.random.default_rng(1))
    writer.write(10, 50, "ab 漢字 c", TextStyle(face, 20))
    writer.write(10, 80, " ", TextStyle(face, 20))
    assert [line.text for line in writer.lines] == ["ab c"]


def test_batches_from_a_position_are_those_of_the_whole_stream(source):
    loader = PageLoader(source, batch=2, pages=2, views=2, workers=0, prefetch=2)
    stream = loader.iter_batches(PagePosition())
    batches = [next(stream) for _ in range(4)]
    assert [batch.after for batch in batches][:2] == [PagePosition(0, 1), PagePosition(1)]
    again = next(loader.iter_batches(batches[1].after))
    np.testing.assert_array_equal(again.pictures, batches[2].pictures)
    np.testing.assert_array_equal(again.cores, batches[2].cores)


def test_what_has_the_color_of_its_paper_is_no_line(face):
    writer = PageWriter(400, 100, (200, 30, 40), np.random.default_rng(1))
    writer.write(10, 50, "đỏ trên đỏ", TextStyle(face, 20, (204, 32, 44)))
    writer.write(10, 80, "trắng trên đỏ", TextStyle(face, 20, (255, 255, 255)))
    assert [line.text for line in writer.finish("test").lines] == ["trắng trên đỏ"]


def test_a_book_without_a_kind_of_faces_gives_any():
    texts = LineTextGenerator(TextGenerator())
    book = FaceBook([face for face in find_faces() if "DejaVu" in face.path][:1])
    page = PAGE_KINDS["menu"][1](14, book, texts, np.random.default_rng(2))
    assert page.lines
