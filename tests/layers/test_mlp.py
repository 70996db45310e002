"""Feed-forwards: ways to bend, with about as many weights."""

import pytest
import torch
import torch.nn.functional as F
from torch.testing import assert_close

from nhin.errors import UnknownName
from nhin.layers.mlp import ACTIVATIONS, MLP

FORMULAS = {
    "gelu": lambda wide: F.gelu(wide),
    "gelu-tanh": lambda wide: (
        wide / 2 * (1 + torch.tanh((2 / torch.pi) ** 0.5 * (wide + 0.044715 * wide**3)))
    ),
    "relu2": lambda wide: torch.where(wide > 0, wide * wide, 0.0),
    "swiglu": lambda wide: wide[..., :24] * torch.sigmoid(wide[..., :24]) * wide[..., 24:],
}


@pytest.mark.parametrize("bend", ACTIVATIONS)
@pytest.mark.parametrize("bias", [False, True])
def test_a_feed_forward_is_its_formula(bend, bias):
    made, x = MLP(9, activation=bend, bias=bias), torch.randn(2, 3, 9)
    weights = dict(made.named_parameters())
    wide = x @ weights["widen.weight"].T + (weights["widen.bias"] if bias else 0.0)
    want = FORMULAS[bend](wide) @ weights["narrow.weight"].T + (weights["narrow.bias"] if bias else 0.0)
    assert_close(made(x), want)


def test_all_bends_have_about_as_many_weights():
    sizes = [
        sum(p.numel() for p in MLP(96, activation=bend, bias=False).parameters()) for bend in ACTIVATIONS
    ]
    assert max(sizes) <= 1.05 * min(sizes)


@pytest.mark.parametrize("bend", ACTIVATIONS)
def test_the_inner_width_may_be_said_outright(bend):
    made = MLP(6, activation=bend, inner=11)
    assert made.narrow.in_features == 11
    assert made(torch.randn(2, 6)).shape == (2, 6)


def test_an_unknown_bend_names_the_nearest():
    with pytest.raises(UnknownName, match="did you mean swiglu"):
        MLP(8, activation="swigu")
