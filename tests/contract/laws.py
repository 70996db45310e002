"""The laws every mechanism keeps, as functions: each raises AssertionError when it is broken.

``make(dtype)`` builds the mechanism, the same at every call. ``test_laws`` runs the laws over the registry;
``test_faults`` runs them over mechanisms that are wrong on purpose, because a law that cannot fail says
nothing. The laws of states are in ``state_laws``.
"""

import warnings
from copy import deepcopy
from dataclasses import replace

import pytest
import torch
from cases import by_way_of_meta, draw, gradients, law, same, some_keys, ways
from einops import repeat
from torch.testing import assert_close

from nhin.attention.base import CacheSpec


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


@law()
def shape_and_dtype_are_the_queries(make, n):
    for dtype in (torch.float32, torch.float64, torch.bfloat16):
        q, k, v = draw(n, dtype)
        mechanism = make(dtype)
        for way in ways(n, mechanism.facts):
            out = mechanism(q, k, v, **way)
            assert out.shape == q.shape
            assert out.dtype == dtype
            assert out.isfinite().all()


@law("convex")
def equal_values_come_back_unchanged(make, n):
    """Where a pattern shows a query nothing (a window that begins before the first key), zeros come."""
    q, k, v = draw(n)
    total = make().weights(q, k).sum(-1).transpose(1, 2)[..., None]
    if "unordered" not in make().facts.abilities:
        total = total.round()
        assert total[:, -1].all()
    else:
        total = torch.ones_like(total)
    assert_close(make()(q, k, torch.full_like(v, 3.0)), 3.0 * total.expand_as(q))


@law("unordered")
def key_order_does_not_matter(make, n):
    q, k, v = draw(n)
    p = torch.randperm(n.s)
    same(make()(q, k[:, p], v[:, p]), make()(q, k, v), (q, k, v))
    if "keep" in make().facts.abilities:
        keep = some_keys(n)
        same(make()(q, k[:, p], v[:, p], keep=keep[:, p]), make()(q, k, v, keep=keep), (q, k, v))


@law("keep", "cross", "unordered")
def hidden_keys_are_as_if_they_were_not_there(make, n):
    q, k, v = draw(n)
    part = (n.s + 1) // 2
    keep = (torch.arange(n.s) < part).expand(n.b, n.s)
    same(make()(q, k, v, keep=keep), make()(q, k[:, :part], v[:, :part]), (q, k, v))


@law("keep")
def keys_that_are_all_kept_change_nothing(make, n):
    q, k, v = draw(n)
    for way in ways(n, make().facts):
        if "keep" not in way:
            same(
                make()(q, k, v, keep=torch.ones(n.b, n.s, dtype=torch.bool), **way),
                make()(q, k, v, **way),
                (q, k, v),
            )


@law("keep")
def what_is_hidden_has_no_gradient(make, n):
    n = replace(n, b=1)
    q, k, v = draw(n)
    for way in ways(n, make().facts):
        if "keep" in way:
            out = make()(q, k, v, **way)
            hidden = ~way["keep"]
            for gradient in gradients(out, (k, v)):
                assert torch.equal(gradient[hidden], torch.zeros_like(gradient[hidden]))


@law("causal", "cross")
def a_causal_row_is_the_plain_answer_on_its_visible_prefix(make, n):
    q, k, v = draw(n)
    rows = []
    for i in range(n.t):
        row, seen = q[:, i : i + 1], max(0, n.s - n.t + i + 1)
        rows.append(make()(row, k[:, :seen], v[:, :seen]) if seen else row * 0)
    same(make()(q, k, v, causal=True), torch.cat(rows, 1), (q, k, v))


@law("keep")
def a_query_that_sees_nothing_gives_zeros_and_takes_no_gradient(make, n):
    q, k, v = draw(n)
    none = torch.zeros(n.b, n.s, dtype=torch.bool)
    early = max(0, n.t - n.s)
    known = make().facts.abilities
    tries = [({"keep": none}, n.t)]
    if "causal" in known:
        tries += [({"keep": none, "causal": True}, n.t), ({"causal": True}, early)]
    for way, rows in tries:
        out = make()(q, k, v, **way)[:, :rows]
        assert torch.equal(out, torch.zeros_like(out))
        for gradient in gradients(out, (q, k, v)):
            assert torch.equal(gradient, torch.zeros_like(gradient))


