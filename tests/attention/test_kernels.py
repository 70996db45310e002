"""Our Triton kernels in Triton's interpreter, FlexAttention's block masks, fla, the choice of a backend."""

import os
import sys
from types import ModuleType

import pytest
import torch
from torch.testing import assert_close

from nhin.attention.backends import BackendChooser, _sees_any, attend_triton
from nhin.attention.band.chunked import Band
from nhin.attention.band.row_blocks import BandTiles
from nhin.attention.band.window import SlidingWindow
from nhin.attention.exact.naive import Naive
from nhin.attention.kernels.flash import KernelBlocks, KernelCall, attend
from nhin.attention.kernels.flex import attend_flex, build_block_mask, find_visible_blocks
from nhin.attention.linear.fla import attend_fla
from nhin.attention.linear.linear import Linear
from nhin.attention.masks import dense_mask
from nhin.attention.registry import build
from nhin.errors import MissingExtra, ShapeError, UnknownName, UsageError

SMALL = KernelBlocks(16, 16)


@pytest.fixture
def interpreter():
    """Triton's interpreter, which takes tensors on the CPU; chosen when the kernels are first imported."""
    os.environ.setdefault("TRITON_INTERPRET", "1")
    pytest.importorskip("triton", reason="the extra gpu is not installed")
    from nhin.attention.kernels import triton_kernels

    if "Interpreted" not in type(triton_kernels.forward_kernel).__name__:
        pytest.skip("the kernels were imported without TRITON_INTERPRET=1")


def draw(t, s, groups=2, each=2, d=24, dtype=torch.float32):
    q = torch.randn(2, t, groups * each, d).to(dtype)
    k, v = torch.randn(2, 2, s, groups, d).to(dtype)
    return [x.requires_grad_() for x in (q, k.clone(), v.clone())]


def reference(q, k, v, causal, window):
    mechanism = Naive() if window is None else SlidingWindow(window)
    return mechanism.forward_reference(q, k, v, causal=causal)


CALLS = [
    (37, 37, True, None), (20, 53, True, None), (35, 18, True, None), (19, 34, False, None),
    (50, 50, True, 9), (37, 37, False, 5), (33, 20, True, 3), (18, 18, True, 1), (1, 1, True, None),
    (1, 40, True, 7), (40, 20, False, 2),
]  # fmt: skip


@pytest.mark.parametrize(("t", "s", "causal", "window"), CALLS)
def test_the_kernels_give_the_values_and_gradients_of_the_formula(interpreter, t, s, causal, window):
    q, k, v = draw(t, s)
    exact = [x.detach().double().requires_grad_() for x in (q, k, v)]
    out = attend(q, k, v, KernelCall(causal, window, SMALL, SMALL))
    want = reference(*exact, causal, window)
    grad = torch.randn_like(out)
    got = out, *torch.autograd.grad(out, (q, k, v), grad)
    wanted = want, *torch.autograd.grad(want, exact, grad.double())
    for one, other in zip(got, wanted, strict=True):
        assert_close(one.double(), other, rtol=1e-4, atol=1e-5)


def test_queries_that_see_no_key_give_zeros_and_take_no_gradient(interpreter):
    q, k, v = draw(20, 4)
    out = attend(q, k, v, KernelCall(causal=True, forward=SMALL, backward=SMALL))
    assert not out[:, :16].any()
    (dq,) = torch.autograd.grad(out.sum(), (q,))
    assert not dq[:, :16].any()
    assert dq.isfinite().all()


def test_blocks_of_other_sizes_and_strided_inputs_change_nothing(interpreter):
    q, k, v = (x.detach() for x in draw(40, 40, d=20))
    want = attend(q, k, v, KernelCall(True, forward=SMALL))
    strided = [x.transpose(1, 2).contiguous().transpose(1, 2) for x in (q, k, v)]
    assert not strided[0].is_contiguous()
    assert torch.equal(attend(*strided, KernelCall(True, forward=SMALL)), want)
    assert_close(attend(q, k, v, KernelCall(True, forward=KernelBlocks(64, 32))), want)


