"""Tiles in either order give the whole softmax and never hold what grows like T x S; faults in them show."""

import laws  # noqa: F401  # enters the laws of answers into the table
import pytest
import state_laws  # noqa: F401  # and those of states
import torch
from cases import LAWS, Sizes, at_any_length
from torch.testing import assert_close
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from nhin.attention.exact import flash as module
from nhin.attention.exact import online_softmax as tiles
from nhin.attention.exact.flash import Flash
from nhin.attention.exact.naive import Naive
from nhin.errors import ShapeError, UsageError

CASES = [
    Sizes(t=3, s=8),
    Sizes(t=8, s=3),
    Sizes(b=3, t=1, s=6, groups=1, group_size=3),
    Sizes(t=9, s=9),
]
orders = pytest.mark.parametrize("order", ["queries", "keys"])


def draw(t, s, heads=4, groups=2, dtype=torch.float64):
    q = torch.randn(2, t, heads, 8, dtype=dtype, requires_grad=True)
    k, v = (torch.randn(2, s, groups, 8, dtype=dtype, requires_grad=True) for _ in range(2))
    return q, k, v


def holds(law, order, query_block=2, key_block=3):
    for n in CASES[:3] if LAWS[law].wider > 1 else CASES:
        LAWS[law].holds(lambda n, dtype=torch.float64: Flash(order, query_block, key_block).to(dtype), n)


@orders
@pytest.mark.parametrize("law", LAWS)
def test_the_law_holds_over_many_small_tiles(law, order):
    holds(law, order)


@orders
@pytest.mark.parametrize("blocks", [(1, 1), (4, 2), (100, 1), (1, 100)], ids=str)
def test_the_size_of_tiles_does_not_matter(order, blocks):
    holds("exact_means_equal_to_the_formula_by_hand", order, *blocks)


class Largest(TorchDispatchMode):
    """Counts the numbers of the largest tensor that any operation returned."""

    def __init__(self):
        super().__init__()
        self.numbers = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        for x in tree_leaves(out):
            if isinstance(x, torch.Tensor):
                self.numbers = max(self.numbers, x.numel())
        return out


def largest(mechanism, length, **way):
    q, k, v = draw(length, length, dtype=torch.float32)
    with Largest() as seen:
        mechanism(q, k, v, **way).sum().backward()
    return seen.numbers


@orders
@pytest.mark.parametrize("causal", [False, True])
def test_no_tensor_grows_like_the_table_of_scores(order, causal):
    """Backwards included; keep and the shield for what is not finite are linear too."""
    mechanism = Flash(order, 16, 32)
    for more in ({}, {"keep": torch.ones(2, 256, dtype=torch.bool)}):
        short = {name: mask[:, :128] for name, mask in more.items()}
        small = largest(mechanism, 128, causal=causal, **short)
        assert small == 2 * 128 * 4 * 8
        assert largest(mechanism, 256, causal=causal, **more) == 2 * small
    assert largest(Naive(), 256) >= 3.9 * largest(Naive(), 128)


@orders
def test_shared_keys_are_never_repeated(order):
    q, k, v = draw(1, 300, heads=16, groups=1)
    with Largest() as seen:
        Flash(order, 16, 8)(q, k, v).sum().backward()
    assert seen.numbers == k.numel()


@orders
@pytest.mark.parametrize(("t", "s"), [(12, 12), (4, 12), (12, 4), (7, 10)])
@pytest.mark.parametrize("blocks", [(2, 2), (3, 4), (4, 3)], ids=str)
def test_tiles_show_every_visible_score_once_and_none_that_is_hidden_whole(order, t, s, blocks):
    q, k = torch.zeros(1, 2 * t, 1), torch.zeros(1, s, 1)
    counted = torch.zeros(2 * t, s)
    for tile in tiles.FlashTiling(2, *blocks, True, order == "keys").iter_tiles(q, k):
        shown = torch.ones_like(counted[tile.rows, tile.keys])
        shown = shown if tile.hidden is None else shown * ~tile.hidden
        assert shown.any(0).all(), "the last keys of this tile are seen by nobody"
        counted[tile.rows, tile.keys] += shown
    places = torch.arange(t).repeat_interleave(2)[:, None] + s - t
    assert torch.equal(counted, (torch.arange(s) <= places).float())


