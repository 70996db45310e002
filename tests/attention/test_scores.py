"""Bahdanau's and Luong's scores by hand: one query, one key, one unit at a time."""

import math

import pytest
import torch
from torch.testing import assert_close

from nhin.attention import pair_scores
from nhin.attention.alignment import base
from nhin.attention.alignment.base import SCORES, additive_scores
from nhin.attention.alignment.global_attention import GlobalAttention
from nhin.attention.registry import build
from nhin.errors import ShapeError, UnknownName

D = 5
NAMES = list(SCORES)
each = pytest.mark.parametrize("name", NAMES)


def additive(m, q, k, s):
    return sum(
        m.score.vector[i] * torch.tanh(m.score.query.weight[i] @ q + m.score.key.weight[i] @ k)
        for i in range(D)
    )


def concat(m, q, k, s):
    both = torch.cat([q, k])
    return sum(m.score.vector[i] * torch.tanh(m.score.weight.weight[i] @ both) for i in range(D))


def general(m, q, k, s):
    return sum(q[i] * m.score.weight[i, j] * k[j] for i in range(D) for j in range(D))


BY_HAND = {
    "dot": lambda m, q, k, s: sum(q[i] * k[i] for i in range(D)),
    "general": general,
    "additive": additive,
    "concat": concat,
    "location": lambda m, q, k, s: m.score.weight[s] @ q,
}


def made(name, **settings):
    torch.manual_seed(1)
    return build(name, head_dim=D, **settings).double()


def draw(t=4, s=6, groups=1, each=2, b=2):
    q = torch.randn(b, t, groups * each, D, dtype=torch.float64)
    k, v = torch.randn(2, b, s, groups, D, dtype=torch.float64)
    return [x.clone().requires_grad_() for x in (q, k, v)]


def by_hand(mechanism, score, q, k, v):
    """Mix values by exponentials of scores, pair by pair."""
    out = torch.zeros_like(q)
    for b, t, h in torch.cartesian_prod(*(torch.arange(n) for n in q.shape[:3])).tolist():
        g = h // (q.shape[2] // k.shape[2])
        weights = [torch.exp(score(mechanism, q[b, t, h], k[b, s, g], s)) for s in range(k.shape[1])]
        out[b, t, h] = sum(w * v[b, s, g] for s, w in enumerate(weights)) / sum(weights)
    return out


def test_every_score_has_a_name_in_the_table_and_a_hand():
    assert BY_HAND.keys() == SCORES.keys()


@each
def test_the_score_is_the_formula_by_hand(name):
    mechanism, inputs = made(name), draw()
    want = by_hand(mechanism, BY_HAND[name], *inputs)
    learned = [*inputs, *mechanism.parameters()]
    out = mechanism(*inputs)
    assert_close(out, want)
    got, expected = (torch.autograd.grad(x.sin().sum(), learned, materialize_grads=True) for x in (out, want))
    assert_close(got, expected)


@each
def test_gradients_are_those_of_finite_differences(name):
    mechanism, inputs = made(name), draw(2, 3, b=1)
    assert torch.autograd.gradcheck(mechanism, inputs)


@each
def test_global_reach_with_a_score_is_that_score(name):
    inputs = draw()
    alone, one = made(name), GlobalAttention(D, name).double()
    one.load_state_dict(alone.state_dict())
    assert_close(one(*inputs, causal=True), alone(*inputs, causal=True))


def test_dot_is_softmax_of_queries_as_long_as_the_scale_makes_them():
    q, k, v = draw()
    assert_close(made("dot")(q, k, v), build("softmax")(q * math.sqrt(D), k, v))


def test_general_with_the_scaled_identity_is_softmax():
    mechanism, inputs = made("general"), draw()
    with torch.no_grad():
        mechanism.score.weight.copy_(torch.eye(D) / math.sqrt(D))
    assert_close(mechanism(*inputs), build("softmax")(*inputs))


def test_concat_with_the_halves_side_by_side_is_additive():
    one, other, inputs = made("additive"), made("concat"), draw()
    with torch.no_grad():
        other.score.weight.weight.copy_(torch.cat([one.score.query.weight, one.score.key.weight], 1))
        other.score.vector.copy_(one.score.vector)
    assert_close(one(*inputs), other(*inputs))