def test_float16_errs_by_its_own_rounding_and_twice_gives_the_same_bits(interpreter):
    q, k, v = draw(33, 33, dtype=torch.float16)
    call = KernelCall(True, None, SMALL, SMALL)
    outs = [attend(q, k, v, call) for _ in range(2)]
    grads = [torch.autograd.grad(out.float().sum(), (q, k, v)) for out in outs]
    assert torch.equal(*outs)
    assert all(map(torch.equal, *grads))
    want = reference(*(x.detach().double() for x in (q, k, v)), True, None)
    assert_close(outs[0].double(), want, rtol=4e-3, atol=2e-3)


def test_equal_scores_of_any_size_are_a_mean(interpreter):
    q, k, v = (x.detach() for x in draw(1, 30))
    for size in (0.0, 1e4, -1e4):
        out = attend(torch.full_like(q, 1.0), torch.full_like(k, size), v, KernelCall(forward=SMALL))
        assert_close(out, v.mean(1, keepdim=True).repeat_interleave(2, 2), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("window", [None, 4])
def test_what_a_later_key_holds_never_leaks(interpreter, window):
    q, k, v = (x.detach() for x in draw(24, 24))
    want = reference(q, k, v, True, window)
    for poison in (float("nan"), float("inf"), float("-inf")):
        spoilt = k.clone()
        spoilt[:, 20] = poison
        out = attend_triton(q, spoilt, v, True, window)
        assert_close(out[:, :20], want[:, :20])
        assert out[:, 20].isnan().all()


def test_the_kernels_refuse_what_they_cannot_compute():
    q, k, v = (x.detach() for x in draw(3, 3, d=8))
    with pytest.raises(UsageError, match="head_dim is 8 and dtype"):
        attend(q.double(), k.double(), v.double())
    with pytest.raises(ShapeError, match="window is 0"):
        attend(q, k, v, KernelCall(window=0))
    assert attend(q[:, :0], k, v).shape == (2, 0, 4, 8)
    assert not attend(q, k[:, :0], v[:, :0]).any()


def test_without_triton_one_line_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "triton", None)
    monkeypatch.delitem(sys.modules, "nhin.attention.kernels.triton_kernels", raising=False)
    monkeypatch.delattr("nhin.attention.kernels.triton_kernels", raising=False)
    with pytest.raises(MissingExtra, match=r"need Triton; pip install .*gpu"):
        attend(*(x.detach() for x in draw(3, 3)))


@pytest.mark.parametrize(("t", "s", "causal", "window"), CALLS)
def test_marked_keys_are_seen_by_the_queries_that_the_pattern_shows_them(t, s, causal, window):
    marked = torch.rand(2, s, 3) < 0.1
    p = torch.arange(t)[:, None] + s - t
    gap = p - torch.arange(s)
    visible = (gap >= 0) if causal else torch.ones_like(gap, dtype=torch.bool)
    visible &= gap.abs() < (window or t + s)
    want = (visible[None, :, :, None] & marked[:, None]).any(2)
    assert torch.equal(_sees_any(marked, t, causal, window), want)


