"""Other views of a crop: their sizes, and that a slanted word becomes level."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nhin.reading.views import make_views, turn_word


@settings(max_examples=50, deadline=None)
@given(rows=st.integers(1, 60), columns=st.integers(1, 90), degrees=st.floats(-40, 40), gray=st.booleans())
def test_every_view_has_pixels(rows, columns, degrees, gray):
    crop = np.zeros((rows, columns) if gray else (rows, columns, 3), np.uint8)
    views = make_views(crop)
    assert views[0] is crop
    assert all(view.size and view.ndim == crop.ndim for view in views)
    turned = turn_word(crop, degrees)
    assert turned is None or (turned.size and turned.ndim == crop.ndim)


@pytest.mark.parametrize("degrees", [-35, -15, 15, 35])
def test_a_slanted_bar_that_fills_its_box_becomes_level(degrees):
    word = np.zeros((24, 100), np.uint8)
    box = cv2.boxPoints(((0.0, 0.0), (100.0, 24.0), float(degrees)))
    low, high = box.min(axis=0), box.max(axis=0)
    word = np.zeros(np.ceil(high - low)[::-1].astype(int), np.uint8)
    cv2.fillPoly(word, [np.round(box - low).astype(np.int32)], 255)
    turned = turn_word(word, degrees)
    assert turned is not None
    middle = turned[turned.shape[0] // 2]
    assert (middle > 127).mean() > 0.85
    assert (turned > 127).mean() > 0.75 > (word > 127).mean()


def test_a_flat_box_holds_no_slanted_word():
    assert turn_word(np.zeros((20, 200, 3), np.uint8), 35) is None