POISONS = (float("nan"), float("inf"), float("-inf"))


def spoil(inputs, mask):
    """Return the inputs once per poison, one below the other, with poison over some keys and values."""
    q, *rest = inputs
    spoilt = [torch.cat([x.detach().masked_fill(mask, poison) for poison in POISONS]) for x in rest]
    return [x.requires_grad_() for x in (torch.cat([q.detach()] * len(POISONS)), *spoilt)]


@law("keep")
def what_a_hidden_key_holds_never_leaks(make, n):
    keep = some_keys(n)
    for dtype in (torch.float64, torch.bfloat16):
        inputs = draw(n, dtype)
        for way in ways(n, make().facts):
            if "keep" not in way:
                continue
            clean = make(dtype)(*inputs, **way)
            wanted = gradients(clean, inputs)
            spoilt = spoil(inputs, ~keep[..., None, None])
            out = make(dtype)(*spoilt, **way | {"keep": torch.cat([keep] * len(POISONS))})
            got = gradients(out, spoilt, copies=len(POISONS))
            for answer, *slopes in zip(*(x.chunk(len(POISONS)) for x in (out, *got)), strict=True):
                assert_close(answer, clean)
                assert_close(slopes, list(wanted))


@law("causal")
def what_a_later_key_holds_never_leaks(make, n):
    early = n.t // 2
    later = max(0, n.s - n.t + early)
    if early == 0 or later == n.s:
        return
    for dtype in (torch.float64, torch.bfloat16):
        inputs = draw(n, dtype)
        clean = make(dtype)(*inputs, causal=True)[:, :early]
        wanted = gradients(clean, inputs)
        spoilt = spoil(inputs, (torch.arange(n.s) >= later)[:, None, None])
        out = make(dtype)(*spoilt, causal=True)
        got = gradients(out[:, :early], spoilt, copies=len(POISONS))
        for poison, answer, *slopes in zip(
            POISONS, *(x.chunk(len(POISONS)) for x in (out, *got)), strict=True
        ):
            assert_close(answer[:, :early], clean)
            assert_close(slopes, list(wanted))
            assert poison == poison or answer[:, -1].isnan().all(), "what may be seen must show"


SPREADS = {1.0: (1e-3, 60.0, 1e3), 15.0: (1e-3, 1e3)}
"""Sizes of later keys and values, for each deviation of all."""


@law("causal")
def later_keys_of_any_size_leave_earlier_rows_alone(make, n):
    """In every form, for keys and values: no number is taken relative to one that may not be seen."""
    early = n.t // 2
    later = max(0, n.s - n.t + early)
    mechanism = make(torch.float32)
    for deviation, sizes in SPREADS.items():
        q, k, v = (x.detach() * deviation for x in draw(n, torch.float32))
        forms = list(causal_forms(mechanism, q, k, v, early))
        factors = torch.ones(len(sizes), n.s, dtype=q.dtype)
        factors[:, later:] = torch.tensor(sizes)[:, None]
        factors = repeat(factors, "sizes s -> (sizes b) s 1 1", b=n.b)
        q, k, v = (torch.cat([x] * len(sizes)) for x in (q, k, v))
        for got, want in zip(causal_forms(mechanism, q, k * factors, v * factors, early), forms, strict=True):
            assert_close(got, torch.cat([want] * len(sizes)), rtol=1e-2, atol=1e-2 * deviation)


def causal_forms(mechanism, q, k, v, early):
    """Yield the early rows of every form of the answer."""
    yield mechanism(q, k, v, causal=True)[:, :early]
    if hasattr(mechanism, "forward_reference"):
        yield mechanism.forward_reference(q, k, v, causal=True)[:, :early]
    told = mechanism.explain(q, k, v, causal=True)
    for weights in (mechanism.weights(q, k, causal=True), told.get("weights")):
        if weights is not None:
            yield weights[:, :, :early]
    if {"numerator", "denominator"} <= told.keys():
        denominator = told["denominator"][..., None]
        yield (told["numerator"] / denominator.masked_fill(denominator == 0, 1.0))[:, :early]
    if "decode" in mechanism.facts.abilities and q.shape[1] <= k.shape[1]:
        own = [x[:, -q.shape[1] :] for x in (k, v)]
        cache = mechanism.init_cache(CacheSpec(q.shape[0], q.shape[1], k.shape[2], q.shape[3]))
        yield cache.prefill(q, *own)[:, :early]


