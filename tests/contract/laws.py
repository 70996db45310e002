"""The laws every mechanism keeps, as functions: each raises AssertionError when it is broken.

``test_laws`` runs them over the registry; ``test_faults`` runs them over mechanisms that are wrong on
purpose, because a law that cannot fail says nothing.
"""

from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import dataclass

import torch
from einops import repeat
from torch import nn
from torch.testing import assert_close

from nhin.attention.base import Mechanism


@dataclass(frozen=True)
class Sizes:
    """The axes of one case; query heads are ``groups * each``."""

    b: int = 2
    t: int = 5
    s: int = 5
    groups: int = 2
    each: int = 2
    d: int = 4


@dataclass(frozen=True)
class Law:
    """A statement and the abilities a mechanism must declare for it to apply."""

    holds: Callable[[Callable[[], Mechanism], Sizes], None]
    needs: frozenset[str]


LAWS: dict[str, Law] = {}


def law(*needs: str):
    def enter(holds):
        LAWS[holds.__name__] = Law(holds, frozenset(needs))
        return holds

    return enter


def applies(law: Law, mechanism: Mechanism) -> bool:
    facts = mechanism.facts
    return law.needs <= facts.abilities | ({"exact"} if facts.exact else frozenset())


def draw(n: Sizes, dtype=torch.float64):
    torch.manual_seed(hash(n) % 1000)
    q = torch.randn(n.b, n.t, n.groups * n.each, n.d, dtype=dtype)
    k, v = torch.randn(2, n.b, n.s, n.groups, n.d, dtype=dtype)
    return [x.clone().requires_grad_() for x in (q, k, v)]


def some_keys(n: Sizes) -> torch.Tensor:
    """Hide keys here and there, and all of them in the last row where there are several rows."""
    keep = torch.arange(n.b * n.s).reshape(n.b, n.s) * 7 % 5 < 3
    return keep & (torch.arange(n.b) < max(1, n.b - 1))[:, None]


