"""Variations of a real crop: nothing at strength 0, the same for the same generator, never without pixels."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from nhin.image.augment import vary_crop

SIZES = st.tuples(st.integers(1, 60), st.integers(1, 90))


def draw(size, gray=False):
    shape = size if gray else (*size, 3)
    return np.random.default_rng(size).integers(0, 256, shape, dtype=np.uint8)


@settings(max_examples=60, deadline=None)
@given(size=SIZES, seed=st.integers(0, 2**31), gray=st.booleans(), strength=st.floats(0, 3))
def test_a_varied_crop_has_pixels_and_depends_on_its_generator_alone(size, seed, gray, strength):
    crop = draw(size, gray)
    first, again = (vary_crop(crop, np.random.default_rng(seed), strength) for _ in range(2))
    assert first.dtype == np.uint8
    assert first.size
    assert first.ndim == crop.ndim
    assert np.array_equal(first, again)


def test_strength_0_changes_nothing_and_strength_1_most_crops():
    crop = draw((30, 60))
    rngs = [np.random.default_rng(seed) for seed in range(20)]
    assert all(np.array_equal(vary_crop(crop, rng, 0.0), crop) for rng in rngs)
    assert sum(not np.array_equal(vary_crop(crop, rng), crop) for rng in rngs) > 10