def test_the_order_is_that_of_the_loops():
    q, k = torch.zeros(1, 4, 1), torch.zeros(1, 6, 1)
    by_queries, by_keys = (
        [
            (tile.rows.start, tile.keys.start)
            for tile in tiles.FlashTiling(1, 2, 3, False, keys).iter_tiles(q, k)
        ]
        for keys in (False, True)
    )
    assert by_queries == [(0, 0), (0, 3), (2, 0), (2, 3)]
    assert by_keys == [(0, 0), (2, 0), (0, 3), (2, 3)]


@orders
@pytest.mark.parametrize("way", [{}, {"causal": True}], ids=str)
def test_the_explanation_tells_what_is_known_after_each_block_of_keys(order, way):
    q, k, v = draw(5, 7)
    told = Flash(order, 2, 3).explain(q, k, v, **way)
    scores = Naive().explain(q, k, v, **way)["scores"]
    if way:
        scores = scores.masked_fill(torch.ones(5, 7).triu(3).bool(), float("-inf"))
    many = v.repeat_interleave(2, 2)
    assert told["running_maximum"].shape == (4, 2, 4, 5)
    for j, stop in enumerate((0, 3, 6, 7)):
        if stop == 0:
            assert (told["running_maximum"][j] == float("-inf")).all()
            assert not told["running_sum"][j].any()
            continue
        maximum = scores[..., :stop].max(-1).values
        weights = (scores[..., :stop] - maximum[..., None]).exp()
        mixed = torch.einsum("bhts,bshd->bthd", weights, many[:, :stop])
        assert_close(told["running_maximum"][j], maximum)
        assert_close(told["running_sum"][j], weights.sum(-1))
        assert_close(told["running_output"][j], mixed)
        assert_close(told["rescaling"][j], (told["running_maximum"][j - 1] - maximum).exp())
    assert_close(told["logsumexp"], scores.logsumexp(-1))
    total = told["running_sum"][-1].transpose(1, 2)[..., None]
    assert_close(told["output"], told["running_output"][-1] / total)


def test_half_precision_is_summed_in_single():
    """Ten thousand equal weights: in bfloat16 a sum stops growing at 256."""
    for dtype in (torch.bfloat16, torch.float16):
        q, k = torch.zeros(1, 1, 1, 4, dtype=dtype), torch.zeros(1, 10_000, 1, 4, dtype=dtype)
        assert_close(Flash()(q, k, torch.ones_like(k)), torch.ones_like(q))
        _, log = module.FlashFunction.apply(q[:, 0], k[:, :, 0], k[:, :, 0], None, (1, 16, 16, 0, 0))
        assert log.dtype == torch.float32
        assert_close(log.item(), 9.21034, atol=1e-4, rtol=0)


def test_large_scores_do_not_overflow_whatever_the_order():
    q, k, v = (x.detach() * 100 for x in draw(6, 9))
    for order in ("queries", "keys"):
        assert_close(Flash(order, 2, 2)(q, k, v), Naive()(q, k, v))


def test_a_second_derivative_is_refused():
    """Not left out in silence, as it would be where the gradient that comes in is a constant."""
    q, k, v = draw(3, 3)
    with pytest.raises(UsageError, match=r"no second derivative.*naive has one"):
        torch.autograd.grad(Flash()(q, k, v).sum(), q, create_graph=True)


@pytest.mark.parametrize(
    ("setting", "told"), [({"query_block": 0}, "query_block is 0"), ({"key_block": -1}, "key_block is -1")]
)
def test_a_tile_has_a_size(setting, told):
    with pytest.raises(ShapeError, match=told):
        Flash(**setting)


def test_an_order_is_one_of_two():
    with pytest.raises(UsageError, match="order is 'rows'; give the outer loop, 'queries' or 'keys'"):
        Flash(order="rows")


