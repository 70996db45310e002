"""The fast path of sparse patterns keeps every law where patterns bite, and faults in it show."""

from dataclasses import dataclass, replace

import laws  # noqa: F401  # enters the laws of answers into the table
import pytest
import state_laws  # noqa: F401  # and those of states
import torch
from cases import LAWS, Sizes, applies, same
from torch.testing import assert_close
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from nhin.attention import sliced_tiles
from nhin.attention import tiles as cutting
from nhin.attention.base import CacheSpec
from nhin.attention.exact.naive import Naive
from nhin.attention.masks import dense_mask
from nhin.attention.registry import MECHANISMS, build
from nhin.attention.sparse import kernel as engine
from nhin.attention.sparse.layouts import BlockDiagonal, Columns, FixedMask, StridedMask
from nhin.attention.tiles import Tile, TileBuilder, TiledPattern
from nhin.errors import ShapeError, UsageError

CASES = [Sizes(t=7, s=7, d=3), Sizes(t=3, s=8, group_size=1), Sizes(t=8, s=3, groups=1)]
TWIN = "the_answer_is_the_values_mixed_with_the_weights_shown"
LAYOUT = ((True, False, False), (True, True, False), (False, True, True))

SMALL = {
    "strided": {"stride": 3},
    "fixed": {"stride": 3, "summary": 1},
    "interleaved": {"stride": 2, "layer": 1},
    "block-local": {"block": 2},
    "block-sparse": {"block": 2, "layout": LAYOUT},
    "bigbird": {"block": 2, "window": 1, "globals": 1, "random": 1},
}
MADE = [
    *SMALL.items(),
    ("interleaved", {"stride": 3, "layer": 0}),
    ("block-sparse", {"block": 1}),
    ("bigbird", {"block": 1, "window": 2, "globals": 0, "random": 2, "seed": 5}),
]
each = pytest.mark.parametrize(("name", "settings"), MADE, ids=lambda x: x if isinstance(x, str) else "")


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("law", LAWS)
def test_the_law_holds_where_patterns_bite(law, name):
    if not applies(LAWS[law], build(name).facts):
        pytest.skip(f"{name} does not claim what this law needs")
    settings = SMALL[name]
    for n in (CASES[0], Sizes(b=3, t=9, s=4, groups=1, group_size=1, d=2)):
        LAWS[law].holds(lambda n, dtype=torch.float64: build(name, **settings).to(dtype), n)


@each
@pytest.mark.parametrize("size", [(2, 3), (1, 1)], ids=str)
def test_the_size_of_pieces_does_not_matter(name, settings, size, monkeypatch):
    monkeypatch.setattr(cutting, "MAX_TILE_ROWS", size[0])
    monkeypatch.setattr(cutting, "MAX_TILE_KEYS", size[1])
    for law in (
        "the_answer_is_the_values_mixed_with_the_weights_shown",
        "what_a_later_key_holds_never_leaks",
    ):
        for n in CASES if size[0] > 1 else CASES[:1]:
            LAWS[law].holds(lambda n, dtype=torch.float64: build(name, **settings).to(dtype), n)


def test_a_pattern_that_shows_all_is_softmax():
    everything = ((True,),)
    for n in CASES:
        LAWS["exact_means_equal_to_the_formula_by_hand"].holds(
            lambda n, dtype=torch.float64: build("block-sparse", block=3, layout=everything).to(dtype), n
        )


@each
def test_weights_are_a_softmax_over_the_places_shown(name, settings):
    torch.manual_seed(0)
    q, k = torch.randn(1, 7, 2, 4), torch.randn(1, 9, 2, 4)
    mechanism = build(name, **settings)
    for causal in (False, True):
        pairs = dense_mask(mechanism.pattern, 7, 9, causal=causal)
        weights = mechanism.weights(q, k, causal=causal)
        for t in range(7):
            seen = pairs[t].nonzero()[:, 0]
            for h in range(2):
                want = torch.zeros(9)
                want[seen] = (k[0, seen, h] @ q[0, t, h] / 2.0).softmax(0)
                assert_close(weights[0, h, t], want)


@each
def test_what_a_pattern_does_not_show_reaches_nobody(name, settings):
    """Also where nothing is hidden: neither a number nor a gradient passes."""
    torch.manual_seed(0)
    inputs = [torch.randn(1, 9, 2, 4, dtype=torch.float64, requires_grad=True) for _ in range(3)]
    mechanism = build(name, **settings)
    sees = dense_mask(mechanism.pattern, 9, 9)
    for bad in range(9):
        q, k, v = (x.detach().clone() for x in inputs)
        k[:, bad], v[:, bad] = float("nan"), float("inf")
        spoilt = [q.requires_grad_(), k.requires_grad_(), v.requires_grad_()]
        out, want = mechanism(*spoilt), mechanism(*inputs)
        assert_close(out[:, ~sees[:, bad]], want[:, ~sees[:, bad]])
        assert out[:, sees[:, bad]].isnan().all()
        got, expected = (
            torch.autograd.grad(o[:, ~sees[:, bad]].sum(), x, materialize_grads=True)
            for o, x in ((out, spoilt), (want, inputs))
        )
        assert_close(got, expected)


