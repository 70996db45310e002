"""Bands by every road (strip by strip, folded, written out) equal loops by hand; faults in them show."""

import laws  # noqa: F401  # enters the laws of answers into the table
import pytest
import state_laws  # noqa: F401  # and those of states
import torch
from cases import LAWS, Sizes, at_any_length, gradients, same
from torch.testing import assert_close
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from nhin.attention import masks, sliced_tiles
from nhin.attention.band import base, chunked, row_blocks
from nhin.attention.band.chunked import Band
from nhin.attention.band.dilated import Dilated
from nhin.attention.band.sinks import Sinks
from nhin.attention.band.window import SlidingWindow
from nhin.attention.masks import dense_mask
from nhin.attention.registry import build
from nhin.attention.sliced_tiles import attend
from nhin.attention.tiles import TileBuilder
from nhin.errors import ShapeError

# Settings, and who sees whom, said once more without any of the library's words.
BANDS = {
    "window 1": (lambda: build("window", window=1), lambda p, s: p == s),
    "window 2": (lambda: build("window", window=2), lambda p, s: s in range(p - 1, p + 2)),
    "window 3": (lambda: build("window", window=3), lambda p, s: s in range(p - 2, p + 3)),
    "dilated 2 3": (lambda: build("dilated", window=2, dilation=3), lambda p, s: s in (p - 3, p, p + 3)),
    "dilated 3 2": (
        lambda: build("dilated", window=3, dilation=2),
        lambda p, s: s in (p - 4, p - 2, p, p + 2, p + 4),
    ),
    "sinks 2 0": (lambda: build("sinks", window=2, sinks=0), lambda p, s: s in range(p - 1, p + 2)),
    "sinks 1 2": (lambda: build("sinks", window=1, sinks=2), lambda p, s: s in (0, 1, p)),
    "sinks 3 1": (lambda: build("sinks", window=3, sinks=1), lambda p, s: s in (0, *range(p - 2, p + 3))),
    "longformer 2 1": (
        lambda: build("longformer", window=2, global_tokens=1),
        lambda p, s: p == 0 or s in (0, p - 1, p, p + 1),
    ),
    "longformer 3 2": (
        lambda: build("longformer", window=3, global_tokens=2),
        lambda p, s: p in (0, 1) or s in (0, 1, *range(p - 2, p + 3)),
    ),
}
CASES = [Sizes(t=4, s=7), Sizes(b=3, t=7, s=5, groups=1, group_size=3)]
LENGTHS = [(7, 7), (1, 9), (4, 9), (9, 5)]
bands = pytest.mark.parametrize("band", BANDS)
WAYS = [{}, {"causal": True}]


@pytest.fixture(params=["strips", "folds"])
def road(request, monkeypatch):
    """Cut into chunks of three, so that short lengths have many, and take one of the fast paths."""
    monkeypatch.setattr(chunked, "CHUNK", 3)
    if request.param == "folds":
        monkeypatch.setattr(base, "all_finite", lambda k, v: False)
        monkeypatch.setattr(base, "attend", lambda *_, **__: pytest.fail("went tile by tile"))
    return request.param


def draw(t, s, heads=4, groups=2, d=5, dtype=torch.float64):
    torch.manual_seed(t * 100 + s)
    q = torch.randn(2, t, heads, d, dtype=dtype, requires_grad=True)
    k, v = (torch.randn(2, s, groups, d, dtype=dtype, requires_grad=True) for _ in range(2))
    return q, k, v


