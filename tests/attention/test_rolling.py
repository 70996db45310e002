"""A ring remembers exactly what a band may still see; a ring that forgets or keeps too much shows."""

import laws  # noqa: F401  # enters the laws of answers into the table
import pytest
import state_laws  # noqa: F401  # and those of states
import torch
from cases import LAWS, Sizes, draw
from torch.testing import assert_close

from nhin.attention.band.ring_cache import SlidingWindowCache
from nhin.attention.base import CacheSpec
from nhin.attention.registry import build
from nhin.errors import UsageError

# Each lies in a ring that wraps several times in nine places.
BANDS = {
    "window 1": ("window", {"window": 1}),
    "window 3": ("window", {"window": 3}),
    "dilated 2 2": ("dilated", {"window": 2, "dilation": 2}),
    "dilated 1 3": ("dilated", {"window": 1, "dilation": 3}),
    "dilated 2 3": ("dilated", {"window": 2, "dilation": 3}),
    "sinks 1 2": ("sinks", {"window": 1, "sinks": 2}),
    "sinks 3 1": ("sinks", {"window": 3, "sinks": 1}),
    "longformer 2 1": ("longformer", {"window": 2, "global_tokens": 1}),
}
bands = pytest.mark.parametrize("band", BANDS)
CASES = [Sizes(t=9, s=9), Sizes(b=3, t=12, s=6, groups=1), Sizes(t=17, s=3, d=3)]
DECODING = [name for name, law in LAWS.items() if "decode" in law.needs]


def made(band, dtype=torch.float64):
    name, settings = BANDS[band]
    return build(name, **settings).to(dtype)


@bands
@pytest.mark.parametrize("law", DECODING)
def test_the_law_holds_while_the_ring_wraps(law, band):
    for n in CASES:
        LAWS[law].holds(lambda n, dtype=torch.float64: made(band, dtype), n)


@bands
@pytest.mark.parametrize("chunks", [(1,) * 30, (3,) * 10, (7, 1, 1, 11, 10), (29, 1), (1, 29)], ids=len)
def test_however_it_is_read_the_answer_is_the_causal_one(band, chunks):
    q, k, v = (x.detach() for x in draw(Sizes(t=30, s=30)))
    state = made(band).init_cache(CacheSpec(2, 30, 2, 4, torch.float64))
    parts = [state.prefill(*part) for part in zip(*(x.split(chunks, 1) for x in (q, k, v)), strict=True)]
    assert_close(torch.cat(parts, 1), made(band)(q, k, v, causal=True))


@bands
def test_rows_that_wrap_at_different_times_answer_as_if_alone(band):
    """Rows read 0, 5 and 11 places, then step together, one of them resting now and then."""
    starts = [0, 5, 11]
    n = Sizes(b=3, t=30, s=30)
    inputs = [x.detach() for x in draw(n)]
    state = made(band).init_cache(CacheSpec(3, 30, 2, 4, torch.float64))
    state.prefill(*(x[:, :11] for x in inputs), lengths=starts)
    read, answers = [[*range(start)] for start in starts], [[], [], []]
    for i in range(11, 28):
        new = [1, 1, int(i % 3 > 0)]
        out = state.prefill(*(x[:, i : i + 1] for x in inputs), lengths=new)
        for row in range(3):
            read[row] += [i] * new[row]
            answers[row] += [out[row, 0]] * new[row]
            assert new[row] or not out[row].any()
    for row, (places, got) in enumerate(zip(read, answers, strict=True)):
        alone = [x[row : row + 1, places] for x in inputs]
        assert_close(torch.stack(got), made(band)(*alone, causal=True)[0, starts[row] :])


