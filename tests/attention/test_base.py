"""What does not fit is refused in words that help."""

import pytest
import torch
from jaxtyping import TypeCheckError

from nhin.attention.base import check_dtypes, check_shapes
from nhin.attention.registry import MECHANISMS, build
from nhin.errors import ShapeError

GOOD = {"q": torch.zeros(2, 3, 4, 8), "k": torch.zeros(2, 5, 2, 8), "v": torch.zeros(2, 5, 2, 8)}
KEEP = torch.ones(2, 5, dtype=torch.bool)


def fits(q, k, v, keep=None):
    check_shapes(q, k, v)
    check_dtypes(q, k, v, keep)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"q": torch.zeros(2, 3, 32)}, r"q has shape \(2, 3, 32\); give it the four axes B T H D"),
        ({"k": torch.zeros(2, 5, 8)}, r"k has shape \(2, 5, 8\)"),
        ({"v": torch.zeros(2, 6, 2, 8)}, r"v is \(2, 6, 2, 8\); give every key one value"),
        ({"q": torch.zeros(3, 3, 4, 8)}, "batch is 3 in q and 2 in k"),
        ({"q": torch.zeros(2, 3, 4, 16)}, "head_dim is 16 in q and 8 in k; project both"),
        ({"q": torch.zeros(2, 3, 3, 8)}, "q has 3 heads and k has 2; make kv_heads divide heads"),
        ({"q": torch.zeros(2, 3, 4, 8).double()}, "k is torch.float32 and q is torch.float64; cast"),
        ({"q": torch.zeros(2, 3, 4, 8, device="meta")}, "k is on cpu and q on meta; move them together"),
        (
            {"keep": torch.ones(2, 3, 5, dtype=torch.bool)},
            r"keep has shape \(2, 3, 5\); it needs one entry per key",
        ),
        ({"keep": torch.ones(2, 4, dtype=torch.bool)}, r"keep has shape \(2, 4\); .* \(2, 5\)"),
        ({"keep": torch.ones(2, 5)}, r"keep is torch.float32; give booleans"),
        ({"keep": torch.ones(2, 5, dtype=torch.bool, device="meta")}, r"keep is on meta .* move it with"),
    ],
)
def test_a_misfit_is_named_with_its_value_and_the_way_out(change, words):
    with pytest.raises(ShapeError, match=words):
        fits(**(GOOD | change))


def test_what_fits_is_let_through():
    fits(**GOOD, keep=KEEP)
    with torch.autocast("cpu", torch.bfloat16):
        fits(GOOD["q"], GOOD["k"].bfloat16(), GOOD["v"], KEEP)


@pytest.mark.parametrize("name", MECHANISMS)
def test_every_mechanism_refuses_heads_that_do_not_divide(name):
    with pytest.raises((ShapeError, TypeCheckError)):
        build(name, heads=3, head_dim=8)(GOOD["q"][:, :, :3], GOOD["k"], GOOD["v"])
