"""Linformer says what its formula says, by hand; what it gives up is what it says it gives up."""

import laws  # noqa: F401  # enters the laws of answers into the table
import numpy as np
import pytest
import torch
from cases import LAWS, Sizes, applies, draw, same, some_keys
from torch.testing import assert_close

from nhin.attention.exact.naive import Naive
from nhin.attention.low_rank.linformer import Linformer
from nhin.errors import ShapeError, UsageError

CASES = [Sizes(t=4, s=7), Sizes(t=7, s=4, group_size=1), Sizes(b=3, t=1, s=6, groups=1, group_size=3, d=5)]


def made(kind=Linformer, dtype=torch.float64, **settings):
    """Build one small enough to be worked out by hand, the same at every call."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return kind(**({"rank": 3, "context": 80} | settings)).to(dtype)


def by_hand(mechanism, q, k, v, keep=None):
    """Work out one query after the other, and one mixture after the other, with numbers only."""
    e = mechanism.key_projection.detach().numpy()
    f = e if mechanism.value_projection is None else mechanism.value_projection.detach().numpy()
    each = q.shape[2] // k.shape[2]
    q, k, v = (x.detach().numpy() for x in (q, k, v))
    out = np.zeros_like(q)
    for b, t, h in np.ndindex(q.shape[:3]):
        scores, values = np.zeros(len(e)), np.zeros((len(e), q.shape[3]))
        for r in range(len(e)):
            for s in range(k.shape[1]):
                if keep is None or keep[b, s]:
                    scores[r] += e[r, s] * (q[b, t, h] @ k[b, s, h // each]) / np.sqrt(q.shape[3])
                    values[r] += f[r, s] * v[b, s, h // each]
        shares = np.exp(scores)
        out[b, t, h] = shares @ values / shares.sum()
    return torch.from_numpy(out)


def agrees_by_hand(kind=Linformer, **settings):
    for n in CASES:
        q, k, v = draw(n)
        for keep in (None, some_keys(n)):
            mechanism = made(kind, **settings)
            assert_close(mechanism(q, k, v, keep=keep), by_hand(mechanism, q, k, v, keep))


class Swapped(Linformer):
    """Mixes keys with F and values with E."""

    def project_keys(self, k, keep):
        return super().project_values(k, keep)

    def project_values(self, v, keep):
        return super().project_keys(v, keep)


class LastColumns(Linformer):
    """Lets fewer places stand at the end of F, not at its start."""

    def _value_projection(self):
        return super()._value_projection().flip(1)


class SeesHiddenKeys(Linformer):
    def project_keys(self, k, keep):
        return super().project_keys(k, None)


class SeesHiddenValues(Linformer):
    def project_values(self, v, keep):
        return super().project_values(v, None)


class ScaledByRank(Linformer):
    def _scores(self, q, mixed):
        return super()._scores(q, mixed) * (q.shape[-1] / mixed.shape[1]) ** 0.5


class SharesUnasked(Linformer):
    def _value_projection(self):
        return self.key_projection


@pytest.mark.parametrize("settings", [{}, {"shared": True}, {"rank": 1}, {"rank": 9}])
def test_it_is_the_formula_by_hand(settings):
    agrees_by_hand(**settings)


@pytest.mark.parametrize(
    "fault", [Swapped, LastColumns, SeesHiddenKeys, SeesHiddenValues, ScaledByRank, SharesUnasked]
)
def test_a_fault_is_caught_by_hand(fault):
    with pytest.raises(AssertionError):
        agrees_by_hand(fault)


@pytest.mark.parametrize("law", [law for law in LAWS if applies(LAWS[law], Linformer.facts)])
def test_laws_hold_with_one_matrix_for_both(law):
    for n in CASES[:2]:
        LAWS[law].holds(lambda n, dtype=torch.float64: made(dtype=dtype, shared=True), n)


def test_gradients_are_those_of_small_differences():
    n = Sizes(b=2, t=2, s=4, groups=1, group_size=2, d=3)
    mechanism = made()
    keep = torch.tensor([[True, False, True, True], [False] * 4])

    def answer(q, k, v, e, f):
        given = {"key_projection": e, "value_projection": f}
        return torch.func.functional_call(mechanism, given, (q, k, v), {"keep": keep})

    mixings = [
        x.detach().clone().requires_grad_() for x in (mechanism.key_projection, mechanism.value_projection)
    ]
    assert torch.autograd.gradcheck(answer, (*draw(n), *mixings))


def test_with_one_mixture_per_place_it_is_softmax():
    q, k, v = draw(Sizes(t=4, s=7))
    mechanism = made(rank=7, context=7)
    with torch.no_grad():
        mechanism.key_projection.copy_(torch.eye(7))
        mechanism.value_projection.copy_(torch.eye(7))
    same(mechanism(q, k, v), Naive()(q, k, v), (q, k, v))
    assert_close(mechanism.weights(q, k), Naive().weights(q, k))


def test_hidden_keys_at_the_end_are_as_if_absent():
    q, k, v = draw(Sizes(t=4, s=7))
    keep = (torch.arange(7) < 5).expand(2, 7)
    mechanism = made()
    inputs = (q, k, v, *mechanism.parameters())
    same(mechanism(q, k, v, keep=keep), mechanism(q, k[:, :5], v[:, :5]), inputs)


def test_weights_may_be_negative_and_need_not_sum_to_one():
    q, k, v = draw(Sizes(t=4, s=7))
    shown = made().weights(q, k)
    assert (shown < 0).any()
    assert ((shown.sum(-1) - 1).abs() > 0.1).any()
    assert "convex" not in Linformer.facts.abilities
    told = made().explain(q, k, v)
    assert list(told) == ["EK", "FV", "scores", "shares", "weights", "output"]
    assert_close(told["weights"], shown)
    assert_close(told["shares"].sum(-1), torch.ones(2, 4, 4, dtype=torch.float64))


@pytest.mark.parametrize("poison", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("which", ["key", "value"])
def test_what_may_be_seen_and_is_no_number_shows_in_all_queries_of_its_heads(poison, which):
    q, k, v = (x.detach() for x in draw(Sizes(t=4, s=7)))
    (k if which == "key" else v)[0, 2, 1, 3] = poison
    out = made()(q, k, v)
    lost = ~out.isfinite()
    assert lost[0, :, 2:].any(-1).all()
    assert not lost[1].any()
    assert not lost[0, :, :2].any()


def test_the_table_is_drawn_as_wide_as_the_proofs_draw_it():
    mechanism = made(rank=64, context=512)
    for mixing in mechanism.parameters():
        assert abs(mixing.std() * 8 - 1) < 0.05
    assert not torch.equal(*mechanism.parameters())
    assert len(list(made(shared=True).parameters())) == 1
    assert list(made(shared=True).state_dict()) == ["key_projection"]


def test_what_it_cannot_do_is_refused_with_the_way_out():
    for wrong in ("rank", "context"):
        with pytest.raises(ShapeError, match=f"{wrong} is 0; give at least 1"):
            Linformer(**{wrong: 0})
    q, k, v = draw(Sizes(t=4, s=7))
    with pytest.raises(ShapeError, match="k has 7 keys, but context is 6; build it with context=7"):
        made(context=6)(q, k, v)
    with pytest.raises(UsageError, match=r"linformer lacks 'causal'.*these have it: .*softmax"):
        made()(q, k, v, causal=True)
