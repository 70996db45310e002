"""Three forms, one result: the implied matrix, chunks with a carried state, the state place by place."""

import pytest
import torch
from torch.testing import assert_close

from nhin.attention.base import CacheSpec
from nhin.attention.linear import chunked_scan
from nhin.attention.linear.linear import Linear
from nhin.attention.linear.linear_exp import LinearExp
from nhin.attention.linear.linear_relu import LinearReLU
from nhin.attention.registry import build
from nhin.errors import ShapeError

MAPS = {
    Linear: lambda x: torch.nn.functional.elu(x) + 1,
    LinearReLU: torch.relu,
    LinearExp: torch.exp,
}
each = pytest.mark.parametrize("mechanism", MAPS)


def draw(t, s, groups=2, of_each=2, d=5, dtype=torch.float64):
    q = torch.randn(2, t, groups * of_each, d, dtype=dtype)
    k, v = torch.randn(2, 2, s, groups, d, dtype=dtype)
    return [x.clone().requires_grad_() for x in (q, k, v)]


def by_hand(mechanism, q, k, v, causal):
    """One query at a time, one key at a time."""
    phi, (t, s, each) = MAPS[mechanism], (q.shape[1], k.shape[1], q.shape[2] // k.shape[2])
    rows = []
    for b in range(q.shape[0]):
        for i in range(t):
            for h in range(q.shape[2]):
                above, below = torch.zeros_like(q[b, i, h]), q.new_zeros(())
                for j in range(s - t + i + 1 if causal else s):
                    weight = (phi(q[b, i, h]) * phi(k[b, j, h // each])).sum()
                    above, below = above + weight * v[b, j, h // each], below + weight
                rows.append(above / below if below > 0 else above * 0)
    return torch.stack(rows).reshape(q.shape)


def gradients(out, inputs):
    return torch.autograd.grad(out.sin().sum(), inputs, retain_graph=True, materialize_grads=True)


def same(one, other, inputs):
    assert_close(one, other)
    assert_close(gradients(one, inputs), gradients(other, inputs))


@each
@pytest.mark.parametrize(("t", "s"), [(7, 7), (3, 8), (8, 3), (1, 4)])
@pytest.mark.parametrize("causal", [False, True])
def test_every_form_is_the_formula_by_hand(mechanism, t, s, causal):
    inputs = draw(t, s)
    want = by_hand(mechanism, *inputs, causal)
    same(mechanism(chunk=3)(*inputs, causal=causal), want, inputs)
    same(mechanism().forward_reference(*inputs, causal=causal), want, inputs)


@each
def test_chunks_of_any_size_and_steps_are_one(mechanism):
    inputs = draw(11, 11)
    want = mechanism(chunk=64)(*inputs, causal=True)
    for chunk in (1, 2, 5, 11):
        same(mechanism(chunk=chunk)(*inputs, causal=True), want, inputs)
    state = mechanism().init_cache(CacheSpec(2, 11, 2, 5, torch.float64))
    with torch.no_grad():
        steps = [state.step(*(x[:, i : i + 1] for x in inputs)) for i in range(11)]
    assert_close(torch.cat(steps, 1), want)


@each
def test_keys_hidden_in_any_chunk_are_as_if_absent(mechanism):
    q, k, v = draw(9, 9)
    keep = torch.tensor([True, False, False, True, True, False, True, True, True]).expand(2, 9)
    out = mechanism(chunk=2)(q, k, v, causal=True, keep=keep)
    same(out, mechanism().forward_reference(q, k, v, causal=True, keep=keep), (q, k, v))


@pytest.mark.parametrize("scale", [100.0, 1e4])
def test_exponentials_of_large_numbers_are_right_in_every_form(scale):
    """Equal to a softmax over keys of the logarithm of the product."""
    q, k, v = (x.detach().float() * s for x, s in zip(draw(40, 40), (scale, scale, 1.0), strict=True))
    many = [x.repeat_interleave(2, 2) for x in (k, v)]
    logs = (q[:, :, None] + many[0][:, None]).logsumexp(-1).movedim(-1, 1)
    hidden = torch.ones(40, 40, dtype=torch.bool).triu(1)
    want = torch.einsum("bhts,bshd->bthd", logs.masked_fill(hidden, float("-inf")).softmax(-1), many[1])
    state = LinearExp().init_cache(CacheSpec(2, 40, 2, 5))
    steps = torch.cat([state.step(*(x[:, i : i + 1] for x in (q, k, v))) for i in range(40)], 1)
    # Logarithms of this size carry this much rounding themselves.
    close = {"rtol": 1e-3, "atol": 1e-6 * scale}
    assert_close(steps, want, **close)
    assert_close(LinearExp()(q, k, v, causal=True), want, **close)


def test_small_features_of_elu_do_not_cancel():
    x = torch.tensor([-30.0, -12.0, -1.0, 0.0, 2.0])
    want = torch.where(x > 0, x.double() + 1, x.double().exp())
    assert_close(chunked_scan.features("elu", x).double(), want, rtol=1e-5, atol=0)


def test_a_query_without_a_channel_in_common_gives_zeros_and_takes_no_gradient():
    q, k, v = draw(4, 4)
    k = (-k.detach().abs()).requires_grad_()
    for causal in (False, True):
        out = LinearReLU()(q, k, v, causal=causal)
        assert not out.any()
        assert not any(g.any() for g in gradients(out, (q, k, v)))


@each
def test_the_state_takes_as_many_bytes_for_any_context(mechanism):
    short, long = (
        mechanism().init_cache(CacheSpec(3, context, 2, 8, torch.bfloat16)) for context in (4, 4_000_000)
    )
    assert short.size == long.size == 3 * 2 * (8 * 8 + 2 * 8) * 4


def error_of_long_sums():
    q, k, v = (x.detach() for x in draw(2048, 2048, 1, 1, 16, torch.bfloat16))
    v = v + 1
    exact = Linear()(q.double(), k.double(), v.double(), causal=True)
    return ((Linear(chunk=16)(q, k, v, causal=True).double() - exact).norm() / exact.norm()).item()


def test_long_sums_of_halves_stay_as_good_as_one_rounding():
    assert error_of_long_sums() < 0.0045


def test_sums_in_half_precision_would_be_caught(monkeypatch):
    monkeypatch.setattr("nhin.attention.linear.base.accumulation_dtype", lambda dtype: dtype)
    assert error_of_long_sums() > 0.0045


@pytest.mark.parametrize("mechanism", [Linear, LinearReLU])
@pytest.mark.parametrize(("t", "causal"), [(300, True), (40, True), (40, False)])
def test_on_a_cpu_half_precision_is_rounded_once_at_the_end(mechanism, t, causal):
    """As float32 computes it; the order of a sum may move an output to the other side of a rounding."""
    q, k, v = (x.detach() for x in draw(t, 300, dtype=torch.bfloat16))
    v = v + 1
    want = mechanism()(q.float(), k.float(), v.float(), causal=causal).bfloat16()
    assert (mechanism()(q, k, v, causal=causal) != want).float().mean() < 0.01


def left_out(self, x, y, add=None):
    """The current place is left out."""
    return RIGHT(self, x, y, add).unflatten(1, (self.group_size, -1)).tril(-1).flatten(1, 2)


def seen_too_soon(self, x, y, add=None):
    """The next place is seen."""
    made = torch.bmm(x, y.mT) + (0 if add is None else add)
    return made.unflatten(1, (self.group_size, -1)).tril(1).flatten(1, 2)


RIGHT = chunked_scan._ChunkLoop.masked_products


@pytest.mark.parametrize("fault", [left_out, seen_too_soon])
def test_running_sums_off_by_one_are_caught(monkeypatch, fault):
    monkeypatch.setattr(chunked_scan._ChunkLoop, "masked_products", fault)
    with pytest.raises(AssertionError):
        test_every_form_is_the_formula_by_hand(Linear, 7, 7, True)


def test_a_dropped_state_is_caught(monkeypatch):
    monkeypatch.setattr(chunked_scan, "_accumulate", lambda *_: None)
    with pytest.raises(AssertionError):
        test_chunks_of_any_size_and_steps_are_one(Linear)


def test_a_chunk_of_nothing_is_refused():
    with pytest.raises(ShapeError, match="chunk is 0"):
        Linear(chunk=0)


def test_the_explanation_holds_every_part_of_the_formula():
    q, k, v = draw(5, 5)
    told = Linear().explain(q, k, v, causal=True)
    assert list(told) == ["phi(q)", "phi(k)", "S", "Z", "numerator", "denominator", "weights", "output"]
    assert_close(told["numerator"] / told["denominator"][..., None], told["output"])
    last = torch.einsum("bhm,bhmd->bhd", told["phi(q)"][:, -1], told["S"].repeat_interleave(2, 1))
    assert_close(last, told["numerator"][:, -1])


@pytest.mark.parametrize("name", ["linear-exp", "performer"])
def test_chunks_with_steep_rises_are_halved_and_pass_the_right_gradients(name, monkeypatch):
    """One key far above the others, one far below, in the midst of chunks."""
    mechanism = build(name, head_dim=5, chunk=16).double()
    q, k, v = draw(40, 40)
    with torch.no_grad():
        k *= 15
        k[:, 21] *= 40
        k[:, 27] = 0
    keep = torch.arange(40).expand(len(k), 40) % 9 != 4
    sizes = []
    load = chunked_scan._ChunkLoop.load_chunk
    monkeypatch.setattr(
        chunked_scan._ChunkLoop,
        "load_chunk",
        lambda self, span, top: sizes.append(span.stop - span.start) or load(self, span, top),
    )
    out = mechanism(q, k, v, causal=True, keep=keep)
    assert min(sizes) < 16
    same(out, mechanism.forward_reference(q, k, v, causal=True, keep=keep), (q, k, v))


@pytest.mark.parametrize("name", ["linear-exp", "performer"])
def test_every_intermediate_of_a_causal_explanation_is_causal(name):
    mechanism = build(name, head_dim=5)
    q, k, v = (x.detach().float() * 15 for x in draw(12, 12))
    k[:, -1] = 0.0
    told, before = (mechanism.explain(*(x[:, :n] for x in (q, k, v)), causal=True) for n in (12, 11))
    for step in ("phi(q)", "phi(k)", "numerator", "denominator", "output"):
        assert_close(told[step][:, :11], before[step])
    assert_close(told["weights"][..., :11, :11], before["weights"])
