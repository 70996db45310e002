"""Recurrent memory: it is all that passes from one segment to the next, and a model learns to use it."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

from nhin.errors import ShapeError, UsageError
from nhin.models.config import ModelConfig
from nhin.models.gpt import GPT, cross_entropy
from nhin.models.recurrent_memory import RecurrentMemoryGPT

SEGMENT = 4
VARIANTS = {
    "softmax": {},
    "window": {"mechanism": "window", "settings": {"window": 3}},
    "linear": {"mechanism": "linear"},
    "learned": {"positions": "learned", "norm": "layer"},
    "sinusoidal": {"positions": "sinusoidal"},
    "post": {"norm_order": "post", "final_norm": False},
    "experts": {"experts": 3},
    "one token": {"memory": 1},
}
each = pytest.mark.parametrize("name", VARIANTS)


def built(name="softmax", **changes):
    """Build a model whose weights are so large that every part affects the output."""
    torch.manual_seed(0)
    config = {"depth": 2, "dim": 16, "heads": 2, "context": SEGMENT, "memory": 3, "segments": 3}
    model = RecurrentMemoryGPT(7, ModelConfig(**config | VARIANTS[name] | changes))
    with torch.no_grad():
        for p in model.parameters():
            p.add_(torch.randn_like(p) * 0.4)
    return model.double().eval()


def tokens(length, batch=2):
    return torch.randint(7, (batch, length))


def by_hand(model, t):
    """Process segment after segment with the layers of the model, always updating the memory."""
    memory, out, m = model.memory.expand(len(t), -1, -1), [], model.config.memory
    for piece in t.split(SEGMENT, 1):
        x = torch.cat([memory, model.embedding(piece), memory], 1)
        x = x if model.positions is None else x + model.positions.table[: x.shape[1]]
        for one in model.blocks:
            x = one(x, causal=True)
        out.append(model.logits(x[:, m:-m]))
        memory = model.norm(x[:, -m:])
    return torch.cat(out, 1)


@each
@pytest.mark.parametrize("length", [1, 3, 4, 5, 8, 11, 17])
def test_it_is_its_formula_for_any_number_of_segments(name, length):
    model, t = built(name), tokens(length)
    assert_close(model(t), by_hand(model, t))


@each
def test_in_chunks_and_step_by_step_is_all_at_once(name):
    model = built(name)

    @settings(max_examples=6)
    @given(cuts=st.lists(st.integers(0, 9), min_size=1, max_size=6), batch=st.integers(1, 3))
    def holds(cuts, batch):
        t = tokens(sum(cuts), batch)
        with torch.inference_mode():
            cache = model.new_cache(batch)
            steps = [model(part, cache=cache) for part in t.split(cuts, 1)]
            assert_close(torch.cat(steps, 1), model(t), rtol=0, atol=1e-9)
        assert cache[0].lengths == (sum(cuts),) * batch

    holds()


def test_segments_meet_only_in_the_memory():
    model, t = built(), tokens(12)
    changed = torch.cat([(t[:, :4] + 1) % 7, t[:, 4:]], 1)
    assert (model(t)[:, 8:] - model(changed)[:, 8:]).abs().amax() > 1e-4
    model._to_memory = torch.zeros_like
    assert_close(model(t)[:, 4:], model(changed)[:, 4:])


def test_the_gradient_runs_back_through_the_memory():
    model, t = built(), tokens(12)
    outputs = []
    model.embedding.register_forward_hook(lambda _, __, out: outputs.append(out) or out.retain_grad())
    model(t)[:, 8:].square().sum().backward()
    assert all((x.grad.abs().sum(-1) > 0).all() for x in outputs)
    assert (model.memory.grad.abs().sum(-1) > 0).all()


def test_no_later_token_changes_an_earlier_score():
    model, t = built(), tokens(12)
    changed = torch.cat([t[:, :6], (t[:, 6:] + 1) % 7], 1)
    assert_close(model(t)[:, :6], model(changed)[:, :6])


@each
def test_the_loss_is_that_of_all_segments(name):
    model, t, targets = built(name), tokens(12), tokens(12)
    targets[0, 5:] = -100
    parts = model.loss(t, targets)
    assert_close(parts.get("nats", parts["loss"]), cross_entropy(model(t), targets))
    if "balance" in parts:
        assert_close(parts["loss"], parts["nats"] + 0.01 * parts["balance"], check_dtype=False)


def test_the_balance_is_the_mean_of_the_segments():
    model, t = built("experts"), tokens(8)
    balances = []
    for one in model.blocks:
        one.mlp.register_forward_hook(lambda layer, *_: balances.append(layer.balance_loss))
    balance = model.loss(t, t)["balance"]
    assert len(balances) == 4
    assert_close(balance, sum(balances) / 4)


def test_its_context_is_that_of_all_segments_and_it_is_unbounded():
    model = built()
    assert (model.context, model.unbounded) == (12, True)
    assert not GPT(7, ModelConfig(depth=1, dim=8)).unbounded


def test_the_cache_does_not_grow_with_the_text():
    model = built()
    with torch.inference_mode():
        cache = model.new_cache(2)
        size = cache[0].size
        model(tokens(50), cache=cache)
    assert cache[0].size == size == sum(s.size for s in cache[0].caches) + 2 * 3 * 16 * 8


@pytest.mark.parametrize("name", ["softmax", "window", "linear"])
@pytest.mark.parametrize("first", [0, 2, 4, 6, 8])
def test_restoring_and_reordering_the_cache(name, first):
    model, t = built(name), tokens(first + 7, 3)
    rows = torch.tensor([2, 0, 0])
    with torch.inference_mode():
        cache = model.new_cache(3)
        model(t[:, :first], cache=cache)
        snapshot = cache[0].snapshot()
        for _ in range(2):
            model(tokens(7, 3), cache=cache)
            cache[0].restore(snapshot)
        cache[0].reorder(rows)
        assert cache[0].lengths == (first,) * 3
        mixed = torch.cat([t[rows, :first], t[:, first:]], 1)
        assert_close(model(t[:, first:], cache=cache), model(mixed)[:, first:])


@pytest.mark.parametrize(("total", "length"), [(7, 5), (7, 4), (8, 4), (8, 8), (3, 0)])
def test_truncating_undoes_what_was_appended(total, length):
    model, t = built(), tokens(12)
    with torch.inference_mode():
        cache = model.new_cache(2)
        model(torch.cat([t[:, :length], tokens(total - length)], 1), cache=cache)
        cache[0].truncate(length)
        assert cache[0].lengths == (length, length)
        assert_close(model(t[:, length:], cache=cache), model(t)[:, length:])


def test_the_cache_refuses_what_it_cannot_do():
    model, t = built(), tokens(7)
    with torch.inference_mode():
        cache = model.new_cache(2)
        model(t, cache=cache)
        for length in (3, 8, -1):
            with pytest.raises(UsageError, match=f"7 tokens cannot be truncated to {length}: .* starts at 4"):
                cache[0].truncate(length)
        with pytest.raises(UsageError, match=r"lengths is \[7, 5\].*process texts of different lengths"):
            model(t, cache=cache, lengths=[7, 5])
        for foreign in ({}, cache[0].snapshot() | {"memory": torch.zeros(1)}):
            with pytest.raises(ShapeError, match="snapshot is of another"):
                cache[0].restore(foreign)
        with pytest.raises(UsageError, match="its own cache"):
            model(t, cache=GPT(7, model.config).new_cache(2))
        x = torch.zeros(2, 1, 2, 8)
        with pytest.raises(UsageError, match="belongs to a whole model"):
            cache[0].prefill(x, x, x)
        assert cache[0].lengths == (7, 7)
        more = tokens(3)
        assert_close(model(more, cache=cache), model(torch.cat([t, more], 1))[:, 7:])
    with pytest.raises(UsageError, match="inference_mode"):
        model(t, cache=model.new_cache(2))


def test_explaining_shows_the_last_segment_with_its_memory():
    model, t = built(depth=1, mlp="none"), tokens(10)
    steps = model.explain(t)[0]
    assert steps["weights"].shape == (2, 2, 5, 5)
    other = model.explain(torch.cat([(t[:, :4] + 1) % 7, t[:, 4:]], 1))[0]
    assert (steps["weights"] - other["weights"]).abs().amax() > 1e-4
    assert_close(model.explain(t[:, :2])[0]["weights"].sum(-1), torch.ones(2, 2, 5, dtype=torch.float64))


def recall_batch(batch, segments):
    """Return texts of a token and zeros, whose last target is that token."""
    t = torch.zeros(batch, segments * SEGMENT, dtype=torch.long)
    targets = torch.full_like(t, -100)
    t[:, 0] = targets[:, -1] = torch.randint(1, 5, (batch,))
    return t, targets


@pytest.mark.parametrize("blocked", [False, True])
def test_it_learns_to_carry_what_a_model_without_memory_cannot_know(blocked):
    config = ModelConfig(
        depth=1, dim=32, heads=2, context=SEGMENT, memory=1, segments=2, tie_embeddings=False
    )
    model = RecurrentMemoryGPT(5, config)
    if blocked:
        model._to_memory = torch.zeros_like
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    for _ in range(140):
        optimizer.zero_grad()
        loss = model.loss(*recall_batch(32, 2))["loss"]
        loss.backward()
        optimizer.step()
    if blocked:
        assert loss > 0.9 * math.log(4)
        return
    assert loss < 0.1
    # Nor does it forget it over more segments than it was trained on.
    for segments in (2, 3, 6):
        t, targets = recall_batch(64, segments)
        assert (model(t)[:, -1].argmax(-1) == targets[:, -1]).float().mean() > 0.9