@pytest.mark.compiled
@orders
def test_compiled_tiles_are_the_same_tiles(order):
    mechanism = Flash(order, 2, 3)
    compiled = at_any_length(mechanism)
    for t in (5, 8):
        inputs = draw(t, t + 2)
        out, want = (look(*inputs, causal=True) for look in (compiled, mechanism))
        assert_close(out, want)
        got, expected = (torch.autograd.grad(x.sin().sum(), inputs) for x in (out, want))
        assert_close(got, expected)


def stale_maximum(monkeypatch):
    """The saved logarithm is made with the maximum before the last tile."""
    earlier = []
    run, settle = tiles.iter_online_softmax, tiles.finalize

    def runs(*args):
        earlier.clear()
        for known in run(*args):
            earlier.append(known.maximum.clone())
            yield known

    def settled(known):
        out, log = settle(known)
        old = earlier[-2] if len(earlier) > 1 else known.maximum
        return out, torch.where(old.isfinite(), log - known.maximum + old, log)

    monkeypatch.setattr(module, "iter_online_softmax", runs)
    monkeypatch.setattr(module, "finalize", settled)


def sum_not_rescaled(monkeypatch):
    real = tiles.update

    def absorb(known, scores, v):
        total = known.total.clone()
        known.total.zero_()
        real(known, scores, v)
        known.total.add_(total)

    monkeypatch.setattr(tiles, "update", absorb)


def values_not_rescaled(monkeypatch):
    real = tiles.update

    def absorb(known, scores, v):
        mixed = known.weighted_values.clone()
        known.weighted_values.zero_()
        real(known, scores, v)
        known.weighted_values.add_(mixed)

    monkeypatch.setattr(tiles, "update", absorb)


def causal_from_the_start(monkeypatch):
    real = tiles.FlashTiling._future_mask
    monkeypatch.setattr(
        tiles.FlashTiling, "_future_mask", lambda self, first, i, *rest: real(self, i[0], i, *rest)
    )


def mean_over_the_group(monkeypatch):
    real = module._backward

    def backward(grad, inputs, keep, out, log, cut):
        dq, dk, dv = real(grad, inputs, keep, out, log, cut)
        return dq, dk / cut[0], dv / cut[0]

    monkeypatch.setattr(module, "_backward", backward)


def last_tile_dropped(monkeypatch):
    real = tiles.FlashTiling.iter_tiles

    def whole_ones(self, q, k):
        for tile in real(self, q, k):
            if self.causal or tile.keys.stop - tile.keys.start == self.key_block:
                yield tile

    monkeypatch.setattr(tiles.FlashTiling, "iter_tiles", whole_ones)


def tiles_hidden_too_early(monkeypatch):
    real = tiles.FlashTiling.iter_tiles

    def fewer(self, q, k):
        for tile in real(self, q, k):
            if tile.hidden is None or not tile.hidden.all(0).any():
                yield tile if tile.hidden is None else tile._replace(hidden=tile.hidden | tile.hidden.any(0))

    monkeypatch.setattr(tiles.FlashTiling, "iter_tiles", fewer)


FAULTS = (
    stale_maximum,
    sum_not_rescaled,
    values_not_rescaled,
    causal_from_the_start,
    mean_over_the_group,
    last_tile_dropped,
    tiles_hidden_too_early,
)


@orders
@pytest.mark.parametrize("fault", FAULTS)
def test_the_fault_is_caught(fault, order, monkeypatch):
    holds("exact_means_equal_to_the_formula_by_hand", order)
    fault(monkeypatch)
    with pytest.raises(AssertionError):
        holds("exact_means_equal_to_the_formula_by_hand", order)


@orders
def test_a_stale_maximum_spoils_gradients_only(order, monkeypatch):
    """So a test of values alone would let it pass."""
    stale_maximum(monkeypatch)
    inputs = draw(6, 7)
    out, want = Flash(order, 2, 3)(*inputs), Naive()(*inputs)
    assert_close(out, want)
    with pytest.raises(AssertionError):
        assert_close(torch.autograd.grad(out.sum(), inputs), torch.autograd.grad(want.sum(), inputs))