@pytest.mark.parametrize("start", [0, 1])
def test_a_broken_place_is_felt_until_it_leaves_the_ring(start):
    """In step and out of step: a slot that a dilated query passes over may hold anything."""
    q, k, v = (x.detach() for x in draw(Sizes(b=2, t=12, s=12)))
    k[:, start], v[:, start] = float("nan"), float("inf")
    for lengths in ([1, 1], [1, 0]):
        mechanism = made("dilated 2 3")
        state = mechanism.init_cache(CacheSpec(2, 12, 2, 4, torch.float64))
        state.prefill(q[:, :1], k[:, :1], v[:, :1], lengths=lengths)
        steps = [state.step(*(x[:, i : i + 1] for x in (q, k, v))) for i in range(1, 12)]
        want = mechanism(q, k, v, causal=True)
        assert_close(torch.cat(steps, 1)[0], want[0, 1:], equal_nan=True)


@pytest.mark.parametrize(
    ("name", "settings", "slots"),
    [
        ("window", {"window": 16}, 16),
        ("dilated", {"window": 16, "dilation": 3}, 48),
        ("sinks", {"window": 16, "sinks": 4}, 20),
        ("longformer", {"window": 16, "global_tokens": 2}, 18),
    ],
)
def test_memory_is_that_of_the_band_however_long_the_context(name, settings, slots):
    one = 2 * 3 * 8 * 2 * 5  # keys and values, heads, width, bytes, rows
    for context in (0, 7, 100, 10**9):
        state = build(name, **settings).init_cache(CacheSpec(5, context, 3, 8, torch.bfloat16))
        assert state.size == one * min(slots, context)


def test_a_ring_tells_why_it_cannot_be_truncated():
    state = made("window 3").init_cache(CacheSpec(1, 9, 2, 4))
    with pytest.raises(
        UsageError, match=r"SlidingWindowCache cannot be truncated to 2: .*overwritten.*snapshot"
    ):
        state.truncate(2)


def test_what_is_stored_narrow_is_answered_in_the_width_of_the_queries():
    q, k, v = (x.detach().float() for x in draw(Sizes(t=9, s=9)))
    state = made("window 3").init_cache(CacheSpec(2, 9, 2, 4, torch.bfloat16))
    out = torch.cat(
        [
            state.prefill(q[:, :4], k[:, :4], v[:, :4]),
            *(state.step(q[:, i : i + 1], k[:, i : i + 1], v[:, i : i + 1]) for i in range(4, 9)),
        ],
        1,
    )
    assert out.dtype == torch.float32
    assert_close(out, made("window 3")(q, k, v, causal=True), atol=2e-2, rtol=2e-2)


class OverwrittenTooEarly(SlidingWindowCache):
    """The ring is one slot short."""

    def __init__(self, spec, mechanism, window, **rest):
        super().__init__(spec, mechanism, max(1, window - 1), **rest)


class OneTooMany(SlidingWindowCache):
    def __init__(self, spec, mechanism, window, **rest):
        super().__init__(spec, mechanism, window + 1, **rest)


class ForgetsTheFirst(SlidingWindowCache):
    def __init__(self, spec, mechanism, window, *, dilation=1, global_keys=0):
        super().__init__(spec, mechanism, window, dilation=dilation)


class OutOfPhase(SlidingWindowCache):
    """The ring has no whole number of rounds, so after it wraps it looks into the gaps."""

    def __init__(self, spec, mechanism, window, *, dilation=1, global_keys=0):
        super().__init__(spec, mechanism, window, dilation=dilation, global_keys=global_keys)
        self._span -= 1


class WritesOverTheFirst(SlidingWindowCache):
    def _slots_of(self, positions):
        return positions % (self._span + self._global_keys)

    _slot_of = _slots_of


FAULTS = [
    (OverwrittenTooEarly, "window 3"),
    (OneTooMany, "window 3"),
    (ForgetsTheFirst, "sinks 1 2"),
    (ForgetsTheFirst, "longformer 2 1"),
    (OutOfPhase, "dilated 2 3"),
    (WritesOverTheFirst, "sinks 3 1"),
]


@pytest.mark.parametrize(("fault", "band"), FAULTS)
def test_a_ring_that_strays_is_caught_by_a_law(monkeypatch, fault, band):
    monkeypatch.setattr("nhin.attention.band.base.SlidingWindowCache", fault)
    with pytest.raises(AssertionError):
        test_the_law_holds_while_the_ring_wraps("all_at_once_in_chunks_and_step_by_step_are_one", band)
