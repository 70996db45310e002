"""MLPs: their activations, with about as many weights."""

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


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("bias", [False, True])
def test_an_mlp_is_its_formula(activation, bias):
    mlp, x = MLP(9, activation=activation, bias=bias), torch.randn(2, 3, 9)
    weights = dict(mlp.named_parameters())
    wide = x @ weights["up_proj.weight"].T + (weights["up_proj.bias"] if bias else 0.0)
    want = FORMULAS[activation](wide) @ weights["down_proj.weight"].T + (
        weights["down_proj.bias"] if bias else 0.0
    )
    assert_close(mlp(x), want)


def test_all_activations_have_about_as_many_weights():
    sizes = [
        sum(p.numel() for p in MLP(96, activation=activation, bias=False).parameters())
        for activation in ACTIVATIONS
    ]
    assert max(sizes) <= 1.05 * min(sizes)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_the_hidden_width_may_be_set(activation):
    mlp = MLP(6, activation=activation, hidden_dim=11)
    assert mlp.down_proj.in_features == 11
    assert mlp(torch.randn(2, 6)).shape == (2, 6)


def test_an_unknown_activation_names_the_nearest():
    with pytest.raises(UnknownName, match="did you mean swiglu"):
        MLP(8, activation="swigu")