def obvious(q, k, v, *, causal=False, keep=None):
    """Softmax attention by hand: one query, one head, one batch row at a time, over visible keys only."""
    t, s, each = q.shape[1], k.shape[1], q.shape[2] // k.shape[2]
    rows = []
    for b in range(q.shape[0]):
        for i in range(t):
            seen = [j for j in range(s) if (not causal or j <= s - t + i) and (keep is None or keep[b, j])]
            for h in range(q.shape[2]):
                scores = (k[b, seen, h // each] @ q[b, i, h]) / q.shape[-1] ** 0.5
                rows.append(scores.softmax(0) @ v[b, seen, h // each])
    return torch.stack(rows).reshape(q.shape) if rows else q * 0


def ways(n: Sizes) -> Iterator[dict]:
    yield {}
    yield {"causal": True}
    yield {"keep": some_keys(n)}
    yield {"causal": True, "keep": some_keys(n)}


def gradients(out, inputs, weight=None):
    weight = (
        torch.linspace(-1, 2, out.numel(), dtype=out.dtype).reshape(out.shape) if weight is None else weight
    )
    return torch.autograd.grad((out * weight).sum(), inputs, materialize_grads=True)


def same(out, want, inputs):
    """Agree in values and in the gradient of every input."""
    assert_close(out, want)
    for got, expected in zip(gradients(out, inputs), gradients(want, inputs), strict=True):
        assert_close(got, expected)


@law("causal", "keep", "cross", "grouped")
def shape_and_dtype_are_the_queries(make, n):
    for dtype in (torch.float32, torch.float64, torch.bfloat16):
        q, k, v = draw(n, dtype)
        for way in ways(n):
            out = make()(q, k, v, **way)
            assert out.shape == q.shape
            assert out.dtype == dtype
            assert out.isfinite().all()


@law("convex", "cross", "grouped")
def equal_values_come_back_unchanged(make, n):
    q, k, v = draw(n)
    assert_close(make()(q, k, torch.full_like(v, 3.0)), torch.full_like(q, 3.0))


@law("unordered", "cross", "grouped", "keep")
def key_order_does_not_matter(make, n):
    q, k, v = draw(n)
    p = torch.randperm(n.s)
    same(make()(q, k[:, p], v[:, p]), make()(q, k, v), (q, k, v))
    keep = some_keys(n)
    same(make()(q, k[:, p], v[:, p], keep=keep[:, p]), make()(q, k, v, keep=keep), (q, k, v))


@law("keep", "cross", "grouped")
def hidden_keys_are_hidden(make, n):
    q, k, v = draw(n)
    part = (n.s + 1) // 2
    keep = (torch.arange(n.s) < part).expand(n.b, n.s)
    same(make()(q, k, v, keep=keep), make()(q, k[:, :part], v[:, :part]), (q, k, v))
    same(make()(q, k, v, keep=torch.ones_like(keep)), make()(q, k, v), (q, k, v))


@law("causal", "cross", "grouped")
def a_causal_row_is_the_plain_answer_on_its_visible_prefix(make, n):
    q, k, v = draw(n)
    rows = []
    for i in range(n.t):
        row, seen = q[:, i : i + 1], max(0, n.s - n.t + i + 1)
        rows.append(make()(row, k[:, :seen], v[:, :seen]) if seen else row * 0)
    same(make()(q, k, v, causal=True), torch.cat(rows, 1), (q, k, v))


@law("causal", "keep", "cross", "grouped")
def a_query_that_sees_nothing_gives_zeros_and_takes_no_gradient(make, n):
    q, k, v = draw(n)
    none = torch.zeros(n.b, n.s, dtype=torch.bool)
    early = max(0, n.t - n.s)
    for way, rows in (
        ({"keep": none}, n.t),
        ({"keep": none, "causal": True}, n.t),
        ({"causal": True}, early),
    ):
        out = make()(q, k, v, **way)[:, :rows]
        assert torch.equal(out, torch.zeros_like(out))
        for gradient in gradients(out, (q, k, v)):
            assert torch.equal(gradient, torch.zeros_like(gradient))


POISONS = (float("nan"), float("inf"), float("-inf"))


def spoil(inputs, mask, poison):
    """Write poison over some keys and values."""
    q, *rest = inputs
    return [q, *(x.detach().masked_fill(mask, poison).requires_grad_() for x in rest)]


@law("keep", "cross", "grouped")
def what_a_hidden_key_holds_never_leaks(make, n):
    keep = some_keys(n)
    for dtype in (torch.float64, torch.bfloat16):
        inputs = draw(n, dtype)
        for causal in (False, True):
            clean = make()(*inputs, keep=keep, causal=causal)
            wanted = gradients(clean, inputs)
            for poison in POISONS:
                spoilt = spoil(inputs, ~keep[..., None, None], poison)
                out = make()(*spoilt, keep=keep, causal=causal)
                assert_close(out, clean)
                assert_close(gradients(out, spoilt), wanted)


@law("causal", "cross", "grouped")
def what_a_later_key_holds_never_leaks(make, n):
    early = n.t // 2
    later = max(0, n.s - n.t + early)
    if early == 0 or later == n.s:
        return
    for dtype in (torch.float64, torch.bfloat16):
        inputs = draw(n, dtype)
        clean = make()(*inputs, causal=True)[:, :early]
        wanted = gradients(clean, inputs)
        for poison in POISONS:
            spoilt = spoil(inputs, (torch.arange(n.s) >= later)[:, None, None], poison)
            out = make()(*spoilt, causal=True)
            assert_close(out[:, :early], clean)
            assert_close(gradients(out[:, :early], spoilt), wanted)
            assert poison == poison or out[:, -1].isnan().all(), "what may be seen must show"


@law("exact", "causal", "keep", "cross", "grouped")
def float64_agrees_with_the_formula_by_hand(make, n):
    q, k, v = draw(n)
    for way in ways(n):
        same(make()(q, k, v, **way), obvious(q, k, v, **way), (q, k, v))


@law("exact", "causal")
def half_precision_errs_at_most_twice_as_much_as_a_plain_computation(make, n):
    n = Sizes(n.b, 8 * n.t, 8 * n.t, n.groups, n.each, 8 * n.d)
    inputs = draw(n, torch.bfloat16)
    exact = [x.detach().double().requires_grad_() for x in inputs]
    for causal in (False, True):
        want, plain, out = plainly(*exact, causal), plainly(*inputs, causal), make()(*inputs, causal=causal)
        wanted = (want, *gradients(want, exact))
        plainly_done = (plain, *gradients(plain, inputs))
        done = (out, *gradients(out, inputs))
        for true, reference, got in zip(wanted, plainly_done, done, strict=True):
            allowed = 2 * (reference.double() - true).norm() + 1e-4 * true.norm()
            assert (got.double() - true).norm() <= allowed


def plainly(q, k, v, causal):
    """Compute in the dtype that came in, as one would on a blackboard."""
    each = q.shape[2] // k.shape[2]
    k, v = (repeat(x, "b s g d -> b s (g each) d", each=each) for x in (k, v))
    scores = torch.einsum("bthd,bshd->bhts", q, k) * q.shape[-1] ** -0.5
    if causal:
        scores = scores.masked_fill(~torch.ones(scores.shape[-2:], dtype=torch.bool).tril(), float("-inf"))
    return torch.einsum("bhts,bshd->bthd", scores.softmax(-1), v)


@law("grouped", "causal", "keep", "cross")
def grouped_heads_are_repeated_heads(make, n):
    q, k, v = draw(n)
    for way in ways(n):
        many = [repeat(x, "b s g d -> b s (g each) d", each=n.each) for x in (k, v)]
        same(make()(q, k, v, **way), make()(q, *many, **way), (q, k, v))


@law("causal", "keep", "cross", "grouped")
def batch_rows_are_independent(make, n):
    q, k, v = draw(n)
    for way in ways(n):
        alone = []
        for i in range(n.b):
            own = way | ({"keep": way["keep"][i : i + 1]} if "keep" in way else {})
            alone.append(make()(q[i : i + 1], k[i : i + 1], v[i : i + 1], **own))
        same(make()(q, k, v, **way), torch.cat(alone), (q, k, v))


@law("causal", "keep", "cross", "grouped")
def nothing_in_gives_nothing_or_zeros_out(make, n):
    for empty in ({"b": 0}, {"t": 0}, {"s": 0}, {"t": 0, "s": 0}):
        case = Sizes(**(vars(n) | empty))
        q, k, v = draw(case)
        for way in ways(case):
            out = make()(q, k, v, **way)
            assert torch.equal(out, torch.zeros_like(q))
            for gradient in gradients(out, (q, k, v)):
                assert torch.equal(gradient, torch.zeros_like(gradient))


@law("causal", "cross", "grouped")
def any_length_may_follow_any_other(make, n):
    mechanism = make()
    for t, s in ((n.t, n.s), (1, n.s), (n.s, n.t), (9, 9), (n.t, n.s)):
        q, k, v = draw(Sizes(n.b, t, s, n.groups, n.each, n.d))
        assert_close(mechanism(q, k, v, causal=True), make()(q, k, v, causal=True))


@law("weights", "causal", "keep", "cross", "grouped")
def the_weights_shown_are_the_weights_used(make, n):
    q, k, v = draw(n)
    many = repeat(v, "b s g d -> b s (g each) d", each=n.each)
    for way in ways(n):
        weights = make().weights(q, k, **way)
        assert weights.shape == (n.b, n.groups * n.each, n.t, n.s)
        assert_close(torch.einsum("bhts,bshd->bthd", weights, many), make()(q, k, v, **way))
        half = slice(n.t // 2, n.t)
        assert_close(make().weights(q, k, rows=half, **way), weights[:, :, half])


@law("causal", "cross", "grouped")
def a_copy_and_a_reloaded_state_answer_alike(make, n):
    mechanism, other = make(), make()
    q, k, v = draw(n)
    want = mechanism(q, k, v, causal=True)
    assert_close(deepcopy(mechanism)(q, k, v, causal=True), want)
    if isinstance(mechanism, nn.Module):
        other.load_state_dict(mechanism.state_dict())
        assert_close(other(q, k, v, causal=True), want)


@law("causal", "keep", "cross", "grouped")
def autocast_agrees_with_full_precision_roughly(make, n):
    q, k, v = draw(n, torch.float32)
    for way in ways(n):
        with torch.autocast("cpu", torch.bfloat16):
            out = make()(q, k, v, **way)
        assert_close(out.float(), make()(q, k, v, **way), atol=5e-2, rtol=5e-2)
