"""Gradients of every sample of a batch, by torch.func, are those of one backward pass each."""

import pytest
import torch
from torch.func import functional_call, grad, vmap
from torch.testing import assert_close

from nhin.models.build import build_lm
from nhin.models.config import ModelConfig

VARIANTS = {
    "plain": {},
    "linear": {"mechanism": "linear", "positions": "sinusoidal"},
    "experts": {"experts": 3},
    "memory": {"memory": 2},
    "recomputed": {"checkpointing": True},
}


@pytest.mark.parametrize("name", VARIANTS)
def test_per_sample_gradients_are_those_of_each_sample_alone(name):
    torch.manual_seed(0)
    config = ModelConfig(**{"depth": 1, "dim": 8, "heads": 2, "context": 6} | VARIANTS[name])
    model = build_lm(7, config).double()
    weights = {key: x.detach() for key, x in model.named_parameters()}
    tokens = torch.randint(7, (3, 7))

    def loss(weights, tokens):
        logits = functional_call(model, weights, (tokens[None, :-1],))
        losses = -logits.log_softmax(-1).gather(-1, tokens[None, 1:, None]).mean()
        return losses if model.balance_loss() is None else losses + model.balance_loss()

    each = vmap(grad(loss), in_dims=(None, 0))(weights, tokens)
    for row, sample in enumerate(tokens):
        model.zero_grad()
        loss(dict(model.named_parameters()), sample).backward()
        for key, p in model.named_parameters():
            assert_close(each[key][row], torch.zeros_like(p) if p.grad is None else p.grad)
