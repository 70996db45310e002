"""Every model is causal, and decoding with a cache gives what a single pass gives."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

from nhin.attention.position_registry import POSITIONS
from nhin.attention.registry import MECHANISMS
from nhin.errors import ShapeError, UsageError
from nhin.layers.presets import PRESETS
from nhin.models.build import build_lm
from nhin.models.config import ModelConfig

CONTEXT = 12
TIGHT = {
    "window": {"window": 3},
    "dilated": {"window": 2, "dilation": 2},
    "sinks": {"window": 2, "sinks": 1},
    "longformer": {"window": 2, "global_tokens": 1},
    "strided": {"stride": 3},
    "fixed": {"stride": 3, "summary": 1},
    "interleaved": {"stride": 3},
    "block-local": {"block": 3},
    "block-sparse": {"block": 3},
    "bigbird": {"block": 2, "window": 3, "globals": 1, "random": 1},
    "lsh": {"buckets": 4},
    "local-m": {"reach": 2},
    "local-p": {"reach": 2},
    "performer": {"features": 8},
}
VARIANTS = {
    name: {"mechanism": name, "settings": TIGHT.get(name, {})}
    for name, mechanism in MECHANISMS.items()
    if "decode" in mechanism.facts.abilities
}
VARIANTS |= {
    f"preset {name}": {"preset": name, "settings": {"window": 3} if name == "mistral" else {}}
    for name, preset in PRESETS.items()
    if preset.causal
}
VARIANTS |= {
    f"position {name}": {"positions": name}
    for name, position in POSITIONS.items()
    if position.where != "scores" and not name.endswith("2d")
}
VARIANTS |= {
    "none": {"positions": "none"},
    "post": {"norm_order": "post", "norm": "scale"},
    "deep": {"norm_order": "deep", "qk_norm": True},
    "experts": {"experts": 4, "mlp": "swiglu"},
    "only attention": {"mlp": "none", "final_norm": False, "heads": 1},
    "grouped": {"kv_heads": 1, "mlp": "relu2", "tie_embeddings": False, "bias": True},
}
each = pytest.mark.parametrize("name", VARIANTS)


def built(name, dtype=torch.float64, context=CONTEXT):
    """Build a model whose weights are so large that every part affects the output."""
    torch.manual_seed(0)
    model = build_lm(
        11, ModelConfig(**{"depth": 2, "dim": 16, "heads": 2, "context": context} | VARIANTS[name])
    )
    with torch.no_grad():
        for p in model.parameters():
            p.add_(torch.randn_like(p) * 0.5)
    return model.to(dtype).eval()


@each
def test_no_later_token_changes_an_earlier_score(name):
    model, t = built(name), torch.randint(11, (2, 9))
    before, after = model(t), model(torch.cat([t[:, :5], (t[:, 5:] + 1) % 11], 1))
    assert_close(before[:, :5], after[:, :5])
    assert (before[:, 5:] - after[:, 5:]).abs().amax() > 1e-3


@each
def test_no_gradient_of_an_earlier_logit_reaches_a_later_token(name):
    model, t = built(name), torch.randint(11, (2, 9))
    x = model.embed(t).detach().requires_grad_()
    model.logits(model.run_blocks(x))[:, :5].square().sum().backward()
    assert (x.grad[:, 5:] == 0).all()
    assert (x.grad[:, :5].abs().sum(-1) > 0).all()


@each
def test_in_chunks_is_all_at_once(name):
    model, chunks = built(name), st.lists(st.integers(1, 5), min_size=1, max_size=6)

    @settings(max_examples=5)
    @given(cuts=chunks.filter(lambda cuts: sum(cuts) <= CONTEXT), batch=st.integers(1, 3))
    def holds(cuts, batch):
        t = torch.randint(11, (batch, sum(cuts)))
        with torch.inference_mode():
            cache = model.new_cache(batch)
            steps = [model(part, cache=cache) for part in t.split(cuts, 1)]
            assert_close(torch.cat(steps, 1), model(t), rtol=0, atol=1e-9)
        assert all(state.lengths == (sum(cuts),) * batch for state in cache)

    holds()


@each
def test_step_by_step_is_all_at_once_in_float32(name):
    model, t = built(name, torch.float32), torch.randint(11, (2, 9))
    with torch.inference_mode():
        cache = model.new_cache(2)
        steps = [model(part, cache=cache) for part in t.split(1, 1)]
        assert_close(torch.cat(steps, 1), model(t), rtol=1e-3, atol=1e-3)


@each
def test_rows_of_different_lengths_go_on_as_if_alone(name):
    """The second piece is padded beyond the context, and nothing attends to the padding."""
    model, t = built(name), torch.randint(11, (3, CONTEXT + 3))
    first, more = (4, 7, 0), (5, 5, 8)
    with torch.inference_mode():
        cache = model.new_cache(3)
        start = model(t[:, :7], cache=cache, lengths=first)
        then = model(t[:, 7:], cache=cache, lengths=more)
        for row, (one, two) in enumerate(zip(first, more, strict=True)):
            alone = torch.cat([t[row, :one], t[row, 7 : 7 + two]])
            got = torch.cat([start[row, :one], then[row, :two]])
            assert_close(got, model(alone[None])[0], rtol=0, atol=1e-9)
        assert cache[0].lengths == (9, 12, 8)


@pytest.mark.parametrize("name", ["softmax", "window", "linear", "experts"])
def test_beams_and_snapshots(name):
    """Rows continue from other rows, and from a snapshot."""
    model, t = built(name), torch.randint(11, (3, 8))
    rows = torch.tensor([2, 0, 0])
    with torch.inference_mode():
        cache = model.new_cache(3)
        model(t[:, :5], cache=cache)
        snapshots = [state.snapshot() for state in cache]
        model(torch.zeros(3, 4, dtype=torch.long), cache=cache)
        for state, snapshot in zip(cache, snapshots, strict=True):
            state.restore(snapshot)
            state.reorder(rows)
        mixed = torch.cat([t[rows, :5], t[:, 5:]], 1)
        assert_close(model(t[:, 5:], cache=cache), model(mixed)[:, 5:])


@pytest.mark.parametrize("name", ["softmax", "position learned", "position sinusoidal", "linear"])
def test_a_full_cache_is_refused_and_stays_as_it_was(name):
    model, t = built(name), torch.randint(11, (2, CONTEXT + 1))
    with torch.inference_mode():
        cache = model.new_cache(2)
        model(t[:, :9], cache=cache)
        with pytest.raises(ShapeError, match="13 tokens are more than the context of 12; shorten the text"):
            model(t[:, 9:], cache=cache)
        assert_close(model(t[:, 9:12], cache=cache), model(t[:, :12])[:, 9:])
        small = model.new_cache(2, 3)
        with pytest.raises(ShapeError, match="the cache is full: 0 of 3 positions taken, 4 more came"):
            model(t[:, :4], cache=small)


def test_a_cache_passes_no_gradient():
    model = built("softmax")
    with pytest.raises(UsageError, match="inference_mode"):
        model(torch.zeros(1, 2, dtype=torch.long), cache=model.new_cache(1))


@pytest.mark.parametrize("name", ["softmax", "preset gpt2"])
def test_no_rows_give_no_rows(name):
    model, none = built(name), torch.zeros(0, 3, dtype=torch.long)
    with torch.inference_mode():
        assert model(none).shape == model(none, cache=model.new_cache(0)).shape == (0, 3, 11)
