"""Laws of the drawn pictures without text."""

import numpy as np
import pytest

from nhin.data.images.textless import KINDS, draw_textless


def test_a_picture_follows_from_seed_and_index_and_kinds_take_turns():
    drawn = [draw_textless(7, i) for i in range(len(KINDS))]
    assert [kind for _, kind in drawn] == list(KINDS)
    for i, (picture, _) in enumerate(drawn):
        assert picture.dtype == np.uint8
        assert picture.shape[2:] == (3,)
        assert np.array_equal(picture, draw_textless(7, i)[0])
        others = draw_textless(8, i)[0], draw_textless(7, i + len(KINDS))[0]
        assert not any(np.array_equal(picture, other) for other in others)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", [(14, 8), (120, 60), (14, 140), (31, 97)])
def test_every_kind_covers_a_picture_of_any_shape_from_0_to_1(kind, shape):
    for draw in KINDS[kind]:
        for seed in range(3):
            coverage = draw(shape, np.random.default_rng(seed))
            assert coverage.shape == shape
            assert coverage.min() >= 0
            assert coverage.max() <= 1
