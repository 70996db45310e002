"""Print from the other side of a sheet is no text of the page, unless it is read surely."""

from dataclasses import replace

import numpy as np
import pytest

from nhin.reading.doubtful_lines import drop_doubtful
from nhin.reading.line_crop import whole_picture
from nhin.reading.result import Recognition, Span
from nhin.reading.show_through import SURE, find_faint


def crop(contrast: int, width: int = 100):
    pixels = np.full((20, width, 3), 240, np.uint8)
    pixels[8:12, ::3] -= np.uint8(contrast)
    return pixels


def test_lines_far_fainter_than_most_of_the_page_are_faint():
    assert find_faint([crop(200), crop(180), crop(30), crop(200)]) == [False, False, True, False]


def test_a_page_that_is_faint_as_a_whole_has_no_faint_lines():
    assert find_faint([crop(30), crop(28), crop(33)]) == [False] * 3


def test_many_short_faint_pieces_do_not_make_the_page_faint():
    assert find_faint([crop(200, 600), *[crop(30, 20)] * 5]) == [False, *[True] * 5]


def test_no_lines_have_no_contrast():
    assert find_faint([]) == []


def line(contrast: int, confidence: float, width: int = 100):
    """Return a crop and its reading of two letters."""
    chars = tuple(Span(char, confidence, 0, 1) for char in "ab")
    return whole_picture(crop(contrast, width)), Recognition("ab", confidence, chars)


@pytest.mark.parametrize(
    ("least", "kept"), [(0.4, ["dark", "sure"]), (0.97, ["sure"]), (0, ["dark", "doubtful", "sure"])]
)
def test_faint_lines_need_more_confidence_unless_all_are_shown(least, kept):
    lines = {"dark": line(200, 0.95, 400), "doubtful": line(30, SURE - 0.1), "sure": line(30, 0.98)}
    found = drop_doubtful(list(lines.values()), least)
    assert found == [lines[name] for name in kept]


@pytest.mark.parametrize(
    ("score", "confidence", "is_kept"), [(0.95, 0.6, True), (0.6, 0.6, False), (0.6, 0.9, True)]
)
def test_a_doubtful_reading_of_what_is_hardly_like_text_is_left_out(score, confidence, is_kept):
    crop, result = line(200, confidence)
    read = [(replace(crop, score=score), result)]
    assert drop_doubtful(read, 0.55) == (read if is_kept else [])
    assert drop_doubtful(read, 0) == read