@pytest.mark.parametrize("name", ["additive", "concat"])
def test_additive_scores_stay_within_the_sum_of_their_vector(name):
    mechanism, (q, k, _) = made(name), draw()
    scores = mechanism.explain(q * 1e6, k * 1e6, k)["scores"]
    assert (scores.abs() <= mechanism.score.vector.abs().sum() + 1e-9).all()


@pytest.mark.parametrize("fault", [lambda m, q, k, s: BY_HAND["concat"](m, k, q, s), BY_HAND["dot"]])
def test_halves_the_wrong_way_round_and_another_score_are_caught(fault):
    mechanism, inputs = made("concat"), draw()
    with pytest.raises(AssertionError):
        assert_close(mechanism(*inputs), by_hand(mechanism, fault, *inputs))


def test_location_looks_at_no_key():
    mechanism, (q, k, v) = made("location"), draw()
    assert_close(mechanism.weights(q, k), mechanism.weights(q, torch.randn_like(k)))
    assert_close(torch.autograd.grad(mechanism(q, k, v).sum(), k, materialize_grads=True)[0], k * 0)


def test_location_uses_its_first_rows_and_refuses_more_places_than_it_has():
    mechanism, (q, k, _) = made("location", context=6), draw()
    whole = torch.einsum("bthd,sd->bhts", q, mechanism.score.weight)
    assert_close(mechanism.weights(q, k[:, :3]), whole[..., :3].softmax(-1))
    with pytest.raises(ShapeError, match=r"7 keys.*context=6.*context=7"):
        mechanism(q, *draw(4, 7)[1:])


def test_blocks_of_queries_change_nothing_and_hold_little(monkeypatch):
    mechanism, inputs = made("additive"), draw(9, 7)
    learned = [*inputs, *mechanism.parameters()]
    want = torch.autograd.grad(mechanism(*inputs).sin().sum(), learned)
    made_at_once = []

    def counted(q, k, vector):
        made_at_once.append(q.shape[1])
        return pairs(q, k, vector)

    pairs = base.additive_scores
    monkeypatch.setattr(base, "additive_scores", counted)
    monkeypatch.setattr(pair_scores, "MAX_TABLE_ENTRIES", 2 * 2 * 2 * 7 * D)
    assert_close(torch.autograd.grad(mechanism(*inputs).sin().sum(), learned), want)
    assert max(made_at_once) == 2
    assert sum(made_at_once) == 2 * 9  # once forward, once more for gradients


def test_a_long_sum_keeps_no_table_of_hidden_units(monkeypatch):
    kept = []
    monkeypatch.setattr(pair_scores, "MAX_TABLE_ENTRIES", 2**12)
    q, k = (torch.randn(1, 64, 1, 16, requires_grad=True) for _ in range(2))
    with torch.autograd.graph.saved_tensors_hooks(lambda x: kept.append(x.numel()) or x, lambda x: x):
        pair_scores.score_pairs(additive_scores, q, k, torch.randn(16))
    assert max(kept) < 64 * 64


@each
def test_the_explanation_begins_with_what_the_score_makes_of_its_inputs(name):
    told = made(name).explain(*draw(), causal=True)
    first = {"additive": "projected_queries", "concat": "projected_queries", "general": "projected_queries"}
    assert next(iter(told)) == first.get(name, "scores")
    assert_close(told["weights"].sum(-1), torch.ones_like(told["weights"].sum(-1)))
    assert list(told)[-4:] == ["scores", "visible", "weights", "output"]


def test_bad_settings_are_refused():
    with pytest.raises(UnknownName, match="did you mean general"):
        build("global", head_dim=D, score="genral")
    with pytest.raises(ShapeError, match="context is 0; give at least 1"):
        build("location", head_dim=D, context=0)
    with pytest.raises(ShapeError, match=r"head_dim is 4 in q.*head_dim=4"):
        made("additive")(*(x[..., :4] for x in draw()))