class Largest(TorchDispatchMode):
    """Counts the numbers of the largest tensor that any operation returned."""

    numbers = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        sizes = [x.numel() for x in tree_leaves(out) if isinstance(x, torch.Tensor)]
        self.numbers = max(self.numbers, *sizes, 0)
        return out


WIDER = {
    "strided": {"stride": 64},
    "fixed": {"stride": 64, "summary": 4},
    "interleaved": {"stride": 64, "layer": 1},
    "block-local": {"block": 64},
    "block-sparse": {"block": 16},
    "bigbird": {"block": 32},
}


@pytest.mark.parametrize("name", WIDER)
def test_no_tensor_grows_like_queries_times_keys(name):
    q, k, v = (torch.randn(1, 4096, 1, 2, requires_grad=True) for _ in range(3))
    with Largest() as counted:
        out = build(name, **WIDER[name])(q, k, v, causal=True)
        torch.autograd.grad(out.sum(), (q, k, v))
    assert counted.numbers <= cutting.MAX_TILE_ROWS * cutting.MAX_TILE_KEYS


def test_many_short_stretches_are_named_key_by_key_and_answer_alike():
    torch.manual_seed(0)
    mechanism = build("block-sparse", block=1, layout=((True, True, False),))
    inputs = [torch.randn(1, 60, 2, 4, dtype=torch.float64, requires_grad=True) for _ in range(3)]
    keep = torch.arange(60)[None] % 7 > 0
    for way in ({}, {"causal": True}, {"keep": keep}):
        same(mechanism(*inputs, **way), mechanism.forward_reference(*inputs, **way), inputs)


@each
def test_one_query_reads_only_the_keys_it_sees(name, settings, monkeypatch):
    mechanism, read = build(name, **settings), []
    monkeypatch.setattr(
        engine,
        "attention_weights",
        lambda q, k, seen: read.append(k.shape[1]) or q.new_zeros(1, 1, 1, k.shape[1]),
    )
    q, k, v = torch.randn(1, 1, 1, 4), torch.randn(1, 11, 1, 4), torch.randn(1, 11, 1, 4)
    mechanism(q, k, v, causal=True)
    assert read == [int(dense_mask(mechanism.pattern, 1, 11).sum())]


@each
def test_grouped_heads_in_single_precision_and_a_store_agree_with_the_twin(name, settings):
    torch.manual_seed(0)
    q, k, v = torch.randn(2, 40, 4, 8), torch.randn(2, 40, 2, 8), torch.randn(2, 40, 2, 8)
    mechanism = build(name, **settings)
    want = mechanism.forward_reference(q, k, v, causal=True)
    assert_close(mechanism(q, k, v, causal=True), want)
    state = mechanism.init_cache(CacheSpec(2, 40, 2, 8))
    got = [state.prefill(q[:, :30], k[:, :30], v[:, :30])]
    got += [state.step(q[:, i : i + 1], k[:, i : i + 1], v[:, i : i + 1]) for i in range(30, 40)]
    assert_close(torch.cat(got, 1), want)


def fast(pattern):
    """Return a mechanism whose twin reads the right pattern and whose fast path reads this one."""

    class Faulty(engine.SparseAttention):
        facts = build("strided").facts

        def forward(self, *inputs, **way):
            self.pattern = pattern
            out = super().forward(*inputs, **way)
            self.pattern = pattern.right
            return out

    made = Faulty()
    made.pattern = pattern.right
    return made


@dataclass(frozen=True)
class Wrong:
    """Sees what is right and compares something else."""

    right: TiledPattern

    def mask(self, p, s, size):
        return self.right.mask(p, s, size)

    def tiles(self, builder):
        return self.right.tiles(builder)


class KeysOneLate(Wrong):
    """Fetches each stretch of keys one place too late."""

    def tiles(self, builder):
        for piece in self.right.tiles(builder):
            keys = tuple(
                range(min(run.start + 1, builder.keys - 1), builder.keys, run.step)[: len(run)]
                for run in piece.keys
            )
            yield Tile(piece.rows, keys, piece.rule, piece.is_continuation)


class FromTheStart(Wrong):
    """Lets the first query stand at the first key, however many keys there are."""

    def tiles(self, builder):
        for piece in self.right.tiles(TileBuilder(builder.queries, builder.queries, builder.causal)):
            keys = tuple(
                filter(None, (range(run.start, min(run.stop, builder.keys), run.step) for run in piece.keys))
            )
            if keys:
                yield Tile(piece.rows, keys, piece.rule, piece.is_continuation)