@law("exact")
def exact_means_equal_to_the_formula_by_hand(make, n):
    q, k, v = draw(n)
    for way in ways(n, make().facts):
        same(make()(q, k, v, **way), obvious(q, k, v, **way), (q, k, v))


@law()
def the_answer_is_the_values_mixed_with_the_weights_shown(make, n):
    """In float64, values and gradients: ``weights`` is the formula as written, the call may be clever."""
    q, k, v = draw(n)
    mechanism = make()
    many = repeat(v, "b s g d -> b s (g each) d", each=n.group_size)
    for way in ways(n, mechanism.facts):
        weights = mechanism.weights(q, k, **way)
        assert weights.shape == (n.b, n.groups * n.group_size, n.t, n.s)
        learned = [p for p in mechanism.parameters() if p.requires_grad]
        want = torch.einsum("bhts,bshd->bthd", weights, many)
        same(mechanism(q, k, v, **way), want, (q, k, v, *learned))
        half = slice(n.t // 2, n.t)
        assert_close(mechanism.weights(q, k, rows=half, **way), weights[:, :, half])


@law(wider=8)
def half_precision_errs_at_most_twice_as_much_as_a_plain_computation(make, n):
    """Plain is the twin in the same precision: the weights as the formula says them, times the values."""
    inputs = draw(n, torch.bfloat16)
    exact = [x.detach().double().requires_grad_() for x in inputs]
    for way in ways(n, make().facts):
        if "keep" in way:
            continue
        try:
            done = make(torch.bfloat16)(*inputs, **way)
        except RuntimeError as why:
            if "avx512" not in str(why):
                raise
            # ATEN_CPU_CAPABILITY hides it from torch 2.13, which chooses a kernel for it all the same.
            pytest.skip(f"torch's own attention fails here in bfloat16: {why}")
        plain, want = plainly(make, inputs, way), plainly(make, exact, way)
        truth = (want, *gradients(want, exact))
        plainly_done, well_done = ((out, *gradients(out, inputs)) for out in (plain, done))
        # Taken together: a gradient that is nearly zero may be right by luck in one of them. Where plain is
        # right by luck in all, the answers may still be rounded once, by half of eps.
        true, reference, got = (
            torch.cat([x.double().flatten() for x in parts]) for parts in (truth, plainly_done, well_done)
        )
        once = torch.finfo(torch.bfloat16).eps / 2 * true.norm()
        assert (got - true).norm() <= 2 * (reference - true).norm() + once


def plainly(make, inputs, way):
    """Compute in the dtype that came in, as one would on a blackboard."""
    q, k, v = inputs
    weights = make(q.dtype).weights(q, k, **way)
    many = repeat(v, "b s g d -> b s (g each) d", each=q.shape[2] // v.shape[2])
    return torch.einsum("bhts,bshd->bthd", weights, many)


@law()
def the_explanation_ends_in_the_answer(make, n):
    q, k, v = draw(n)
    for way in ways(n, make().facts):
        told = make().explain(q, k, v, **way)
        assert list(told)[-1] == "output"
        assert len(told) > 1
        assert_close(told["output"], make()(q, k, v, **way))


@law("grouped")
def grouped_heads_are_repeated_heads(make, n):
    q, k, v = draw(n)
    for way in ways(n, make().facts):
        many = [repeat(x, "b s g d -> b s (g each) d", each=n.group_size) for x in (k, v)]
        same(make()(q, k, v, **way), make()(q, *many, **way), (q, k, v))


@law()
def batch_rows_are_independent(make, n):
    q, k, v = draw(n)
    for way in ways(n, make().facts):
        alone = []
        for i in range(n.b):
            own = way | ({"keep": way["keep"][i : i + 1]} if "keep" in way else {})
            alone.append(make()(q[i : i + 1], k[i : i + 1], v[i : i + 1], **own))
        same(make()(q, k, v, **way), torch.cat(alone), (q, k, v))


@law()
def nothing_in_gives_nothing_or_zeros_out(make, n):
    alike = ({"b": 0}, {"t": 0, "s": 0})
    for empty in (*alike, {"t": 0}, {"s": 0}) if "cross" in make().facts.abilities else alike:
        case = replace(n, **empty)
        q, k, v = draw(case)
        for way in ways(case, make().facts):
            out = make()(q, k, v, **way)
            assert torch.equal(out, torch.zeros_like(q))
            for gradient in gradients(out, (q, k, v)):
                assert torch.equal(gradient, torch.zeros_like(gradient))


@law()
def any_length_may_follow_any_other(make, n):
    mechanism = make()
    cross = "cross" in mechanism.facts.abilities
    wanted = {}
    for t, s in ((n.t, n.s), (1, n.s if cross else 1), (n.s, n.t), (9, 9), (n.t, n.s)):
        q, k, v = draw(replace(n, t=t, s=s))
        for number, way in enumerate(ways(replace(n, t=t, s=s), mechanism.facts)):
            if (t, s, number) not in wanted:
                wanted[t, s, number] = make()(q, k, v, **way)
            assert_close(mechanism(q, k, v, **way), wanted[t, s, number])


@law()
def a_copy_and_a_reloaded_state_answer_alike(make, n):
    mechanism, other = make(), make()
    q, k, v = draw(n)
    want = mechanism(q, k, v)
    assert_close(deepcopy(mechanism)(q, k, v), want)
    for parameter in other.parameters():
        torch.nn.init.normal_(parameter)
    other.load_state_dict(mechanism.state_dict())
    assert_close(other(q, k, v), want)


@law()
def built_without_numbers_and_loaded_it_answers_bit_for_bit(make, n):
    """Tables that are not in the state are computed again."""
    mechanism = make()
    q, k, v = draw(n)
    wanted = [mechanism(q, k, v, **way) for way in ways(n, mechanism.facts)]
    for other in by_way_of_meta(mechanism, make):
        for way, want in zip(ways(n, mechanism.facts), wanted, strict=True):
            assert torch.equal(other(q, k, v, **way), want)


@law()
def under_torch_func_it_answers_as_row_by_row(make, n):
    """vmap alone, over grad, and jvp, which must be the transpose of grad."""
    mechanism, inputs = make(), draw(n)
    *_, way = ways(n, mechanism.facts)
    want = mechanism(*inputs, **way)
    weight = torch.linspace(-1, 2, want.numel(), dtype=want.dtype).reshape(want.shape)
    wanted = gradients(want, inputs, weight)
    rows = [x.detach()[:, None] for x in (*inputs, weight, way.get("keep", torch.ones(n.b, 1)))]

    def answer(q, k, v, weight, keep):
        return mechanism(q, k, v, **way | ({"keep": keep} if "keep" in way else {}))

    def loss(*row):
        return (answer(*row) * row[3]).sum()

    def directional(*row):
        return torch.func.jvp(lambda q: loss(q, *row[1:]), (row[0],), (row[0],))[1]

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="There is a performance drop|`torch.jit.script` is deprec")
        try:
            out = torch.func.vmap(answer)(*rows)[:, 0]
            got = torch.func.vmap(torch.func.grad(loss, (0, 1, 2)))(*rows)
            change = torch.func.vmap(directional)(*rows)
        except (RuntimeError, NotImplementedError) as why:
            pytest.fail(str(why))
    assert_close(out, want)
    assert_close([x[:, 0] for x in got], list(wanted))
    assert_close(change, (wanted[0] * inputs[0]).flatten(1).sum(1))


@law()
def a_change_of_dtype_and_back_keeps_the_answer(make, n):
    q, k, v = draw(n, torch.float32)
    mechanism = make(torch.float32)
    want = mechanism(q, k, v)
    assert_close(mechanism.to(torch.float64).to(torch.float32)(q, k, v), want)
    assert mechanism.to(torch.bfloat16)(*draw(n, torch.bfloat16)).dtype == torch.bfloat16


@law()
def autocast_agrees_with_full_precision_roughly(make, n):
    q, k, v = draw(n, torch.float32)
    mechanism = make(torch.float32)
    for way in ways(n, mechanism.facts):
        with torch.autocast("cpu", torch.bfloat16):
            out = mechanism(q, k, v, **way)
        want = mechanism(q, k, v, **way)
        assert (out.float() - want).norm() <= 5e-2 * want.norm() + 5e-2 * want.numel() ** 0.5
