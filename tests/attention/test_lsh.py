"""Who shares a bucket sees each other, once, by every path; faults in hashing, joining and decoding show."""

import laws  # noqa: F401  # enters the laws of answers into the table
import pytest
import state_laws  # noqa: F401  # and those of states
import torch
from cases import LAWS, Sizes, applies, draw, same, some_keys, ways
from torch.testing import assert_close
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from nhin.attention import tiled_softmax
from nhin.attention.exact.naive import Naive
from nhin.attention.lsh import kernel as engine
from nhin.attention.lsh import lsh as module
from nhin.attention.lsh.lsh import LSH
from nhin.errors import ShapeError, UsageError

CASES = [
    Sizes(t=9, s=9, d=4),
    Sizes(t=4, s=9, groups=1, group_size=3),
    Sizes(t=9, s=4, group_size=1),
    Sizes(t=1, s=8),
]
TWIN = "the_answer_is_the_values_mixed_with_the_weights_shown"


def small(d=4, kind=LSH, **settings):
    return kind(d, **({"buckets": 4, "rounds": 2} | settings))


@pytest.fixture
def quick(monkeypatch):
    """Send every call over the fast path, in tiles of few queries and in several blocks."""
    monkeypatch.setattr(module, "MAX_DENSE_PAIRS", 0)
    monkeypatch.setattr(engine, "MAX_TILE_ROWS", 3)
    monkeypatch.setattr(engine, "MAX_BATCH_SCORES", 256)


@pytest.fixture(params=["table", "buckets"])
def path(request):
    """Run a test over the table of scores, and over the buckets."""
    if request.param == "buckets":
        request.getfixturevalue("quick")


class AllOne(LSH):
    """Everything falls into one bucket."""

    def hash_buckets(self, x):
        return super().hash_buckets(x) * 0


def bucket(x, directions):
    return int(torch.cat([x @ directions, -(x @ directions)]).argmax())


def seen_by_hand(mechanism, query, keys, place, stop):
    """Return the places before ``stop`` that one query sees."""
    seen = {place} & set(range(stop))
    for directions in mechanism.directions:
        seen |= {s for s in range(stop) if bucket(keys[s], directions) == bucket(query, directions)}
    return sorted(seen)


