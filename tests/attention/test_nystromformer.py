"""Nystromformer says what its formula says, by hand; landmarks count what may be seen, row by row."""

import math
from itertools import pairwise

import laws  # noqa: F401  # enters the laws of answers into the table
import numpy as np
import pytest
import torch
from cases import LAWS, Sizes, applies, draw, gradients, same, some_keys
from torch.testing import assert_close
from torch.utils._python_dispatch import TorchDispatchMode

from nhin.attention.exact.naive import Naive
from nhin.attention.low_rank import nystromformer
from nhin.attention.low_rank.nystromformer import Nystromformer, iterative_inverse, segment_means
from nhin.errors import ShapeError, UsageError

CASES = [Sizes(t=7, s=9), Sizes(t=9, s=4, group_size=1), Sizes(b=3, t=8, s=8, groups=1, group_size=3, d=5)]
FEW = {"landmarks": 3}


def means_by_hand(x, most):
    """Cut places into runs by where each run ends, and take the mean of each."""
    n = len(x)
    c = min(n, most)
    ends = [math.ceil(j * n / c) for j in range(c + 1)] if c else [0]
    return np.array([x[a:z].mean(0) for a, z in pairwise(ends)]).reshape(c, x.shape[1])


def softmax(q, k):
    e = np.exp(q @ k.T / np.sqrt(q.shape[1]))
    return e / e.sum(1, keepdims=True)


def pseudo_inverse(a, steps):
    """Iterate as the paper says; solve when ``steps`` is None."""
    if steps is None:
        return np.linalg.pinv(a)
    z, one = a.T / (np.linalg.norm(a, 1) * np.linalg.norm(a, np.inf)), np.eye(len(a))
    for _ in range(steps):
        z = z @ (13 * one - a @ z @ (15 * one - a @ z @ (7 * one - a @ z))) / 4
    return z


