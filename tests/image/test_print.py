"""Laws of rendered print: sizes, leaders, processes; and of letters painted as signs show them."""

import numpy as np
import pytest

from nhin.image import print as printing
from nhin.image.effects import draw_box, is_legible, paint_letters
from nhin.image.fonts import find_faces, font_kind
from nhin.image.print import MAX_SIZE, MIN_SIZE, draw_size, render_print
from nhin.image.render import Style, draw_glyphs, draw_stacked
from nhin.image.reproduction import PROCESSES


@pytest.fixture(scope="module")
def path():
    return find_faces()[0].path


def draw(text, path, after="", gap=0.0, rng=None):
    mask = printing._draw_text(text, path, 30, "L", after, gap, rng)
    assert mask is not None
    return mask


def test_sizes_stay_within_their_bounds():
    rng = np.random.default_rng(0)
    sizes = [draw_size(rng) for _ in range(500)]
    assert MIN_SIZE <= min(sizes) < 12
    assert 40 < max(sizes) <= MAX_SIZE


def test_a_line_without_ink_gives_no_picture(path):
    assert render_print(" ", path, np.random.default_rng(0), lambda: "x") is None


def test_a_line_whose_margins_cut_off_all_of_it_gives_no_picture(path, monkeypatch):
    monkeypatch.setattr(printing, "_add_surroundings", lambda mask, *_: mask[1:1])
    assert render_print("—", path, np.random.default_rng(0), lambda: "x") is None


def test_the_same_generator_gives_the_same_line(path):
    one, other = (render_print("Số 12/QĐ", path, np.random.default_rng(5), lambda: "gạch") for _ in range(2))
    np.testing.assert_array_equal(one, other)


def test_a_leader_widens_the_line_by_dots_between_its_parts(path):
    rng = np.random.default_rng(1)
    plain, dotted = draw("Trang 7", path), draw("Trang", path, "7", 120.0, rng)
    assert dotted.shape[1] > plain.shape[1] + 80
    middle = dotted[:, plain.shape[1] - 10 : plain.shape[1] + 60]
    assert middle.max() > 0.3
    assert middle[: len(middle) // 2].max() == 0


@pytest.mark.parametrize("process", PROCESSES, ids=lambda process: process.__name__)
def test_every_process_keeps_the_letters_apart_from_the_paper(process, path):
    mask = np.pad(draw("HIỆU LỰC", path), 6)
    for seed in range(40):
        picture = process(mask, 30, np.random.default_rng(seed))
        assert picture.ndim == 3
        assert picture.shape[2] == 3
        gray = np.clip(picture, 0, 255).mean(axis=2)
        assert gray.max() - gray.min() > 20


def test_stacked_letters_lie_on_their_side_in_their_order(path):
    style = Style(path, 40)
    mask, outline = draw_stacked("IL", style)
    single, _ = draw_glyphs("I", style)
    assert mask.shape == outline.shape
    assert mask.shape[1] > 2 * single.shape[0] * 0.9
    first = mask[:, : single.shape[0]]
    rows = np.flatnonzero(first.any(axis=1))
    np.testing.assert_array_equal(first[rows[0] : rows[-1] + 1], np.rot90(single))
    assert draw_stacked("  ", style)[0].size == 0


def test_letters_painted_in_any_way_differ_from_the_ground(path):
    mask = np.pad(draw_glyphs("Phở", Style(path, 40))[0], 12)
    ink, ground = np.array([240, 230, 10], np.float32), np.array([20, 30, 90], np.float32)
    for seed in range(60):
        canvas = np.full((*mask.shape, 3), ground)
        draw_box(canvas, mask, ground, ink, np.random.default_rng(seed))
        paint_letters(canvas, mask, ink, 0.9, np.random.default_rng(seed))
        assert np.isfinite(canvas).all()
        assert is_legible(canvas, mask)


def test_letters_of_the_color_of_the_ground_are_not_legible(path):
    mask = np.pad(draw_glyphs("Phở", Style(path, 40))[0], 12)
    assert not is_legible(np.full((*mask.shape, 3), 90, np.float32), mask)
    assert not is_legible(np.full((*mask.shape, 3), 90, np.float32), np.zeros_like(mask))


def test_every_family_has_a_kind():
    kinds = [
        font_kind(name) for name in ("Tinos", "Times New Roman", "Be Vietnam Pro", "Great Vibes", "Anton")
    ]
    assert kinds == ["official", "official", "text", "script", "sign"]