def by_hand(mechanism, q, k, v, causal=False, keep=None):
    """Answer one query at a time, from the paper's hash and the union of its rounds."""
    t, s, each = q.shape[1], k.shape[1], q.shape[2] // k.shape[2]
    out = []
    for b in range(q.shape[0]):
        for i in range(t):
            place = s - t + i
            stop = max(0, place + 1) if causal else s
            for h in range(q.shape[2]):
                keys = k[b, :, h // each]
                seen = seen_by_hand(mechanism, q[b, i, h].detach(), keys.detach(), place, stop)
                seen = [j for j in seen if keep is None or keep[b, j]]
                scores = keys[seen] @ q[b, i, h] / q.shape[-1] ** 0.5
                out.append(scores.softmax(0) @ v[b, seen, h // each])
    return torch.stack(out).reshape(q.shape)


def agrees_with_the_hand(mechanism):
    for n in CASES:
        inputs = draw(n)
        for way in ways(n, mechanism.facts):
            same(mechanism(*inputs, **way), by_hand(mechanism, *inputs, **way), inputs)


def holds(law, kind=LSH, cases=CASES, **settings):
    for n in cases:
        LAWS[law].holds(lambda n, dtype=torch.float64: small(n.d, kind, **settings).to(dtype), n)


@pytest.mark.parametrize(("buckets", "rounds"), [(2, 1), (4, 1), (4, 3), (16, 2)])
def test_who_shares_a_bucket_in_any_round_is_seen_once(path, buckets, rounds):
    agrees_with_the_hand(LSH(4, buckets, rounds, seed=1))


@pytest.mark.parametrize("law", [law for law in LAWS if applies(LAWS[law], LSH.facts)])
def test_the_law_holds_bucket_by_bucket(law, quick):
    wide = LAWS[law].wider > 1  # tiles of few queries are many there already
    few = Sizes(b=3, t=9, s=4, groups=1, group_size=1, d=2)
    holds(law, cases=(few,) if wide else (*CASES[:2], few))


@pytest.mark.parametrize("size", [(1, 1), (3, 64), (32, 1 << 18)], ids=str)
def test_the_size_of_blocks_does_not_matter(size, quick, monkeypatch):
    monkeypatch.setattr(engine, "MAX_TILE_ROWS", size[0])
    monkeypatch.setattr(engine, "MAX_BATCH_SCORES", size[1])
    for law in (TWIN, "what_a_later_key_holds_never_leaks"):
        holds(law, cases=CASES[1:3])


def long(t=530, s=560, dtype=torch.float64):
    torch.manual_seed(1)
    q = torch.randn(2, t, 4, 8, dtype=dtype, requires_grad=True)
    k, v = (torch.randn(2, s, 2, 8, dtype=dtype, requires_grad=True) for _ in range(2))
    return q, k, v


@pytest.mark.parametrize(
    "way", [{}, {"causal": True}, {"keep": True}, {"causal": True, "keep": True}], ids=str
)
def test_long_texts_go_by_buckets_and_agree_with_the_table(way, monkeypatch):
    taken = []
    real = engine.attend
    monkeypatch.setattr(engine, "attend", lambda *args: taken.append(1) or real(*args))
    inputs = long()
    if "keep" in way:
        way = way | {"keep": torch.rand(2, 560) < 0.7}
    mechanism = LSH(8, buckets=8, rounds=3)
    out = mechanism(*inputs, **way)
    assert taken == [1]
    same(out, mechanism.forward_reference(*inputs, **way), inputs)
    assert taken == [1]


def test_short_texts_are_not_sorted(monkeypatch):
    monkeypatch.setattr(engine, "attend", None)
    LSH(8)(*(x[:, :60] for x in long()))


def test_the_gradient_is_that_of_small_differences(quick):
    inputs = draw(Sizes(b=1, t=4, s=5, groups=1, group_size=2, d=3))
    mechanism = LSH(3, buckets=4, rounds=2)
    assert torch.autograd.gradcheck(lambda *x: mechanism(*x, causal=True), inputs)


def test_one_bucket_for_all_is_softmax(path):
    holds("exact_means_equal_to_the_formula_by_hand", AllOne)
    holds("exact_means_equal_to_the_formula_by_hand", AllOne, rounds=1)


def test_vectors_of_one_direction_share_every_bucket(path):
    """So the answer on them is softmax, whatever was drawn."""
    torch.manual_seed(0)
    line = torch.randn(4, dtype=torch.float64)
    q, k = (torch.rand(2, n, 2, 1, dtype=torch.float64) * line + line for n in (6, 8))
    v = torch.randn_like(k)
    for way in ({}, {"causal": True}):
        assert_close(LSH(4, buckets=64)(q, k, v, **way), Naive()(q, k, v, **way))


def test_a_place_always_sees_its_own_key(path):
    """Opposite vectors never share a bucket: where keys are the queries turned round, own keys are left."""
    q, _, v = (x.detach() for x in draw(Sizes(t=7, s=7, group_size=1)))
    q = q[:, :1].expand_as(q)
    assert_close(small()(q, -q, v), v)
    assert_close(small()(q, -q, v, causal=True), v)
    keep = torch.arange(7).expand(2, 7) != 3
    assert_close(small()(q, -q, v, keep=keep), v * keep[:, :, None, None])


def test_a_tensor_passed_twice_is_hashed_as_two_that_are_equal(quick):
    q, _, v = draw(Sizes(t=9, s=9, group_size=1))
    mechanism = small()
    assert_close(mechanism(q, q, v, causal=True), mechanism(q, q.clone(), v, causal=True))


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


@pytest.mark.parametrize("kind", [LSH, AllOne])
def test_no_tensor_grows_like_the_table_of_scores(kind, monkeypatch):
    """Backwards included, and also where one bucket holds everything."""
    monkeypatch.setattr(module, "MAX_DENSE_PAIRS", 0)
    monkeypatch.setattr(engine, "MAX_BATCH_SCORES", 1 << 12)
    found = []
    for length in (128, 256):
        q, k, v = long(length, length, torch.float32)
        keep = torch.ones(2, length, dtype=torch.bool)
        with Largest() as seen:
            kind(8, buckets=16)(q, k, v, causal=True, keep=keep).sum().backward()
        assert seen.numbers <= 72 * length  # as many as queries hold, and one vector more
        found.append(seen.numbers)
    assert found[1] <= 2 * found[0]


def test_the_explanation_begins_with_the_buckets():
    q, k, v = draw(CASES[0])
    keep = some_keys(CASES[0])
    told = small().explain(q, k, v, keep=keep)
    assert list(told) == ["query_buckets", "key_buckets", "scores", "visible", "weights", "output"]
    assert told["query_buckets"].shape == (2, 2, 9, 4)
    assert told["key_buckets"].shape == (2, 2, 9, 2)
    keys = told["key_buckets"].repeat_interleave(2, 3)
    meets = (told["query_buckets"][:, :, :, None] == keys[:, :, None]).any(0)
    meets = meets.movedim(3, 1) | torch.eye(9, dtype=torch.bool)
    assert torch.equal(told["visible"], meets & keep[:, None, None])
    assert torch.equal(told["weights"] > 0, told["visible"])


def test_a_second_derivative_is_refused(quick):
    q, k, v = draw(Sizes())
    with pytest.raises(UsageError, match=r"no second derivative.*naive has one"):
        torch.autograd.grad(small()(q, k, v).sum(), q, create_graph=True)


@pytest.mark.parametrize(
    "wrong", [{"head_dim": 0}, {"buckets": 0}, {"buckets": 5}, {"rounds": 0}, {"seed": -1}], ids=str
)
def test_settings_that_mean_nothing_are_refused(wrong):
    with pytest.raises(ShapeError, match=f"{next(iter(wrong))} is {next(iter(wrong.values()))}; give"):
        LSH(**({"head_dim": 4} | wrong))


def test_another_width_is_refused_with_the_way_out():
    x = torch.zeros(1, 3, 2, 5)
    with pytest.raises(ShapeError, match="build it with head_dim=5"):
        LSH(4)(x, x, x)


def backward_hashes_anew(monkeypatch):
    real = tiled_softmax.backward

    def backward(grad, inputs, out, log, source, **wanted):
        sorting = source.sorting
        other = sorting._replace(key_buckets=(sorting.key_buckets + 1) % sorting.bucket_count)
        return real(grad, inputs, out, log, engine.BucketTiles(other), **wanted)

    monkeypatch.setattr(tiled_softmax, "backward", backward)


def pairs_counted_in_every_round(monkeypatch):
    real = engine._iter_round

    def alone(sorting, r):
        part = sorting._replace(
            query_buckets=sorting.query_buckets[r : r + 1], key_buckets=sorting.key_buckets[r : r + 1]
        )
        return real(part, 0)

    monkeypatch.setattr(engine, "_iter_round", alone)


def own_place_dropped(monkeypatch):
    monkeypatch.setattr(engine, "_iter_own_keys", lambda sorting: iter(()))


def own_place_counted_again(monkeypatch):
    real = engine._iter_own_keys
    # With buckets that nothing shares, the own key counts as never met.
    monkeypatch.setattr(
        engine,
        "_iter_own_keys",
        lambda sorting: real(sorting._replace(query_buckets=sorting.query_buckets * 0 - 1)),
    )


def later_rounds_left_out(monkeypatch):
    real = engine._iter_round
    monkeypatch.setattr(engine, "_iter_round", lambda sorting, r: real(sorting, r) if r == 0 else iter(()))


def causal_from_the_start(monkeypatch):
    monkeypatch.setattr(engine.BucketOrder, "offset", 0)


def hidden_keys_kept(monkeypatch):
    real = engine.attend
    monkeypatch.setattr(engine, "attend", lambda *args: real(*args[:4], args[4]._replace(keep=None)))


def last_block_dropped(monkeypatch):
    real = engine.iter_tile_batches

    def fewer(sorting):
        *most, _ = real(sorting)
        yield from most

    monkeypatch.setattr(engine, "iter_tile_batches", fewer)


def blocks_not_rescaled(monkeypatch):
    real = tiled_softmax.carry_over
    monkeypatch.setattr(tiled_softmax, "carry_over", lambda out, *logs: (real(out, *logs)[0], out.clone()))


FAULTS = (
    backward_hashes_anew,
    pairs_counted_in_every_round,
    own_place_dropped,
    own_place_counted_again,
    later_rounds_left_out,
    causal_from_the_start,
    hidden_keys_kept,
    last_block_dropped,
    blocks_not_rescaled,
)


@pytest.mark.parametrize("fault", FAULTS)
def test_the_fault_is_caught(fault, quick, monkeypatch):
    fault(monkeypatch)  # without it the law holds, as is tested above
    with pytest.raises(AssertionError):
        holds(TWIN)


class DrawsAgain(LSH):
    """Other directions at every call."""

    def hash_buckets(self, x):
        self.directions = torch.randn_like(self.directions)
        return super().hash_buckets(x)


class HashesKeysApart(LSH):
    """Queries and keys by different directions."""

    def mask(self, q, k, p, s, size):
        return super().mask(q.roll(1, -1), k, p, s, size)


class OwnPlaceUnseen(LSH):
    def mask(self, q, k, p, s, size):
        return super().mask(q, k, p - k.shape[1], s, size)


class OneRoundOnly(LSH):
    def hash_buckets(self, x):
        return super().hash_buckets(x)[:1]


class AllRoundsMustAgree(LSH):
    """The intersection of rounds instead of their union."""

    def mask(self, q, k, p, s, size):
        each = []
        for directions in self.directions:
            one = small(q.shape[-1], rounds=1)
            one.directions = directions[None]
            each.append(one.mask(q, k, p, s, size))
        return torch.stack(torch.broadcast_tensors(*each)).all(0)


@pytest.mark.parametrize(
    "kind", [DrawsAgain, HashesKeysApart, OwnPlaceUnseen, OneRoundOnly, AllRoundsMustAgree]
)
def test_a_fault_in_the_definition_is_caught_by_hand(kind):
    agrees_with_the_hand(small())
    with pytest.raises(AssertionError):
        agrees_with_the_hand(small(kind=kind))


def test_directions_drawn_again_break_the_laws():
    for law in (TWIN, "batch_rows_are_independent", "all_at_once_in_chunks_and_step_by_step_are_one"):
        with pytest.raises(AssertionError):
            holds(law, DrawsAgain)