def by_hand(q, k, v, keep=None, landmarks=3, steps=6):
    """Work out one batch row and one head at a time, over visible keys only."""
    each = q.shape[2] // k.shape[2]
    q, k, v = (x.detach().numpy() for x in (q, k, v))
    out = np.zeros_like(q)
    for b in range(q.shape[0]):
        seen = [s for s in range(k.shape[1]) if keep is None or keep[b, s]]
        for h in range(q.shape[2] if seen else 0):
            asks, keys, values = q[b, :, h], k[b, seen, h // each], v[b, seen, h // each]
            some, few = means_by_hand(asks, landmarks), means_by_hand(keys, landmarks)
            z = pseudo_inverse(softmax(some, few), steps)
            out[b, :, h] = softmax(asks, few) @ z @ softmax(some, keys) @ values
    return torch.from_numpy(out)


def agrees_by_hand(landmarks=3, steps=6):
    for n in CASES:
        q, k, v = draw(n)
        one_or_two = (torch.arange(n.s) % 5 == 1).expand(n.b, n.s)
        for keep in (None, some_keys(n), one_or_two):
            out = Nystromformer(landmarks, steps)(q, k, v, keep=keep)
            assert_close(out, by_hand(q, k, v, keep, landmarks, steps))


@pytest.mark.parametrize("landmarks", [1, 2, 3, 5, 64])
def test_it_is_the_formula_by_hand(landmarks):
    agrees_by_hand(landmarks)
    agrees_by_hand(landmarks, steps=1)


def counts_hidden(x, keep, most):
    return segment_means(x, None, most)


def one_off(x, keep, most):
    return segment_means(x.roll(1, 1), None if keep is None else keep.roll(1, 1), most)


def interleaved(x, keep, most):
    """Place r falls into segment r modulo c."""
    c = max(1, min(most, x.shape[1]))
    order = sorted(range(x.shape[1]), key=lambda r: (r % c, r))
    return segment_means(x[:, order], None if keep is None else keep[:, order], most)


def unused_are_zeros(x, keep, most):
    found, used = segment_means(x, keep, most)
    return found, torch.ones_like(used)


def sums(x, keep, most):
    found, used = segment_means(x, keep, most)
    n = torch.full((1, 1), x.shape[1]) if keep is None else keep.sum(1, keepdim=True)
    return found * (n / used.sum(1, keepdim=True).clamp(min=1))[..., None, None], used


def coupled(a, iterations):
    """Take one maximum over the whole batch and all heads, as the authors' code does."""
    z = a.mT / a.sum(-2).max().clamp(min=1e-9)
    one = torch.eye(a.shape[-2], dtype=a.dtype)
    for _ in range(iterations):
        az = a @ z
        z = z @ (13 * one - az @ (15 * one - az @ (7 * one - az))) / 4
    return z


def too_few_steps(a, iterations):
    return iterative_inverse(a, iterations - 1)


def transposed_only(a, iterations):
    return iterative_inverse(a, 0)


@pytest.mark.parametrize("fault", [counts_hidden, one_off, interleaved, unused_are_zeros, sums])
def test_wrong_landmarks_are_caught_by_hand(monkeypatch, fault):
    monkeypatch.setattr(nystromformer, "segment_means", fault)
    with pytest.raises(AssertionError):
        agrees_by_hand()


@pytest.mark.parametrize("fault", [coupled, too_few_steps, transposed_only])
def test_a_wrong_inverse_is_caught_by_hand(monkeypatch, fault):
    monkeypatch.setattr(nystromformer, "iterative_inverse", fault)
    with pytest.raises(AssertionError):
        agrees_by_hand()


def holds(law, n, **settings):
    LAWS[law].holds(lambda n, dtype=torch.float64: Nystromformer(**settings).to(dtype), n)


def test_a_guess_shared_by_the_batch_is_caught_by_its_law(monkeypatch):
    monkeypatch.setattr(nystromformer, "iterative_inverse", coupled)
    with pytest.raises(AssertionError):
        holds("batch_rows_are_independent", CASES[0], landmarks=3, iterations=2)


@pytest.mark.parametrize("law", [law for law in LAWS if applies(LAWS[law], Nystromformer.facts)])
def test_laws_hold_with_fewer_landmarks_than_places(law):
    for n in CASES:
        holds(law, n, **FEW)


PAIRED = [
    "keys_that_are_all_kept_change_nothing",
    "what_is_hidden_has_no_gradient",
    "a_query_that_sees_nothing_gives_zeros_and_takes_no_gradient",
    "what_a_hidden_key_holds_never_leaks",
    "the_answer_is_the_values_mixed_with_the_weights_shown",
    "grouped_heads_are_repeated_heads",
    "batch_rows_are_independent",
]


@pytest.mark.parametrize("law", PAIRED)
def test_laws_hold_when_queries_and_keys_are_paired(law):
    holds(law, Sizes(t=8, s=8), paired=True, **FEW)


def test_segments_are_runs_of_nearly_equal_length_whose_unused_slots_are_marked():
    x = torch.arange(1.0, 11).reshape(1, 10, 1, 1).expand(3, 10, 1, 1)
    keep = torch.ones(3, 10, dtype=torch.bool)
    keep[1, 7:] = False
    keep[2, [0, 2, 3, 4, 6, 7, 8, 9]] = False
    found, used = segment_means(x.masked_fill(~keep[..., None, None], 0.0), keep, 4)
    assert used.tolist() == [[True] * 4, [True] * 4, [True, True, False, False]]
    assert found.flatten(1).tolist() == [[2.0, 4.5, 7.0, 9.5], [1.5, 3.5, 5.5, 7.0], [2.0, 6.0, 0.0, 0.0]]


def test_rows_of_fewer_keys_answer_as_if_alone():
    q, k, v = draw(Sizes(b=4, t=7, s=9))
    keep = torch.arange(9) < torch.tensor([9, 5, 2, 1])[:, None]
    alone = [
        Nystromformer(3)(q[i : i + 1], k[i : i + 1, :n], v[i : i + 1, :n]) for i, n in enumerate((9, 5, 2, 1))
    ]
    same(Nystromformer(3)(q, k, v, keep=keep), torch.cat(alone), (q, k, v))


def test_padding_changes_nothing_when_paired_and_something_when_not():
    q, k, v = draw(Sizes(b=2, t=9, s=9))
    keep = torch.arange(9) < torch.tensor([9, 5])[:, None]
    alone = Nystromformer(3)(q[1:, :5], k[1:, :5], v[1:, :5])
    same(Nystromformer(3, paired=True)(q, k, v, keep=keep)[1:, :5], alone, (q, k, v))
    assert (Nystromformer(3)(q, k, v, keep=keep)[1:, :5] - alone).abs().max() > 1e-3


def errors(steps, want, *inputs, **settings):
    return [(Nystromformer(iterations=n, **settings)(*inputs) - want).norm().item() for n in steps]


def test_with_a_landmark_for_every_place_it_approaches_softmax():
    q, k, v = draw(Sizes(b=1, t=6, s=6))
    far, near, there = errors((3, 6, 40), Naive()(q, k, v), q, k, v)
    assert far > 1.5 * near > 1e3 * there
    assert there < 1e-6


def test_no_more_queries_than_landmarks_are_answered_as_softmax_would():
    """What a landmark of queries sees is exact, and here every query is one."""
    q, k, v = draw(Sizes(b=2, t=3, s=9))
    assert errors([40], Naive()(q, k, v), q, k, v, **FEW)[0] < 1e-6


def test_steps_approach_the_pseudo_inverse_also_of_what_is_not_square():
    for n in CASES:
        q, k, v = draw(n)
        want = by_hand(q, k, v, steps=None)
        few, many = errors((4, 40), want, q, k, v, **FEW)
        assert few > 1e-3 * want.norm()
        assert many < 1e-6


def test_gradients_are_those_of_small_differences():
    keep = torch.tensor([[True, False, True, True, True], [False] * 5, [False, True, False, False, False]])
    inputs = draw(Sizes(b=3, t=4, s=5, groups=1, group_size=2, d=3))
    assert torch.autograd.gradcheck(lambda q, k, v: Nystromformer(2)(q, k, v, keep=keep), inputs)


def test_every_intermediate_is_told_in_the_order_of_the_formula():
    q, k, v = draw(Sizes(t=7, s=9))
    told = Nystromformer(3).explain(q, k, v, keep=some_keys(Sizes(t=7, s=9)))
    assert {name: tuple(x.shape) for name, x in told.items()} == {
        "query landmarks": (2, 3, 4, 4),
        "key landmarks": (2, 3, 2, 4),
        "queries to landmarks": (2, 4, 7, 3),
        "landmarks to landmarks": (2, 4, 3, 3),
        "landmarks to keys": (2, 4, 3, 9),
        "inverse": (2, 4, 3, 3),
        "weights": (2, 4, 7, 9),
        "output": (2, 7, 4, 4),
    }
    product = told["queries to landmarks"] @ told["inverse"] @ told["landmarks to keys"]
    assert_close(told["weights"], product)


@pytest.mark.parametrize("poison", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("which", ["key", "value"])
def test_what_may_be_seen_and_is_no_number_shows_in_all_queries_of_its_heads(poison, which):
    q, k, v = (x.detach() for x in draw(Sizes(t=4, s=7)))
    (k if which == "key" else v)[0, 2, 1, 3] = poison
    out = Nystromformer(3)(q, k, v)
    assert out[0, :, 2:].isnan().all()
    assert out[1].isfinite().all()
    assert out[0, :, :2].isfinite().all()


def test_halves_are_rounded_at_the_end_only():
    inputs = draw(Sizes(t=40, s=40, d=8), torch.bfloat16)
    wide = [x.detach().float().requires_grad_() for x in inputs]
    out, want = Nystromformer(8)(*inputs), Nystromformer(8)(*wide)
    assert torch.equal(out, want.to(torch.bfloat16))
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(Nystromformer(8)(*wide), out)
    for got, expected in zip(gradients(out, inputs), gradients(want, wide), strict=True):
        assert (got.float() - expected).norm() <= 2e-2 * expected.norm()


class Largest(TorchDispatchMode):
    """Remember how many numbers the largest tensor made had."""

    numbers = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        for x in out if isinstance(out, tuple | list) else [out]:
            if isinstance(x, torch.Tensor):
                self.numbers = max(self.numbers, x.numel())
        return out


def test_the_table_of_queries_and_keys_is_never_formed():
    q, k, v = draw(Sizes(b=1, t=256, s=192, groups=1, group_size=1, d=4), torch.float32)
    with Largest() as largest:
        Nystromformer(8)(q, k, v).sum().backward()
    assert largest.numbers <= 256 * 8
    with Largest() as largest:
        Nystromformer(8).weights(q, k, rows=slice(0, 16))
    assert largest.numbers <= 16 * 192


def test_what_it_cannot_do_is_refused_with_the_way_out():
    for wrong in ("landmarks", "iterations"):
        with pytest.raises(ShapeError, match=f"{wrong} is 0; give at least 1"):
            Nystromformer(**{wrong: 0})
    q, k, v = draw(Sizes(t=4, s=7))
    with pytest.raises(UsageError, match=r"4 queries and 7 keys cannot be paired; .* with paired=False"):
        Nystromformer(paired=True)(q, k, v)
    with pytest.raises(UsageError, match=r"nystromformer lacks 'causal'.*these have it: .*softmax"):
        Nystromformer()(q, k, v, causal=True)
