"""The fused path chooses among several; each equals the reference and none costs what it should not."""

import pytest
import torch
from torch.nn import functional as F
from torch.testing import assert_close

from nhin.attention.exact import softmax as module
from nhin.attention.exact.naive import Naive
from nhin.attention.exact.softmax import Softmax


def draw(t, s, heads, groups, dtype=torch.float64):
    q = torch.randn(2, t, heads, 8, dtype=dtype, requires_grad=True)
    k, v = (torch.randn(2, s, groups, 8, dtype=dtype, requires_grad=True) for _ in range(2))
    return q, k, v


@pytest.mark.parametrize(("t", "s"), [(6, 6), (1, 9), (4, 9), (9, 4)])
@pytest.mark.parametrize("groups", [4, 2, 1])
@pytest.mark.parametrize("causal", [False, True])
def test_the_kernel_and_the_plain_path_are_one_function(monkeypatch, t, s, groups, causal):
    inputs = draw(t, s, 4, groups)
    kernel = Softmax()(*inputs, causal=causal)
    monkeypatch.setattr(module, "_is_unfused_faster", lambda q, k: True)
    plain = Softmax()(*inputs, causal=causal)
    assert_close(kernel, plain)
    for one, other in zip(
        *(torch.autograd.grad(o.sin().sum(), inputs) for o in (kernel, plain)), strict=True
    ):
        assert_close(one, other)


def test_half_precision_takes_the_plain_path_only_while_it_is_short():
    short, long = (torch.zeros(1, n, 1, 8, dtype=torch.bfloat16) for n in (256, 257))
    assert module._is_unfused_faster(short, short)
    assert not module._is_unfused_faster(long, long)
    assert not module._is_unfused_faster(short.float(), short.float())


def test_one_query_with_shared_keys_reads_each_key_once(monkeypatch):
    shapes = []

    def spy(q, k, v, *rest, **options):
        shapes.append((tuple(q.shape), tuple(k.shape)))
        return F.scaled_dot_product_attention(q, k, v, *rest, **options)

    q, k, v = draw(1, 7, 8, 2)
    monkeypatch.setattr(module, "F", type("Spied", (), {"scaled_dot_product_attention": staticmethod(spy)}))
    assert_close(Softmax()(q, k, v, causal=True), Naive()(q, k, v, causal=True))
    assert shapes == [((2, 2, 4, 8), (2, 2, 7, 8))]


def test_causal_looking_at_itself_needs_no_mask(monkeypatch):
    monkeypatch.setattr(module, "make_mask", lambda *_: pytest.fail("a mask was made"))
    q, k, v = draw(5, 5, 4, 2)
    assert Softmax()(q, k, v, causal=True).shape == q.shape


@pytest.mark.filterwarnings("ignore:There is a performance drop")
def test_vmap_goes_through():
    q, k, v = (x.detach() for x in draw(5, 5, 2, 2))
    many = torch.func.vmap(lambda a, b, c: Softmax()(a[None], b[None], c[None], causal=True)[0])(q, k, v)
    assert_close(many, Softmax()(q, k, v, causal=True))


@pytest.mark.compiled
@pytest.mark.parametrize("way", [{}, {"causal": True}], ids=str)
def test_an_exported_graph_takes_any_length(way):
    class Looks(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.mechanism = Softmax()

        def forward(self, q, k, v):
            return self.mechanism(q, k, v, **way)

    inputs = tuple(x.detach().float() for x in draw(6, 6, 4, 4))
    axes = {0: torch.export.Dim("batch"), 1: torch.export.Dim("length")}
    program = torch.export.export(Looks(), inputs, dynamic_shapes=(axes, axes, axes))
    other = tuple(x.detach().float() for x in draw(11, 11, 4, 4))
    assert_close(program.module()(*other), Softmax()(*other, **way))
    used = {str(node.target) for node in program.graph.nodes}
    assert not any("isfinite" in name for name in used)


def test_one_query_with_shared_keys_is_packed_in_half_precision_too(monkeypatch):
    """Writing the weights out is 8 to 19 times slower there: it repeats the keys."""
    monkeypatch.setattr(module, "attention_weights", lambda *_: pytest.fail("the weights were written out"))
    q, k, v = draw(1, 70, 8, 2, torch.bfloat16)
    want = Naive()(*(x.detach().double() for x in (q, k, v)))
    assert_close(Softmax()(q, k, v, causal=True).double(), want, atol=1e-2, rtol=2e-2)
