"""The language model: a single layer by its formula, its loss, its explanation."""

import copy
import math

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from nhin.errors import ShapeError
from nhin.models.build import build_lm
from nhin.models.config import ModelConfig
from nhin.models.gpt import GPT

MODEL3 = ModelConfig(
    depth=1, dim=64, heads=1, context=8, positions="learned", norm="layer", final_norm=False, mlp="none"
)
SMALL = ModelConfig(depth=2, dim=16, heads=2, context=12)


def tokens(vocab, *shape):
    return torch.randint(vocab, shape)


def perturb(model):
    """Draw weights so large that every part affects the output; initial weights are close to zero."""
    with torch.no_grad():
        for p in model.parameters():
            p.add_(torch.randn_like(p) * 0.5)
    return model.double().eval()


def test_model_3_is_its_formula():
    """Token and position embeddings, a norm, one head without bias, the sum, the embedding again."""
    model = perturb(GPT(19, MODEL3))
    weights = dict(model.named_parameters())
    assert not any("bias" in name for name in weights if "attention" in name)
    t = tokens(19, 2, 8)
    x = weights["embedding.weight"][t] + weights["positions.table"]
    normed = nn.functional.layer_norm(
        x, (64,), weights["blocks.0.norm.weight"], weights["blocks.0.norm.bias"]
    )
    q = normed @ weights["blocks.0.attention.query.weight"].T
    k, v = (normed @ weights["blocks.0.attention.key_value.weight"].T).chunk(2, -1)
    scores = (q @ k.mT / 8).masked_fill(~torch.ones(8, 8, dtype=torch.bool).tril(), -math.inf)
    x = x + scores.softmax(-1) @ v @ weights["blocks.0.attention.out.weight"].T
    assert_close(model(t), x @ weights["embedding.weight"].T)


def test_model_3_begins_at_the_loss_of_a_guess():
    """With PyTorch's own initialization of the embedding it would be several times that."""
    model = GPT(50257, MODEL3)
    t = tokens(50257, 5, 9)
    batch = t[:, :-1], t[:, 1:]
    with torch.no_grad():
        assert abs(model.loss(*batch)["loss"] - math.log(50257)) < 0.05
        nn.init.normal_(model.embedding.weight)
        assert model.loss(*batch)["loss"] > 3 * math.log(50257)


def test_model_3_explains_its_mask_and_attends_almost_evenly_at_first():
    model = GPT(50257, MODEL3).eval()
    steps = model.explain(tokens(50257, 5, 8))[0]
    weights = steps["weights"]
    assert_close(weights.sum(-1), torch.ones(5, 1, 8))
    assert (weights >= 0).all()
    assert torch.equal(weights > 0, torch.ones(8, 8, dtype=torch.bool).tril().expand(5, 1, 8, 8))
    entropy = -(weights * weights.clamp_min(1e-30).log()).sum(-1)
    assert_close(entropy, torch.arange(1, 9).log().expand(5, 1, 8), atol=1e-2, rtol=0)
    assert {"scores", "weights", "output"} <= steps.keys()


def test_any_length_after_any_other_up_to_the_context():
    model, t = perturb(GPT(19, MODEL3)), tokens(19, 2, 8)
    whole = model(t)
    for length in (8, 1, 5, 0, 7, 2, 8):
        assert_close(model(t[:, :length]), whole[:, :length])
        assert len(model.explain(t[:, :length])) == 1
    with pytest.raises(ShapeError, match="9 tokens are more than the context of 8; shorten the text"):
        model(tokens(19, 2, 9))


@pytest.mark.parametrize(
    "changes", [{"preset": "gpt2"}, {"mlp": "swiglu"}, {"experts": 3}, {"tie_embeddings": False}]
)
def test_a_state_dict_holds_all_of_a_model(changes):
    config = ModelConfig(depth=2, dim=16, heads=2, context=9, **changes)
    one, other, t = perturb(build_lm(7, config)), build_lm(7, config).double().eval(), tokens(7, 2, 9)
    other.load_state_dict(one.state_dict())
    assert torch.equal(other(t), one(t))
    assert ("head.weight" in one.state_dict()) == (changes == {"tie_embeddings": False})


@pytest.mark.parametrize("order", ["pre", "post", "deep"])
def test_explaining_follows_what_the_model_does(order):
    """The last block's output, mixed and added by hand, is the model's."""
    model = perturb(GPT(7, ModelConfig(depth=2, dim=16, heads=2, context=9, norm_order=order, mlp="none")))
    t, (first, last) = tokens(7, 2, 6), model.blocks
    x = first(model.embed(t), causal=True)
    steps = model.explain(t)
    mixed = last.attention.out(steps[1]["output"].flatten(2))
    want = x + mixed if order == "pre" else last.norm(last.alpha * x + mixed)
    assert_close(model.logits(want), model(t))


