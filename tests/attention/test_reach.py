"""Where local alignments look, by hand: centres, windows and the Gaussian, place by place."""

import math

import pytest
import torch
from torch.testing import assert_close

from nhin.attention.alignment.local_monotonic import LocalMonotonic
from nhin.attention.alignment.local_predictive import LocalPredictive
from nhin.errors import ShapeError, UsageError

D = 4


def draw(t, s, b=2, groups=1, each=2):
    q = torch.randn(b, t, groups * each, D, dtype=torch.float64)
    k, v = torch.randn(2, b, s, groups, D, dtype=torch.float64)
    return [x.clone().requires_grad_() for x in (q, k, v)]


def monotonic(**settings):
    return LocalMonotonic(D, "dot", **settings)


def predictive(reach=2, score="dot"):
    torch.manual_seed(3)
    return LocalPredictive(D, score, reach).double()


def softened(scores: dict[int, float]) -> dict[int, float]:
    total = sum(math.exp(x) for x in scores.values())
    return {s: math.exp(x) / total for s, x in scores.items()}


@torch.no_grad()
def by_hand(weights_of, q, k):
    """Fill a table of weights from what ``weights_of`` says for one query and its keys, as plain numbers."""
    table = torch.zeros(q.shape[0], q.shape[2], q.shape[1], k.shape[1], dtype=torch.float64)
    for b, h, t in torch.cartesian_prod(*(torch.arange(n) for n in table.shape[:3])).tolist():
        g = h // (q.shape[2] // k.shape[2])
        scores = {s: float(q[b, t, h] @ k[b, s, g]) for s in range(k.shape[1])}
        for s, weight in weights_of(q[b, t, h].detach(), t, scores).items():
            table[b, h, t, s] = weight
    return table


def near(reach, centre):
    return lambda q, t, scores: softened({s: x for s, x in scores.items() if abs(s - centre(t)) <= reach})


@pytest.mark.parametrize(("t", "s"), [(6, 6), (3, 7), (8, 5)])
@pytest.mark.parametrize("reach", [0, 1, 3])
def test_monotonic_weighs_only_what_is_near_the_place_in_step(t, s, reach):
    q, k, _ = draw(t, s)
    centres = {"end": lambda i: s - t + i, "start": lambda i: i, "scaled": lambda i: i * s / t}
    for align, centre in centres.items():
        got = monotonic(reach=reach, align=align).weights(q, k)
        assert_close(got, by_hand(near(reach, centre), q, k))


@pytest.mark.parametrize(
    "fault", [near(3, lambda i: i + 1), near(2, lambda i: i + 2), near(1, lambda i: i + 1)]
)
def test_a_window_one_too_wide_or_narrow_or_beside_its_centre_is_caught(fault):
    q, k, _ = draw(5, 6)
    right = monotonic(reach=2).weights(q, k)
    assert_close(right, by_hand(near(2, lambda i: i + 1), q, k))
    with pytest.raises(AssertionError):
        assert_close(right, by_hand(fault, q, k))


def test_a_decoder_that_starts_late_looks_where_it_is():
    q, k, v = draw(7, 9)
    mechanism = monotonic(reach=2, align="start")
    whole = mechanism(q, k, v)
    steps = [mechanism(q[:, i : i + 1], k, v, start=i) for i in range(7)]
    assert_close(torch.cat(steps, 1), whole)


def test_only_sequences_that_end_together_are_causal():
    for align in ("start", "scaled"):
        mechanism = monotonic(align=align)
        with pytest.raises(UsageError, match="lacks 'causal'"):
            mechanism(*draw(3, 3), causal=True)
    assert "causal" in monotonic().facts.abilities
    assert "causal" in LocalMonotonic.facts.abilities