class BeginsAnew(Wrong):
    """Forgets that a query was asked before."""

    def tiles(self, builder):
        for piece in self.right.tiles(builder):
            yield Tile(piece.rows, piece.keys, piece.rule)


class CountsTwice(Wrong):
    """Compares what the band has shown once more in the columns."""

    def tiles(self, builder):
        for piece in self.right.tiles(builder):
            yield Tile(
                piece.rows, piece.keys, None if piece.is_continuation else piece.rule, piece.is_continuation
            )


class LosesTheEdge(Wrong):
    """Drops the last key of each stretch."""

    def tiles(self, builder):
        for piece in self.right.tiles(builder):
            keys = tuple(filter(None, (run[:-1] for run in piece.keys)))
            if keys:
                yield Tile(piece.rows, keys, piece.rule, piece.is_continuation)


def broken(law, make):
    count = 0
    for n in CASES:
        try:
            LAWS[law].holds(lambda n, dtype=torch.float64: make().to(dtype), n)
        except AssertionError:
            count += 1
    return count


FAULTS = [
    KeysOneLate(Columns(3)),
    KeysOneLate(FixedMask(3, 1)),
    KeysOneLate(BlockDiagonal(2)),
    FromTheStart(StridedMask(2)),
    FromTheStart(BlockDiagonal(2)),
    BeginsAnew(StridedMask(2)),
    CountsTwice(StridedMask(2)),
    LosesTheEdge(BlockDiagonal(2)),
    LosesTheEdge(FixedMask(3, 1)),
]


@pytest.mark.parametrize("fault", FAULTS, ids=str)
def test_a_fault_in_the_fast_path_is_caught(fault):
    assert broken(TWIN, lambda: fast(fault))
    assert not broken(TWIN, lambda: fast(Wrong(fault.right)))


def test_a_causal_mask_aligned_to_the_start_is_caught(monkeypatch):
    whole = sliced_tiles.mask_parts

    def from_the_start(piece, cut, *rest):
        return whole(piece, replace(cut, keys=cut.queries), *rest)

    monkeypatch.setattr(sliced_tiles, "mask_parts", from_the_start)
    assert broken(
        "a_causal_row_is_the_plain_answer_on_its_visible_prefix", lambda: build("block-local", block=2)
    )


def test_a_shield_that_does_not_ask_the_pattern_is_caught(monkeypatch):
    monkeypatch.setattr(
        engine,
        "sees_nonfinite",
        lambda pattern, broken, q, causal: broken.any(1, True).any(2, True)[..., None],
    )
    assert broken("what_a_later_key_holds_never_leaks", lambda: build("strided", stride=2))


@pytest.mark.parametrize(
    ("name", "settings", "told"),
    [
        ("strided", {"stride": 0}, "stride is 0; give at least 1"),
        ("fixed", {"stride": 0}, "stride is 0; give at least 1"),
        ("fixed", {"summary": -1}, "summary is -1; give at least 0"),
        ("fixed", {"stride": 4, "summary": 5}, "summary is 5; .*stride=4"),
        ("interleaved", {"stride": 0}, "stride is 0; give at least 1"),
        ("interleaved", {"layer": -1}, "layer is -1; give at least 0"),
        ("block-local", {"block": 0}, "block is 0; give at least 1"),
        ("block-sparse", {"block": 0}, "block is 0; give at least 1"),
        ("block-sparse", {"layout": ()}, "layout has rows of no blocks"),
        ("block-sparse", {"layout": ((),)}, "layout has rows of"),
        ("block-sparse", {"layout": ((True,), (True, False))}, r"layout has rows of \[1, 2\] blocks"),
        ("bigbird", {"window": 0}, "window is 0; give at least 1"),
        ("bigbird", {"random": -1}, "random is -1; give at least 0"),
    ],
)
def test_settings_that_mean_nothing_are_refused_with_the_way_out(name, settings, told):
    with pytest.raises(ShapeError, match=told):
        build(name, **settings)


def test_a_second_derivative_is_refused_not_silently_wrong():
    q, k, v = (torch.randn(1, 4, 1, 2, requires_grad=True) for _ in range(3))
    out = build("block-local", block=2)(q, k, v)
    with pytest.raises(UsageError, match="second derivative"):
        torch.autograd.grad(out.sum(), q, create_graph=True)


def test_the_six_are_in_the_table_and_naive_sees_more():
    assert SMALL.keys() <= MECHANISMS.keys()
    q, k, v = (torch.randn(1, 9, 1, 4) for _ in range(3))
    for name, settings in SMALL.items():
        assert not torch.allclose(build(name, **settings)(q, k, v), Naive()(q, k, v)), f"{name} hides nothing"
