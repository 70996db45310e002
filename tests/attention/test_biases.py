"""Laws of biases that depend on the distance: ALiBi's slopes, T5's buckets, and their faults."""

import math

import laws  # noqa: F401  # enters the laws of answers into the table
import pytest
import state_laws  # noqa: F401  # and those of states
import torch
from cases import LAWS, Sizes, applies, draw, same, some_keys
from hypothesis import given
from hypothesis import strategies as st
from torch.testing import assert_close
from torch.utils._python_dispatch import TorchDispatchMode

from nhin.attention import sliced_tiles
from nhin.attention.bias import kernel
from nhin.attention.bias.alibi import ALiBi, head_slopes
from nhin.attention.bias.t5 import T5, bucket_edges
from nhin.attention.registry import build
from nhin.errors import ShapeError, UsageError

CASES = [Sizes(), Sizes(t=3, s=7), Sizes(t=7, s=3), Sizes(b=3, t=1, s=6, groups=1, group_size=3)]


def by_hand(q, k, v, added, *, causal=False, keep=None):
    """One query and one head at a time; ``added(head, place of the query, place of the key)``."""
    t, s, each = q.shape[1], k.shape[1], q.shape[2] // k.shape[2]
    rows = []
    for b in range(q.shape[0]):
        for i in range(t):
            p = s - t + i
            seen = [j for j in range(s) if (not causal or j <= p) and (keep is None or keep[b, j])]
            for h in range(q.shape[2]):
                bias = torch.stack([added(h, p, j) for j in seen]) if seen else q.new_zeros(0)
                scores = k[b, seen, h // each] @ q[b, i, h] / math.sqrt(q.shape[-1]) + bias
                rows.append(scores.softmax(0) @ v[b, seen, h // each])
    return torch.stack(rows).reshape(q.shape)


def learned(heads=4, dtype=torch.float64, **settings):
    with torch.random.fork_rng():
        torch.manual_seed(1)
        made = T5(heads, **settings)
        torch.nn.init.normal_(made.table)
    return made.to(dtype)


@pytest.mark.parametrize("n", CASES)
def test_alibi_is_the_formula_by_hand(n):
    q, k, v = draw(n)
    heads = n.groups * n.group_size
    for way in ({}, {"causal": True}, {"keep": some_keys(n), "causal": True}):
        want = by_hand(
            q, k, v, lambda h, p, j: torch.tensor(-head_slopes(heads)[h] * abs(p - j)).double(), **way
        )
        same(ALiBi(heads)(q, k, v, **way), want, (q, k, v), atol=1e-6, rtol=1e-6)


def test_slopes_are_the_papers():
    assert head_slopes(8) == [2.0**-i for i in range(1, 9)]
    assert_close(head_slopes(16), [2 ** (-i / 2) for i in range(1, 17)])
    # Twelve: those of eight, then every other one of sixteen.
    assert_close(head_slopes(12), [2.0**-i for i in range(1, 9)] + [2**-0.5, 2**-1.5, 2**-2.5, 2**-3.5])
    assert head_slopes(1) == [2.0**-8]


@given(heads=st.integers(1, 40))
def test_there_is_a_falling_slope_for_every_head(heads):
    found = head_slopes(heads)
    assert len(set(found)) == heads
    assert all(0 < slope < 1 for slope in found)


def bucket(gap, buckets, distance, two_sided):
    """Bucket by logarithms, with room for rounding at the borders."""
    first = 0
    if two_sided:
        buckets //= 2
        first, gap = (buckets, -gap) if gap < 0 else (0, gap)
    gap, exact = max(gap, 0), buckets // 2
    if gap < exact:
        return first + gap
    share = math.log(gap / exact) / math.log(distance / exact) * (buckets - exact)
    return first + min(buckets - 1, exact + math.floor(share + 1e-9))


@pytest.mark.parametrize("two_sided", [True, False])
@pytest.mark.parametrize(("buckets", "distance"), [(32, 128), (8, 10), (4, 50)])
def test_buckets_are_the_formula(two_sided, buckets, distance):
    gaps = torch.arange(-2 * distance, 2 * distance)
    made = T5(1, buckets, distance, two_sided=two_sided)
    want = [bucket(gap, buckets, distance, two_sided) for gap in gaps.tolist()]
    assert made.bucket_of(gaps).tolist() == want


def test_the_borders_of_the_papers_buckets_in_numbers():
    assert bucket_edges(16, 128) == [1, 2, 3, 4, 5, 6, 7, 8, 12, 16, 23, 32, 46, 64, 91]
    assert T5(1).bucket_of(torch.tensor([0, 1, 7, 8, 11, 12, 127, 500, -1, -8, -500])).tolist() == [
        *(0, 1, 7, 8, 8, 9, 15, 15),
        *(17, 24, 31),
    ]


def test_the_last_edge_of_buckets_may_be_very_far_but_not_too_far():
    """Counting up to it, one distance at a time, would take minutes."""
    edges = bucket_edges(16, 10**9)
    assert len(edges) == 15
    assert edges == sorted(edges)
    assert 10**7 < edges[-1] < 10**9
    for settings in ({"distance": 2**40}, {"buckets": 4096}):
        with pytest.raises(ShapeError, match=next(iter(settings))):
            T5(2, **settings)


@pytest.mark.parametrize("two_sided", [True, False])
@pytest.mark.parametrize("n", CASES)
def test_t5_is_the_formula_by_hand_and_its_table_learns(n, two_sided):
    q, k, v = draw(n)
    made = learned(n.groups * n.group_size, buckets=8, distance=6, two_sided=two_sided)
    for way in ({}, {"causal": True}, {"keep": some_keys(n), "causal": True}):
        want = by_hand(q, k, v, lambda h, p, j: made.table[h, bucket(p - j, 8, 6, two_sided)], **way)
        same(made(q, k, v, **way), want, (q, k, v, made.table))


@pytest.mark.parametrize("two_sided", [True, False])
@pytest.mark.parametrize("law", LAWS)
def test_t5_keeps_every_law_with_other_settings_than_the_usual(law, two_sided):
    if not applies(LAWS[law], T5.facts):
        pytest.skip("t5 does not claim what this law needs")
    for n in CASES:

        def make(n, dtype=torch.float64):
            return learned(n.groups * n.group_size, dtype, buckets=6, distance=5, two_sided=two_sided)

        LAWS[law].holds(make, n)


@pytest.mark.parametrize("name", ["alibi", "t5"])
@pytest.mark.parametrize("way", [{}, {"causal": True}, {"keep": True}, {"causal": True, "keep": True}])
def test_many_blocks_are_one(name, way, monkeypatch):
    monkeypatch.setattr(kernel, "QUERY_BLOCK", 16)
    monkeypatch.setattr(kernel, "KEY_BLOCK", 13)
    for t, s in ((45, 45), (45, 60), (60, 45)):
        n = Sizes(b=2, t=t, s=s)
        inputs = draw(n)
        made = learned() if name == "t5" else ALiBi(4)
        asked = way | ({"keep": some_keys(n)} if "keep" in way else {})
        same(made(*inputs, **asked), made.forward_reference(*inputs, **asked), (*inputs, *made.parameters()))


class Largest(TorchDispatchMode):
    """Counts the numbers of the largest tensor made."""

    most = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        made = func(*args, **(kwargs or {}))
        for x in made if isinstance(made, (tuple, list)) else (made,):
            if isinstance(x, torch.Tensor):
                self.most = max(self.most, x.numel())
        return made


@pytest.mark.parametrize("name", ["alibi", "t5"])
def test_nothing_as_large_as_all_weights_is_held_forward_or_backward(name, monkeypatch):
    monkeypatch.setattr(kernel, "QUERY_BLOCK", 16)
    made = build(name, heads=2, head_dim=4)
    q, k, v = (torch.randn(1, 512, 2, 4, requires_grad=True) for _ in range(3))
    with Largest() as counted:
        made(q, k, v, causal=True).sum().backward()
    assert counted.most <= 2 * 16 * (512 + 16)
    assert counted.most < 2 * 512 * 512 / 20


def test_a_bias_tells_every_step_of_the_formula():
    q, k, v = (x.detach() for x in draw(Sizes()))
    told = learned().explain(q, k, v, causal=True)
    assert list(told) == ["products", "bias", "scores", "visible", "weights", "output"]
    assert_close(told["products"] + told["bias"], told["scores"])


@pytest.mark.parametrize("make", [ALiBi, learned])
def test_another_number_of_heads_is_refused(make):
    q, k, v = draw(Sizes(groups=3, group_size=1))
    with pytest.raises(ShapeError, match=r"heads is 3 in q, but this .* was built for 4; .* heads=3"):
        make(4)(q, k, v)


def test_settings_that_make_no_sense_are_refused():
    with pytest.raises(ShapeError, match="heads is 0"):
        ALiBi(0)
    with pytest.raises(ShapeError, match="buckets is 3; give 4 or more"):
        T5(2, buckets=3)
    with pytest.raises(ShapeError, match="distance is 8; give more than 8"):
        T5(2, distance=8)


def test_a_second_derivative_is_refused_and_the_slow_way_has_one():
    inputs = draw(Sizes())
    with pytest.raises(UsageError, match="second derivative"):
        torch.autograd.grad(learned()(*inputs).square().sum(), inputs, create_graph=True)
    first = torch.autograd.grad(
        learned().forward_reference(*inputs).square().sum(), inputs, create_graph=True
    )
    assert torch.autograd.grad(first[0].sum(), inputs[0])[0].abs().sum() > 0


class CountsFromTheStart(ALiBi):
    """Takes a query's number for its place, though there are more keys than queries."""

    def bias(self, gap):
        return super().bias(gap - gap.min() if gap.ndim == 2 else gap)


class OneFurther(T5):
    """Every bucket begins one place too late."""

    def bucket_of(self, gap):
        return super().bucket_of(gap.sign() * (gap.abs() - 1).clamp_min(0))


class SidesSwapped(T5):
    def bucket_of(self, gap):
        return super().bucket_of(-gap)


@pytest.mark.parametrize("fault", [OneFurther, SidesSwapped])
def test_a_bucket_that_is_off_is_caught_by_the_formula(fault):
    gaps = torch.arange(-20, 21)
    want = [bucket(gap, 32, 128, True) for gap in gaps.tolist()]
    assert fault(1).bucket_of(gaps).tolist() != want
    assert T5(1).bucket_of(gaps).tolist() == want


def test_a_place_counted_from_the_start_is_caught_by_the_law_of_weights():
    law = LAWS["the_answer_is_the_values_mixed_with_the_weights_shown"]
    with pytest.raises(AssertionError):
        law.holds(lambda n, dtype=torch.float64: CountsFromTheStart(4).to(dtype), Sizes(t=3, s=7))
    law.holds(lambda n, dtype=torch.float64: ALiBi(4).to(dtype), Sizes(t=3, s=7))


@pytest.mark.parametrize("fault", ["mean", "shifted"])
def test_a_wrong_gradient_of_the_line_is_caught(fault, monkeypatch):
    right = sliced_tiles.sum_diagonals
    wrong = {
        "mean": lambda table: right(table) / table.shape[1],
        "shifted": lambda table: right(table).roll(1, -1),
    }
    monkeypatch.setattr(sliced_tiles, "sum_diagonals", wrong[fault])
    law = LAWS["the_answer_is_the_values_mixed_with_the_weights_shown"]
    with pytest.raises(AssertionError):
        law.holds(lambda n, dtype=torch.float64: learned(4, dtype), Sizes())
