"""Early exit: never exiting is the plain model, and decoding exits where a single pass does."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

from nhin.errors import UsageError
from nhin.models.config import ModelConfig
from nhin.models.early_exit import NEVER_EXIT, EarlyExitGPT
from nhin.models.gpt import GPT, cross_entropy

VARIANTS = {
    "softmax": {},
    "window": {"mechanism": "window", "settings": {"window": 3}},
    "linear": {"mechanism": "linear"},
    "learned": {"positions": "learned"},
    "post": {"norm_order": "post"},
    "experts": {"experts": 3},
}
each = pytest.mark.parametrize("name", VARIANTS)


def built(name="softmax", confidence=NEVER_EXIT, **changes):
    """Build a model whose tokens exit at different depths at a confidence of about 0.5."""
    torch.manual_seed(0)
    config = {"depth": 4, "dim": 16, "heads": 2, "context": 12, "exits": True} | VARIANTS[name] | changes
    model = EarlyExitGPT(7, ModelConfig(**config))
    with torch.no_grad():
        for p in model.parameters():
            p.add_(torch.randn_like(p) * 0.4)
    model.confidence = confidence
    return model.double().eval()


def exits_by_rule(model, t):
    """Return logits and depths by the rule itself: all blocks for all, then confident tokens restored."""
    x = model.embed(t)
    depths = torch.zeros(t.shape, dtype=torch.long)
    exited = torch.zeros(t.shape, dtype=torch.bool)
    for one in model.blocks:
        out = one(x, causal=True)
        depths += ~exited
        x = torch.where(exited[..., None], x, out)
        exited |= model.logits(x).softmax(-1).amax(-1) >= model.confidence
    return model.logits(x), depths


@each
def test_never_exiting_is_the_plain_model_exactly(name):
    model, t = built(name), torch.randint(7, (2, 12))
    plain = GPT(7, model.config).double().eval()
    plain.load_state_dict(model.state_dict())
    assert torch.equal(model(t), plain(t))
    assert model.depth_counts.sum() == 0
    model.confidence = 0.4
    assert not torch.equal(model(t), plain(t))
    assert torch.equal(model.train()(t), plain(t))


@each
@pytest.mark.parametrize("confidence", [0.0, 0.4, 0.6, 0.9])
def test_tokens_exit_once_they_are_confident(name, confidence):
    model, t = built(name, confidence), torch.randint(7, (20, 12))
    with torch.inference_mode():
        want, depths = exits_by_rule(model, t)
        assert_close(model(t), want)
    assert torch.equal(model.depth_counts, torch.bincount(depths.flatten(), minlength=5))
    assert model.mean_depth == pytest.approx(depths.double().mean().item())
    assert confidence in (0.0, 0.9) or len(depths.unique()) > 1


@each
def test_in_chunks_and_step_by_step_is_all_at_once(name):
    model = built(name)

    @settings(max_examples=8)
    @given(
        cuts=st.lists(st.integers(1, 4), min_size=1, max_size=6).filter(lambda cuts: sum(cuts) <= 12),
        confidence=st.floats(0.2, 0.95),
        batch=st.integers(1, 3),
    )
    def holds(cuts, confidence, batch):
        model.confidence = confidence
        t = torch.randint(7, (batch, sum(cuts)))
        with torch.inference_mode():
            model.depth_counts.zero_()
            want, once = model(t), model.depth_counts.clone()
            model.depth_counts.zero_()
            cache = model.new_cache(batch)
            steps = [model(part, cache=cache) for part in t.split(cuts, 1)]
        assert_close(torch.cat(steps, 1), want, rtol=0, atol=1e-9)
        assert torch.equal(model.depth_counts, once)

    holds()


def test_rows_of_different_lengths_go_on_as_if_alone_and_padding_counts_for_nothing():
    model, t = built(confidence=0.5), torch.randint(7, (2, 8))
    with torch.inference_mode():
        cache = model.new_cache(2)
        start = model(t[:, :5], cache=cache, lengths=(5, 2))
        then = model(t[:, 5:], cache=cache)
        assert model.depth_counts.sum() == 13
        short = torch.cat([t[1:, :2], t[1:, 5:]], 1)
        assert_close(torch.cat([start[0], then[0]]), model(t[:1])[0])
        assert_close(torch.cat([start[1, :2], then[1]]), model(short)[0])


def test_a_decoding_step_of_a_confident_token_runs_no_mlp_after_its_exit():
    model, t = built(confidence=0.0), torch.randint(7, (2, 4))
    ran = []
    for number, one in enumerate(model.blocks):
        one.mlp.register_forward_hook(lambda *_, number=number: ran.append(number))
    with torch.inference_mode():
        cache = model.new_cache(2)
        for step in t.split(1, 1):
            model(step, cache=cache)
    assert ran == [0] * 4
    assert all(state.lengths == (4, 4) for state in cache)
    assert model.mean_depth == 1.0


def test_no_later_token_changes_an_earlier_score_or_exit():
    model, t = built(confidence=0.5), torch.randint(7, (2, 9))
    with torch.inference_mode():
        changed = torch.cat([t[:, :5], (t[:, 5:] + 1) % 7], 1)
        assert_close(model(t)[:, :5], model(changed)[:, :5])


def test_the_loss_weighs_every_exit_by_its_depth():
    model, t = built(), torch.randint(7, (2, 12))
    x, losses = model.embed(t), []
    for one in model.blocks:
        x = one(x, causal=True)
        losses.append(cross_entropy(model.logits(x), t))
    parts = model.loss(t, t)
    assert_close(parts["loss"], sum(losses[i] * (i + 1) for i in range(4)) / 10)
    assert_close(parts["nats"], losses[-1])
    # A plain model of the same weights has the last one's loss.
    plain = GPT(7, model.config).double()
    plain.load_state_dict(model.state_dict())
    assert_close(plain.loss(t, t)["loss"], parts["nats"])


def test_every_exit_learns():
    """Texts that count modulo 6: after training the first exit is often confident enough."""
    torch.manual_seed(0)
    model = EarlyExitGPT(6, ModelConfig(depth=2, dim=16, heads=1, context=9, exits=True))
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    for _ in range(250):
        t = torch.randint(6, (32, 1)).add(torch.tensor([0, 1, 2] * 3)).remainder(6)
        optimizer.zero_grad()
        model.loss(t[:, :-1], t[:, 1:])["loss"].backward()
        optimizer.step()
    model.eval().confidence = 0.9
    with torch.inference_mode():
        right = model(t[:, :-1]).argmax(-1)[:, 3:] == t[:, 4:]
    assert right.all()
    assert model.mean_depth < 1.9  # of 2


@pytest.mark.parametrize("confidence", [-0.1, float("nan")])
def test_a_confidence_that_means_nothing_is_refused(confidence):
    model = built(confidence=0.5)
    with pytest.raises(UsageError, match=f"confidence is {confidence}; give 0"):
        model.confidence = confidence
    assert model.confidence == 0.5
    assert model.mean_depth == 0.0