@pytest.mark.parametrize(("t", "s"), [(40, 40), (18, 40)])
@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("name", ["window", "bigbird", "strided"])
def test_block_masks_from_tiles_hold_every_visible_pair(name, causal, t, s):
    pattern = BandTiles(Band(5)) if name == "window" else build(name).pattern
    mask = build_block_mask(pattern, t, s, causal=causal, device=torch.device("cpu"), block=8)
    shown = dense_mask(pattern, t, s, causal=causal)
    rows, columns = -(-t // 8), -(-s // 8)
    padded = torch.zeros(rows * 8, columns * 8, dtype=torch.bool)
    padded[:t, :s] = shown
    visible = padded.unflatten(0, (rows, 8)).unflatten(2, (columns, 8)).any(3).any(1)
    assert torch.equal(mask.to_dense()[0, 0].bool() & visible, visible)
    assert torch.equal(
        mask.to_dense()[0, 0].bool(), find_visible_blocks(pattern, t, s, causal=causal, block=8)
    )


@pytest.mark.compiled
@pytest.mark.filterwarnings("ignore:flex_attention called without")
def test_flex_attention_computes_what_the_mechanism_does():
    q, k, v = (x.detach() for x in draw(20, 28, d=16))
    mask = build_block_mask(BandTiles(Band(6)), 20, 28, causal=True, device=q.device)
    assert_close(attend_flex(q, k, v, mask), reference(q, k, v, True, 6))


def test_fla_gets_features_and_repeated_heads_and_no_scale(monkeypatch):
    q, k, v = (x.detach() for x in draw(9, 9))

    def chunk_linear_attn(q, k, v, scale, normalize):
        weights = (torch.einsum("bthd,bshd->bhts", q, k) * scale).tril()
        weights = weights / weights.sum(-1, keepdim=True) if normalize else weights
        return torch.einsum("bhts,bshd->bthd", weights, v), None

    for name in ("fla", "fla.ops", "fla.ops.linear_attn"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    sys.modules["fla.ops.linear_attn"].chunk_linear_attn = chunk_linear_attn
    assert_close(attend_fla(q, k, v), Linear()(q, k, v, causal=True))
    with pytest.raises(UsageError, match="as many queries"):
        attend_fla(q[:, :3], k, v)


def test_without_fla_one_line_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "fla.ops.linear_attn", None)
    with pytest.raises(MissingExtra, match="fla-core"):
        attend_fla(*(x.detach() for x in draw(3, 3)))


def fails(*_):
    raise RuntimeError("no such kernel\nand a long story")


def test_the_fastest_backend_is_timed_once_for_each_kind_of_call_and_named():
    spent, runs = {"one": 1.0, "two": 0.5, "three": 0.495}, []
    backends = {
        name: (lambda q, k, v, causal, window, name=name: runs.append(name) or q * 1.0) for name in spent
    }

    def timer(run):
        run()
        return spent[runs[-1]]

    chooser = BackendChooser(backends | {"four": fails}, timer)
    q, k, v = (x.detach().to("meta") for x in draw(20, 20))
    choice = chooser.choose(q, k, v, causal=True)
    assert choice.backend == "two", "a tie goes to the first listed"
    assert choice.refused == {"four": "RuntimeError: no such kernel"}
    assert str(choice).startswith("two (one 1000.000 ms, two 500.000 ms")
    counted = len(runs)
    chooser.attend(q[:, :18], k[:, :18], v[:, :18], causal=True)
    assert runs[counted:] == ["two"], "lengths up to the same power of two are one kind"
    chooser.attend(q, k, v, causal=True, backend="one")
    assert runs[-1] == "one", "an explicit choice wins"
    chooser.choose(q, k, v, causal=True, window=4)
    assert len(chooser.choices) == 2
    with pytest.raises(UnknownName, match="backend"):
        chooser.attend(q, k, v, backend="tow")


def test_gradients_are_timed_where_they_are_wanted():
    seen = []
    backends = {
        "one": lambda q, k, v, causal, window: seen.append(q.requires_grad) or q * 1.0 + k.sum() + v.sum()
    }
    chooser = BackendChooser(backends, lambda run: run() or 1.0)
    q, k, v = (x.detach().to("meta").requires_grad_() for x in draw(4, 4))
    chooser.choose(q, k, v)
    with torch.no_grad():
        chooser.choose(q, k, v)
    assert seen == [True, False]


def test_on_a_cpu_the_mechanism_computes_and_nothing_is_timed():
    chooser = BackendChooser(timer=fails)
    q, k, v = (x.detach() for x in draw(6, 6))
    assert chooser.choose(q, k, v).backend == "mechanism"
    assert torch.equal(chooser.attend(q, k, v, causal=True, window=2), SlidingWindow(2)(q, k, v, causal=True))
