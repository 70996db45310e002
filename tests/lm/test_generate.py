"""Laws of going on with a text: one answer with a cache and without, also where the context ends."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from runs import TINY

from nhin.attention.position_registry import POSITIONS
from nhin.attention.registry import MECHANISMS
from nhin.decoding.beam_search import BeamSearchConfig
from nhin.decoding.sampling import Sampler, SamplingParams
from nhin.errors import Diverged, UsageError
from nhin.layers.presets import PRESETS
from nhin.lm.generate import CachedDecoder, UncachedDecoder, beam_search, generate
from nhin.models.build import build_lm

VOCAB = 23
WAYS = (SamplingParams(temperature=0), SamplingParams(seed=2, top_k=19, top_p=0.95, min_p=0.01))
PROMPT = [3, 1, 4, 1, 5]
CAUSAL = [name for name, made in MECHANISMS.items() if "causal" in made.facts.abilities]
IN_TEXTS = ["none", *(name for name in POSITIONS if not name.endswith("2d"))]
LM_PRESETS = [name for name, preset in PRESETS.items() if preset.causal]


def model(vocab=VOCAB, **changes):
    """Build a model whose scores are far apart, in double precision: no choice hangs on rounding."""
    built = build_lm(vocab, replace(TINY, **{"context": 8} | changes)).double().eval()
    with torch.no_grad():
        for weight in built.parameters():
            if weight.ndim > 1:
                weight.normal_(0, 0.4)
    return built


def begins(length, context):
    """Return where reading starts: the first place from which no more than a context is looked at."""
    jump = context + 1 - max(1, context // 2)
    return next(start for start in range(0, length, jump) if length - start <= context)


def slowly(network, prompt, tokens, sampling, context):
    """Go on the obvious way: one call of the whole model for every token."""
    ids, choose = list(prompt), Sampler(sampling, prompt)
    for _ in range(tokens):
        with torch.no_grad():
            scores = network(torch.tensor([ids[begins(len(ids), context) :]]))[0, -1]
        ids.append(choose(scores.numpy()))
    return ids[len(prompt) :]


def texts(network, tokens=10, **settings):
    """Go on from one prompt in several ways."""
    return [list(generate(network, PROMPT, tokens=tokens, sampling=way, **settings)) for way in WAYS]


def same_cached_and_not(network, tokens=10):
    cached = texts(network, tokens)
    assert cached == texts(network, tokens, cache=False)
    assert all(len(text) == tokens for text in cached)
    return cached


@pytest.mark.parametrize("name", CAUSAL)
def test_a_cache_changes_no_token_of_any_mechanism(name):
    network = model(mechanism=name, positions="none")
    assert len(set(map(tuple, same_cached_and_not(network)))) == len(WAYS)


@pytest.mark.parametrize("name", IN_TEXTS)
def test_a_cache_changes_no_token_of_any_position(name):
    same_cached_and_not(model(positions=name))


@pytest.mark.parametrize("name", LM_PRESETS)
def test_a_cache_changes_no_token_of_any_preset(name):
    same_cached_and_not(model(preset=name, dim=64, heads=8))


@pytest.mark.parametrize(
    "parts",
    [
        {"depth": 0},
        {"depth": 1, "heads": 1, "mlp": "none", "final_norm": False},
        {"kv_heads": 1, "qk_norm": True, "mlp": "swiglu"},
        {"norm_order": "post", "norm": "layer", "bias": True, "tie_embeddings": False},
        {"norm_order": "deep", "norm": "scale"},
        {"experts": 4, "mlp": "relu2"},
        {"exits": True},
        {"context": 1},
        {"context": 2},
        {"context": 7},
        {"memory": 2, "context": 6, "segments": 2},
    ],
    ids=lambda parts: "-".join(parts) + str(parts.get("context", "")),
)
def test_a_cache_changes_no_token_whatever_the_model_is_made_of(parts):
    network = model(**parts)
    prompt = PROMPT[: network.context]
    for way in WAYS:
        one, two = (
            list(generate(network, prompt, tokens=12, sampling=way, cache=cache)) for cache in (True, False)
        )
        assert one == two


def test_a_cache_changes_no_token_where_places_leave_early():
    network = model(exits=True, depth=3)
    network.confidence = 0.5
    same_cached_and_not(network)
    assert network.depth_counts[1:-1].sum() > 0


@settings(max_examples=6)
@given(context=st.integers(1, 12), start=st.integers(1, 12), tokens=st.integers(1, 20))
def test_what_is_looked_at_starts_where_the_length_says(context, start, tokens):
    torch.manual_seed(0)
    network, prompt = model(context=context), list(range(1, min(start, context) + 1))
    for way in WAYS:
        want = slowly(network, prompt, tokens, way, context)
        assert list(generate(network, prompt, tokens=tokens, sampling=way)) == want
        assert list(generate(network, prompt, tokens=tokens, sampling=way, cache=False)) == want


def test_a_model_with_memory_never_forgets_where_it_is():
    """It reads any length, so nothing is cut off: each answer is that of the whole text."""
    network = model(memory=2, context=6, segments=2)
    prompt = PROMPT * 5
    assert len(prompt) > network.context
    text = list(generate(network, prompt, tokens=20, sampling=WAYS[0]))
    with torch.no_grad():
        scores = network(torch.tensor([prompt + text]))[0]
    assert text == scores[len(prompt) - 1 : -1].argmax(-1).tolist()


def test_with_a_cache_a_token_is_read_once_until_the_context_is_full(monkeypatch):
    network, read = model(), []
    hidden = network.hidden
    monkeypatch.setattr(
        network, "hidden", lambda tokens, **more: read.append(tokens.shape[1]) or hidden(tokens, **more)
    )
    list(generate(network, PROMPT, tokens=20))
    # The context is 8; then the latest 4 are encoded again, and one by one until there are 8.
    assert read == [5, 1, 1, 1, *[4, 1, 1, 1, 1] * 3, 4]
    read.clear()
    list(generate(network, PROMPT, tokens=20, cache=False))
    assert read == [5, 6, 7, 8, *[4, 5, 6, 7, 8] * 3, 4]


def test_logits_are_computed_for_the_last_position_alone(monkeypatch):
    network, shapes = model(), []
    logits = network.logits
    monkeypatch.setattr(network, "logits", lambda x: shapes.append(tuple(x.shape[:2])) or logits(x))
    list(generate(network, PROMPT, tokens=9, cache=False))
    assert set(shapes) == {(1, 1)}


def test_a_cache_has_room_for_the_text_and_no_more(monkeypatch):
    network, made = model(context=4096).float(), []
    new_cache = network.new_cache
    monkeypatch.setattr(network, "new_cache", lambda *room: made.append(new_cache(*room)) or made[-1])
    list(generate(network, PROMPT, tokens=15))
    assert [state.size for state in made[0]] == [2 * 20 * 16 * 4] * 2
    assert len(made) == 1


@pytest.mark.parametrize("kind", [CachedDecoder, UncachedDecoder])
def test_without_a_limit_there_is_room_for_any_text(kind):
    for network in (model(), model(memory=1, context=6, segments=2)):
        one, two = kind(network), kind(network, max_length=29)
        np.testing.assert_allclose(one.start(PROMPT), two.start(PROMPT), rtol=1e-6)
        for id in range(24):
            np.testing.assert_allclose(one.step(id % VOCAB), two.step(id % VOCAB), rtol=1e-6)


@pytest.mark.parametrize("tokens", [1, 7])
def test_a_text_ends_at_its_length_or_with_the_first_stop(tokens):
    network = model()
    whole = list(generate(network, PROMPT, tokens=tokens, sampling=SamplingParams(seed=4)))
    assert len(whole) == tokens
    stop = whole[-1]
    text = list(generate(network, PROMPT, tokens=tokens, sampling=SamplingParams(seed=4), stop={stop}))
    assert text == whole[: whole.index(stop) + 1]


def test_the_last_token_is_not_read():
    """Nobody asks what would come after it."""
    network, read = model(), []
    hidden = network.hidden
    network.hidden = lambda tokens, **more: read.append(tokens.shape[1]) or hidden(tokens, **more)
    list(generate(network, PROMPT, tokens=1))
    assert read == [5]


def test_between_tokens_gradients_are_as_they_were():
    network = model()
    text = generate(network, PROMPT, tokens=5)
    next(text)
    assert not torch.is_inference_mode_enabled()
    assert torch.is_grad_enabled()
    network(torch.tensor([PROMPT])).sum().backward()
    assert len(list(text)) == 4


def test_numbers_of_any_width_are_sampled():
    network = model().to(torch.bfloat16)
    assert len(list(generate(network, PROMPT, tokens=20, sampling=SamplingParams(seed=1)))) == 20


class Counting:
    """Scores by no network: the token after the last one is sure."""

    def start(self, ids):
        return self.step(ids[-1])

    def step(self, id):
        return np.where(np.arange(VOCAB) == (id + 1) % VOCAB, 0.0, -np.inf)


def test_whatever_scores_tokens_can_go_on():
    assert list(generate(Counting(), [20], tokens=5)) == [21, 22, 0, 1, 2]


def test_the_prompt_counts_as_read():
    class Same(Counting):
        def step(self, id):
            return np.array([1.5, 1.2, 1.0])

    way = SamplingParams(temperature=0, repetition_penalty=2.0)
    assert list(generate(Same(), [0], tokens=2, sampling=way)) == [1, 2]


@pytest.mark.parametrize("name", ["softmax", "window", "linear", "lsh", "strided"])
@pytest.mark.parametrize("width", [1, 3])
def test_beams_find_the_same_with_a_cache_and_without(name, width):
    network = model(mechanism=name, positions="rotary")
    beams = BeamSearchConfig(width, 12, stop={7})
    cached, not_cached = (beam_search(network, PROMPT, beams, cache=cache) for cache in (True, False))
    assert [one.ids for one in cached] == [one.ids for one in not_cached]
    np.testing.assert_allclose([x.score for x in cached], [x.score for x in not_cached], rtol=1e-4)
    if width == 1:
        greedy = list(generate(network, PROMPT, tokens=12, sampling=WAYS[0], stop={7}))
        assert list(cached[0].ids) == greedy


def test_beams_carry_a_memory_along():
    network = model(memory=2, context=6, segments=2)
    one, two = (beam_search(network, PROMPT, BeamSearchConfig(3, 20), cache=cache) for cache in (True, False))
    assert [x.ids for x in one] == [x.ids for x in two]


def test_a_beams_log_probability_is_that_of_its_text():
    network = model(context=16)
    found = beam_search(network, PROMPT, BeamSearchConfig(4, 9))
    assert len(found) == 4
    for text in found:
        with torch.no_grad():
            log_probs = network(torch.tensor([[*PROMPT, *text.ids]])).log_softmax(-1)[0]
        places = range(len(PROMPT) - 1, len(PROMPT) - 1 + len(text.ids))
        want = sum(log_probs[place, i].item() for place, i in zip(places, text.ids, strict=True))
        assert text.log_prob == pytest.approx(want, rel=1e-4)


@pytest.mark.parametrize("cache", [True, False])
def test_what_cannot_be_gone_on_with_is_refused_before_a_token_comes(cache):
    network = model()
    with pytest.raises(UsageError, match="10 tokens long and the model's context is 8; shorten it by 2"):
        generate(network, [1] * 10, tokens=3, cache=cache)
    with pytest.raises(UsageError, match="holds no token"):
        generate(network, [], tokens=3, cache=cache)
    with pytest.raises(UsageError, match="tokens is 0; give 1 or more"):
        generate(network, PROMPT, tokens=0, cache=cache)
    with pytest.raises(UsageError, match="training mode"):
        generate(network.train(), PROMPT, tokens=3, cache=cache)
    with pytest.raises(UsageError, match="training mode"):
        beam_search(network, PROMPT, BeamSearchConfig(2, 3), cache=cache)


def test_a_broken_model_is_said_to_be_broken():
    network = model()
    with torch.no_grad():
        network.embedding.weight[0] = float("nan")
    with pytest.raises(Diverged, match="NaN"):
        list(generate(network, PROMPT, tokens=3))
    with pytest.raises(Diverged, match="NaN"):
        beam_search(network, PROMPT, BeamSearchConfig(2, 3))