def test_dropout_acts_in_training_only():
    model, t = GPT(7, ModelConfig(depth=1, dim=16, context=9, dropout=0.5)), tokens(7, 2, 9)
    assert not torch.equal(model(t), model(t))
    model.eval()
    assert torch.equal(model(t), model(t))


def test_ignored_targets_do_not_count_in_the_loss():
    model, t, targets = perturb(GPT(7, SMALL)), tokens(7, 2, 9), tokens(7, 2, 9)
    targets[0, 3:] = -100
    valid = targets != -100
    want = -model(t).log_softmax(-1)[valid].gather(-1, targets[valid, None]).mean()
    assert_close(model.loss(t, targets), {"loss": want}, check_dtype=False)


def test_the_balance_of_experts_is_added_to_the_loss_and_returned():
    config = ModelConfig(depth=2, dim=16, heads=2, context=9, experts=3, balance_loss=0.5)
    model, t = perturb(GPT(7, config)), tokens(7, 2, 9)
    parts = model.loss(t, t)
    balances = [one.mlp.balance_loss for one in model.blocks]
    assert_close(parts["balance"], sum(balances) / 2)
    assert_close(parts["loss"], parts["nats"] + 0.5 * parts["balance"], check_dtype=False)
    assert_close(parts["nats"], nn.functional.cross_entropy(model(t).flatten(0, 1), t.flatten()).float())


def saved_bytes(model, t):
    """Return the loss, its gradients, and the bytes saved for the backward pass."""
    torch.manual_seed(1)
    saved = {}

    def save(x):
        saved[x.untyped_storage().data_ptr()] = x.untyped_storage().nbytes()
        return x

    with torch.autograd.graph.saved_tensors_hooks(save, lambda x: x):
        loss = model.loss(t, t)["loss"]
    weights = {p.untyped_storage().data_ptr() for p in model.parameters()}
    size = sum(size for where, size in saved.items() if where not in weights)
    return loss, torch.autograd.grad(loss, list(model.parameters())), size


@pytest.mark.parametrize("changes", [{}, {"experts": 3}, {"dropout": 0.3}, {"exits": True}, {"memory": 2}])
def test_checkpointing_is_the_same_bit_for_bit_and_saves_less(changes):
    models = [
        build_lm(7, ModelConfig(depth=4, dim=32, heads=2, context=16, checkpointing=on, **changes))
        for on in (False, True)
    ]
    models[1].load_state_dict(models[0].state_dict())
    t = tokens(7, 4, 32 if "memory" in changes else 16)
    (loss, grads, size), (same, again, less) = (saved_bytes(model, t) for model in models)
    assert torch.equal(loss, same)
    assert all(torch.equal(a, b) for a, b in zip(grads, again, strict=True))
    assert less < size / 3


def test_a_copy_of_a_trained_model_answers_alike():
    t = tokens(7, 2, 9)
    for changes in ({}, {"experts": 3}, {"memory": 2}, {"exits": True}):
        model = build_lm(7, ModelConfig(depth=2, dim=16, heads=2, context=9, **changes))
        model.loss(t, t)["loss"].backward()
        assert torch.equal(copy.deepcopy(model)(t), model(t))


def test_depth_0_depends_on_the_last_token_alone():
    model = perturb(GPT(7, ModelConfig(depth=0, context=9, tie_embeddings=False)))
    t = tokens(7, 2, 9)
    table = model(torch.arange(7)[:, None])[:, 0]
    assert_close(model(t), table[t])
    assert_close(model(t[:, 4:], cache=model.new_cache(2)), table[t[:, 4:]])


@pytest.mark.compiled
@pytest.mark.parametrize(
    "changes", [{}, {"preset": "gpt2"}, {"qk_norm": True, "mlp": "swiglu"}, {"exits": True}]
)
def test_it_compiles_whole(changes):
    model = perturb(build_lm(7, ModelConfig(depth=1, dim=16, heads=2, context=600, **changes)))
    # The backward pass of the plain model is traced too, which takes longer than all the rest.
    compiled = torch.compile(model, fullgraph=True, backend="eager" if changes else "aot_eager")
    t = tokens(7, 2, 560)
    assert_close(compiled(t), model(t))
    loss = compiled(t).logsumexp(-1).mean()
    loss.backward()
    assert all(p.grad is not None for p in model.parameters())