def by_hand(q, k, v, sees, *, causal=False, keep=None):
    """One query, one head, one row of the batch at a time, over the keys it sees."""
    t, s, each = q.shape[1], k.shape[1], q.shape[2] // k.shape[2]
    rows = []
    for b in range(q.shape[0]):
        for i in range(t):
            p = s - t + i
            seen = [j for j in range(s) if sees(p, j) and (not causal or j <= p)]
            seen = [j for j in seen if keep is None or keep[b, j]]
            for h in range(q.shape[2]):
                scores = (k[b, seen, h // each] @ q[b, i, h]) / q.shape[-1] ** 0.5
                rows.append(scores.softmax(0) @ v[b, seen, h // each])
    return torch.stack(rows).reshape(q.shape)


@bands
@pytest.mark.parametrize("causal", [False, True])
def test_the_drawn_mask_is_the_rule_by_hand(band, causal):
    made, sees = BANDS[band]
    for t, s in LENGTHS:
        want = [[sees(p, j) and (not causal or j <= p) for j in range(s)] for p in range(s - t, s)]
        assert dense_mask(made().band.pattern, t, s, causal=causal).tolist() == want


@pytest.mark.parametrize("width", [1, 2, 256])
def test_a_window_sees_exactly_as_many_keys_as_it_says(width):
    seen = dense_mask(SlidingWindow(width).band.pattern, 700, 700, causal=True).sum(-1)
    assert seen.tolist() == [min(i + 1, width) for i in range(700)]
    seen = dense_mask(SlidingWindow(width).band.pattern, 700, 700).sum(-1)
    assert seen[350] == 2 * width - 1


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("causal", [False, True])
def test_tiles_that_lie_alike_are_answered_together_as_they_are_one_by_one(causal, dtype, monkeypatch):
    monkeypatch.setattr(chunked, "CHUNK", 3)
    inputs, together = draw(120, 120, dtype=dtype), []
    attend_alike = sliced_tiles.attend_alike

    def attend_and_count(inputs, out, log, tiles, bias):
        together.append(len(tiles))
        attend_alike(inputs, out, log, tiles, bias)

    monkeypatch.setattr(sliced_tiles, "attend_alike", attend_and_count)
    got = SlidingWindow(5)(*inputs, causal=causal)
    assert max(together) == 16 and 30 < sum(together) < 40
    monkeypatch.setattr(sliced_tiles, "group_alike", lambda tiles: ([tile] for tile in tiles))
    want = SlidingWindow(5)(*inputs, causal=causal)
    same(got, want, inputs)


@bands
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("hiding", [False, True])
def test_every_road_is_the_loop_by_hand(band, causal, hiding, road):
    made, sees = BANDS[band]
    for t, s in LENGTHS:
        inputs = draw(t, s)
        keep = torch.arange(2 * s).reshape(2, s) * 7 % 5 < 3 if hiding else None
        want = by_hand(*inputs, sees, causal=causal, keep=keep)
        same(made()(*inputs, causal=causal, keep=keep), want, inputs)
        assert_close(made().forward_reference(*inputs, causal=causal, keep=keep), want)


@pytest.mark.parametrize("band", ["window 1", "window 3", "dilated 2 3", "longformer 2 1"])
@pytest.mark.parametrize("law", [name for name, law in LAWS.items() if "decode" not in law.needs])
def test_the_law_holds_over_narrow_bands(law, band, monkeypatch):
    """The defaults of the registry are wider than any length the laws draw."""
    monkeypatch.setattr(chunked, "CHUNK", 2)
    if law == "what_a_later_key_holds_never_leaks":
        # A call with NaN is folded; in half precision the other road rounds otherwise.
        monkeypatch.setattr(base, "all_finite", lambda k, v: False)
    made, _ = BANDS[band]
    if LAWS[law].needs <= made().facts.abilities:
        for n in CASES:
            LAWS[law].holds(lambda n, dtype=torch.float64: made().to(dtype), n)


@bands
@pytest.mark.parametrize("way", WAYS, ids=str)
def test_what_is_out_of_sight_never_leaks_and_what_is_in_sight_shows(band, way, road):
    made, sees = BANDS[band]
    for t, s in LENGTHS:
        inputs = draw(t, s)
        for j in {0, s // 2, s - 1}:
            clean = made()(*inputs, **way)
            spoilt = [x.detach().clone().requires_grad_() for x in inputs]
            for x in spoilt[1:]:
                x.data[:, j] = float("nan")
            out = made()(*spoilt, **way)
            hit = [sees(p, j) and (j <= p or not way) for p in range(s - t, s)]
            assert out[:, hit].isnan().all()
            clear = [not h for h in hit]
            assert_close(out[:, clear], clean[:, clear])
            if any(clear):
                assert_close(gradients(out[:, clear], spoilt), gradients(clean[:, clear], inputs))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_shared_keys_sum_their_gradients_in_single_precision_at_least(dtype, monkeypatch):
    monkeypatch.setattr(chunked, "CHUNK", 1)
    inputs = draw(200, 200, d=16, dtype=dtype)
    exact = [x.detach().double().requires_grad_() for x in inputs]
    made = SlidingWindow(150)
    want, got, plain = (
        f(*x, causal=True)
        for f, x in ((made.forward_reference, exact), (made, inputs), (made.forward_reference, inputs))
    )
    tables = [gradients(o, x) for o, x in ((want, exact), (got, inputs), (plain, inputs))]
    for true, fast, slow in zip(*tables, strict=True):
        assert (fast - true).norm() <= 2 * (slow - true).norm() + 1e-5 * true.norm()


class Largest(TorchDispatchMode):
    """Counts the numbers of the largest tensor any operation gives back."""

    numbers = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        self.numbers = max([self.numbers, *(x.numel() for x in tree_leaves(out) if torch.is_tensor(x))])
        return out


@pytest.mark.parametrize("finite", [True, False])
@pytest.mark.parametrize("name", ["window", "dilated", "sinks", "longformer"])
@pytest.mark.parametrize("way", WAYS, ids=str)
def test_no_tensor_grows_faster_than_the_length(name, way, finite):
    counts = []
    for length in (512, 1024):
        inputs = [torch.randn(1, length, 2, 4, requires_grad=True) for _ in range(3)]
        if not finite:
            inputs[1].data[:, 0] = float("nan")
        made = build(name, window=16)
        with Largest() as seen:
            made(*inputs, **way).nansum().backward()
        counts.append(seen.numbers)
    assert counts[1] <= 2.2 * counts[0]
    assert counts[1] < 1024 * 1024 / 4


def test_a_strip_stays_within_the_cache_however_many_heads():
    inputs = [torch.randn(2, 300, 32, 8) for _ in range(3)]
    with Largest() as seen:
        SlidingWindow(256)(*inputs, causal=True)
    assert seen.numbers <= max(sliced_tiles.CACHED, inputs[0].numel())


@pytest.mark.parametrize(("t", "s"), LENGTHS)
@pytest.mark.parametrize("causal", [False, True])
@bands
def test_tiles_hold_every_query_once_and_every_key_in_sight_once(band, t, s, causal, monkeypatch):
    monkeypatch.setattr(chunked, "CHUNK", 3)
    made, sees = BANDS[band]
    asked = []
    for strip in row_blocks.BandTiles(made().band).tiles(TileBuilder(t, s, causal)):
        looked = [j for run in strip.keys for j in run]
        assert len(looked) == len(set(looked))
        assert set(looked) <= set(range(s))
        for i in strip.rows:
            p = s - t + i
            assert {j for j in range(s) if sees(p, j) and (not causal or j <= p)} <= set(looked)
        asked += strip.rows
    blind = [
        i
        for i in range(t)
        if not any(sees(s - t + i, j) and (not causal or s - t + i >= j) for j in range(s))
    ]
    assert len(asked) == len(set(asked))
    assert set(range(t)) - set(blind) <= set(asked) <= set(range(t))


@pytest.mark.filterwarnings("ignore:There is a performance drop")
@pytest.mark.parametrize("name", ["window", "dilated", "sinks", "longformer"])
def test_vmap_goes_through(name, monkeypatch):
    monkeypatch.setattr(chunked, "CHUNK", 3)
    made = build(name, window=2)
    inputs = [x.detach() for x in draw(7, 7)]
    many = torch.func.vmap(lambda *x: made(*(y[None] for y in x), causal=True)[0])(*inputs)
    assert_close(many, made(*inputs, causal=True))


@pytest.mark.parametrize("name", ["window", "dilated", "sinks", "longformer"])
def test_one_query_looks_at_its_band_only(name):
    q, k, v = (x.detach() for x in draw(1, 4000))
    made = build(name, window=8)
    with Largest() as seen:
        out = made(q, k, v, causal=True)
    assert seen.numbers <= 16 * 2 * 2 * 8
    assert_close(out, made.forward_reference(q, k, v, causal=True))


@pytest.mark.parametrize(
    ("made", "wrong"),
    [
        (lambda: SlidingWindow(0), "window is 0; give at least 1"),
        (lambda: Dilated(-1), "window is -1"),
        (lambda: Dilated(4, 0), "dilation is 0; give at least 1"),
        (lambda: Sinks(0), "window is 0"),
        (lambda: Sinks(4, -1), "sinks is -1; give at least 0"),
    ],
)
def test_a_band_that_means_nothing_is_refused(made, wrong):
    with pytest.raises(ShapeError, match=wrong):
        made()


def test_a_band_shows_its_sizes():
    assert repr(Sinks(8, 2)) == "Sinks(width=8, global_keys=2)"


@pytest.mark.compiled
@pytest.mark.parametrize(("name", "causal"), [("window", True), ("longformer", False)])
def test_a_compiled_band_of_many_chunks_answers_alike(name, causal):
    made = build(name, window=5)
    compiled = at_any_length(made, "aot_eager" if causal else "eager")
    for t in (70, 131):
        inputs = draw(t, t + 3, dtype=torch.float32)
        keep = torch.arange(2 * t + 6).reshape(2, -1) * 7 % 5 < 3
        out, want = (f(*inputs, causal=causal, keep=keep) for f in (compiled, made))
        assert_close(out, want)
        assert_close(gradients(out, inputs), gradients(want, inputs))


def broken_window(change):
    """Return a window whose rule is changed where the fast paths read it, not where it is shown."""

    def mask(self, p, s, size):
        return change(p, s, self.width, self.dilation)

    return mask


WRONG_RULES = {
    "one too wide": lambda p, s, w, d: (p - s).abs() <= w * d,
    "one too narrow": lambda p, s, w, d: (p - s).abs() < max(1, w * d - 1),
    "one to the left": lambda p, s, w, d: (p - s - 1).abs() < w * d,
    "phase off by one": lambda p, s, w, d: ((p - s).abs() < w * d) & ((p - s - 1) % d == 0),
}


@pytest.mark.parametrize(
    ("fault", "band"),
    [
        ("one too wide", "window 3"),
        ("one too narrow", "window 3"),
        ("one to the left", "window 3"),
        ("phase off by one", "dilated 3 2"),
    ],
)
def test_a_wrong_rule_is_caught_though_the_twin_shares_it(monkeypatch, fault, band, road):
    monkeypatch.setattr(masks.WindowMask, "mask", broken_window(WRONG_RULES[fault]))
    with pytest.raises(AssertionError):
        test_every_road_is_the_loop_by_hand(band, True, False, road)
    with pytest.raises(AssertionError):
        test_the_drawn_mask_is_the_rule_by_hand(band, True)


class Looks:
    """A road that sees another band than the mechanism shows."""

    def __init__(self, change):
        self.change = change

    def __call__(self, q, k, v, pattern, **limits):
        return attend(q, k, v, row_blocks.BandTiles(self.change(pattern.band)), **limits)


def from_the_start(q, k, v, pattern, *, causal, keep):
    """Causal as in PyTorch: query t stands at key t, however many keys there are."""
    t = q.shape[1]
    if causal and t < k.shape[1]:
        k, v, keep = k[:, :t], v[:, :t], None if keep is None else keep[:, :t]
    return attend(q, k, v, pattern, causal=causal, keep=keep)


FAULTS = {
    "one too wide": (
        Looks(lambda b: Band(b.width + 1, b.dilation, b.global_keys, b.global_queries)),
        "window 2",
    ),
    "one too narrow": (
        Looks(lambda b: Band(b.width - 1, b.dilation, b.global_keys, b.global_queries)),
        "window 3",
    ),
    "causal from the start": (from_the_start, "window 2"),
    "sinks forgotten": (Looks(lambda b: Band(b.width)), "sinks 1 2"),
    "gaps forgotten": (Looks(lambda b: Band(b.width)), "dilated 3 2"),
    "leaders deaf": (Looks(lambda b: Band(b.width, global_keys=b.global_keys)), "longformer 2 1"),
    "leaders dumb": (Looks(lambda b: Band(b.width, global_queries=b.global_queries)), "longformer 2 1"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_road_that_strays_is_caught_by_a_law(monkeypatch, fault):
    monkeypatch.setattr(chunked, "CHUNK", 2)
    look, band = FAULTS[fault]
    monkeypatch.setattr(base, "attend", look)
    law = LAWS["the_answer_is_the_values_mixed_with_the_weights_shown"]
    caught = 0
    for n in (Sizes(t=9, s=9), Sizes(t=5, s=9)):
        try:
            law.holds(lambda n, dtype=torch.float64: BANDS[band][0]().to(dtype), n)
        except AssertionError:
            caught += 1
    assert caught
