"""The network's input of a crop depends on that crop alone."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nhin.image.preprocess import (
    HEIGHT,
    MAX_WIDTH,
    MIN_WIDTH,
    WIDTH_BUCKET,
    bucket_width,
    ink_channel,
    preprocess_crop,
    scaled_width,
    to_batch,
)


@settings(max_examples=60, deadline=None)
@given(rows=st.integers(1, 90), columns=st.integers(1, 300), seed=st.integers(0, 9), gray=st.booleans())
def test_any_crop_becomes_one_height_and_its_own_bucket(rows, columns, seed, gray):
    shape = (rows, columns) if gray else (rows, columns, 3)
    out = preprocess_crop(np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8))
    assert out.dtype == np.uint8
    assert out.shape == (HEIGHT, bucket_width(scaled_width(columns, rows)))


@given(st.integers(1, 5000))
def test_a_bucket_holds_its_width_with_little_waste(width):
    wide = bucket_width(width)
    assert MIN_WIDTH <= wide <= MAX_WIDTH
    assert wide >= min(width, MAX_WIDTH)
    assert wide - width < WIDTH_BUCKET or wide == MIN_WIDTH


def test_letters_as_bright_as_their_background_get_contrast():
    red, green = np.array([200, 30, 30]), np.array([30, 117, 30])
    assert abs(red @ [0.299, 0.587, 0.114] - green @ [0.299, 0.587, 0.114]) < 4
    picture = np.where(np.arange(20)[None, :, None] % 5 < 2, red, green).astype(np.uint8).repeat(20, axis=0)
    assert np.ptp(ink_channel(picture).astype(int)) > 200


def test_brighter_stays_brighter():
    ramp = np.linspace(0, 255, 40, dtype=np.uint8)[None, :].repeat(10, axis=0)
    assert (np.diff(ink_channel(ramp).astype(int)[0]) >= 0).all()
    assert (np.diff(ink_channel(np.stack([ramp] * 3, axis=-1)).astype(int)[0]) >= 0).all()


def test_a_flat_picture_stays_flat():
    assert np.ptp(ink_channel(np.full((20, 30, 3), 90, np.uint8))) == 0
    almost = np.full((20, 30, 3), 90, np.uint8)
    almost[::2] += 2
    assert np.ptp(ink_channel(almost).astype(int)) < 40


def test_tensor_puts_black_and_white_at_minus_one_and_one():
    out = to_batch([np.zeros((2, 3), np.uint8), np.full((2, 3), 255, np.uint8)])
    assert out.shape == (2, 1, 2, 3)
    assert out[0].max() == -1
    assert out[1].min() == pytest.approx(1)