def predicted(mechanism, *, sigma=None, before=False, shift=0.0, wider=0, size=None):
    """Return the paper's equations (9) and (10) on plain numbers, or with one thing wrong."""
    reach = mechanism.reach
    sigma = reach / 2 if sigma is None else sigma

    def weights_of(q, t, scores):
        hidden = [math.tanh(float(row @ q)) for row in mechanism.hidden.weight.detach()]
        named = sum(float(v) * x for v, x in zip(mechanism.vector, hidden, strict=True))
        count = len(scores) if size is None else size
        centre = count / (1 + math.exp(-named)) + shift
        inside = {s: x for s, x in scores.items() if abs(s - centre) <= reach + wider}
        bell = {s: math.exp(-((s - centre) ** 2) / (2 * sigma**2)) for s in inside}
        if before:
            return softened({s: x * bell[s] for s, x in inside.items()})
        return {s: w * bell[s] for s, w in softened(inside).items()}

    return weights_of


@pytest.mark.parametrize(("t", "s"), [(1, 1), (3, 9), (5, 4)])
@pytest.mark.parametrize("reach", [1, 2, 5])
def test_predictive_is_the_paper_by_hand(t, s, reach):
    mechanism, (q, k, _) = predictive(reach), draw(t, s)
    assert_close(mechanism.weights(q, k), by_hand(predicted(mechanism), q, k))


@pytest.mark.parametrize(
    "fault",
    [{"sigma": 2.0}, {"wider": 1}, {"before": True}, {"shift": 1.0}, {"size": 8}],
    ids=["sigma is D", "one too wide", "Gaussian before the softmax", "centre off by one", "one key too few"],
)
def test_a_gaussian_that_differs_from_the_paper_is_caught(fault):
    mechanism, (q, k, _) = predictive(), draw(4, 9)
    with pytest.raises(AssertionError):
        assert_close(mechanism.weights(q, k), by_hand(predicted(mechanism, **fault), q, k))


@pytest.mark.parametrize("score", ["dot", "general", "additive"])
def test_gradients_are_those_of_finite_differences(score):
    mechanism, inputs = predictive(3, score), draw(2, 5, b=1)
    assert torch.autograd.gradcheck(mechanism, inputs)


def test_only_the_gaussian_teaches_the_centre():
    mechanism, inputs = predictive(), draw(3, 6)
    learned = (mechanism.vector, mechanism.hidden.weight)
    assert all(g.abs().sum() > 0 for g in torch.autograd.grad(mechanism(*inputs).sum(), learned))
    told = mechanism.explain(*inputs)
    assert not told["align"].requires_grad or not any(
        g.abs().sum() > 0
        for g in torch.autograd.grad(told["align"].sin().sum(), learned, materialize_grads=True)
    )


def test_padding_moves_no_centre():
    mechanism, (q, k, v) = predictive(), draw(3, 9)
    keep = (torch.arange(9) < 6).expand(2, 9)
    assert_close(mechanism(q, k, v, keep=keep), mechanism(q, k[:, :6], v[:, :6]))


def test_the_explanation_follows_the_formula():
    mechanism, (q, k, v) = predictive(), draw(3, 6)
    keep = (torch.arange(6) < 4).expand(2, 6)
    k = k.masked_fill(~keep[..., None, None], float("nan"))
    told = mechanism.explain(q, k, v, keep=keep)
    assert list(told) == ["scores", "visible", "centre", "window", "align", "gaussian", "weights", "output"]
    assert_close(told["align"] * told["gaussian"], told["weights"])
    assert all(x.isfinite().all() for x in told.values())
    assert ((told["centre"] > 0) & (told["centre"] < 4)).all()


def test_half_precision_knows_its_places():
    """Centres are places, so they must not be rounded to eight bits: near 600, bf16 counts in fours."""
    q, k, _ = draw(4, 900, b=1)
    half = predictive(3).to(torch.bfloat16).explain(*(x.bfloat16() for x in (q, k, k)))
    exact = predictive(3).explain(q, k, k)["centre"]
    assert half["centre"].dtype == torch.float32
    assert (half["centre"] - exact).abs().max() < 12  # the network of the centre is itself half


def test_bad_settings_are_refused():
    with pytest.raises(UsageError, match="align is 'middle'; give one of end, start, scaled"):
        monotonic(align="middle")
    with pytest.raises(ShapeError, match="reach is -1; give at least 0"):
        monotonic(reach=-1)
    with pytest.raises(ShapeError, match="reach is 0; give at least 1"):
        predictive(0)
    with pytest.raises(UsageError, match="start is 2; only align='start'"):
        monotonic()(*draw(3, 3), start=2)
