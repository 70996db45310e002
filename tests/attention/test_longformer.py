"""Leaders hear everybody and are heard by everybody, by every road; causally they are sinks."""

import pytest
import torch
from cases import same
from torch.testing import assert_close

from nhin.attention.band import base, chunked
from nhin.attention.band.longformer import Longformer
from nhin.attention.band.sinks import Sinks
from nhin.attention.band.window import SlidingWindow
from nhin.attention.exact.naive import Naive
from nhin.attention.masks import dense_mask
from nhin.errors import ShapeError


@pytest.fixture(params=["strips", "folds"], autouse=True)
def road(request, monkeypatch):
    monkeypatch.setattr(chunked, "CHUNK", 4)
    if request.param == "folds":
        monkeypatch.setattr(base, "all_finite", lambda k, v: False)


def draw(t, s):
    torch.manual_seed(t + s)
    q = torch.randn(2, t, 4, 5, dtype=torch.float64, requires_grad=True)
    k, v = (torch.randn(2, s, 2, 5, dtype=torch.float64, requires_grad=True) for _ in range(2))
    return q, k, v


@pytest.mark.parametrize("leaders", [1, 2, 5, 40])
def test_leaders_answer_as_if_there_were_no_window(leaders):
    q, k, v = draw(19, 19)
    out, want = Longformer(2, leaders)(q, k, v)[:, :leaders], Naive()(q, k, v)[:, :leaders]
    same(out, want, (q, k, v))


@pytest.mark.parametrize("leaders", [1, 3])
def test_what_a_leader_says_reaches_everybody(leaders):
    q, k, v = draw(19, 19)
    loud = v.detach().clone()
    loud[:, :leaders] += 1
    changed = (Longformer(2, leaders)(q, k, loud) - Longformer(2, leaders)(q, k, v)).abs().amin((0, 2, 3))
    assert (changed > 0).all()
    quiet = v.detach().clone()
    quiet[:, leaders] += 1
    changed = (Longformer(2, leaders)(q, k, quiet) - Longformer(2, leaders)(q, k, v)).abs().amax((0, 2, 3))
    assert (changed[leaders + 2 :] == 0).all()


@pytest.mark.parametrize(("t", "s"), [(19, 19), (5, 19), (19, 5), (1, 19), (19, 17)])
def test_places_are_counted_from_the_end_so_leaders_are_keys_not_rows(t, s):
    """With more keys than queries the leading places may have no query at all."""
    q, k, v = draw(t, s)
    out = Longformer(2, 3)(q, k, v)
    plain, band = Naive()(q, k, v), Sinks(2, 3)(q, k, v)
    for i in range(t):
        led = 0 <= s - t + i < 3
        assert_close(out[:, i], (plain if led else band)[:, i])


def test_causally_leaders_are_sinks_and_without_leaders_there_is_a_window():
    q, k, v = draw(19, 19)
    same(Longformer(3, 2)(q, k, v, causal=True), Sinks(3, 2)(q, k, v, causal=True), (q, k, v))
    same(Longformer(3, 0)(q, k, v), SlidingWindow(3)(q, k, v), (q, k, v))


def test_the_drawn_mask_is_a_cross_and_a_band():
    seen = dense_mask(Longformer(1, 2).band.pattern, 6, 6)
    want = torch.eye(6, dtype=torch.bool)
    want[:2] = True
    want[:, :2] = True
    assert torch.equal(seen, want)


def test_a_broken_key_out_of_sight_shows_in_the_leaders_alone():
    q, k, v = (x.detach() for x in draw(19, 19))
    v[:, 10] = float("nan")
    broken = Longformer(2, 2)(q, k, v).isnan().all(-1).all(-1).all(0)
    assert broken.nonzero()[:, 0].tolist() == [0, 1, 9, 10, 11]


@pytest.mark.parametrize(
    ("settings", "wrong"),
    [((0, 1), "window is 0; give at least 1"), ((4, -1), "global_tokens is -1; give at least 0")],
)
def test_sizes_that_mean_nothing_are_refused(settings, wrong):
    with pytest.raises(ShapeError, match=wrong):
        Longformer(*settings)
