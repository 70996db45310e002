"""Every mechanism refuses what does not fit, in words that name the argument, the value and the way out.

These run in the pass without shape checks, which would see the misfit before the mechanism does.
"""

import inspect

import pytest
import torch

from nhin.attention.base import CacheSpec
from nhin.attention.registry import MECHANISMS, build
from nhin.errors import NhinError, ShapeError, UnknownName, UsageError

HEADS, WIDTH = 4, 6
each = pytest.mark.parametrize("name", MECHANISMS)
pytestmark = pytest.mark.compiled


def zeros(*shape, **kind):
    return torch.zeros(*shape, **kind)


def inputs():
    return {name: zeros(2, 5, HEADS, WIDTH) for name in "qkv"}


MISFITS = {
    "three axes": ({"q": zeros(2, 5, 24)}, r"q has shape \(2, 5, 24\); give it the four axes"),
    "values": ({"v": zeros(2, 6, HEADS, WIDTH)}, r"v is \(2, 6, 4, 6\); give every key one value"),
    "batch": ({"q": zeros(3, 5, HEADS, WIDTH)}, "batch is 3 in q and 2 in k; repeat"),
    "width": ({"q": zeros(2, 5, HEADS, 8)}, "head_dim is 8 in q and 6 in k; project"),
    "groups": (
        {"k": zeros(2, 5, 3, WIDTH), "v": zeros(2, 5, 3, WIDTH)},
        "q has 4 heads and k has 3; make kv_heads divide",
    ),
    "dtype": ({"q": zeros(2, 5, HEADS, WIDTH).double()}, "k is torch.float32 and q is torch.float64; cast"),
    "device": (
        {"q": zeros(2, 5, HEADS, WIDTH, device="meta")},
        "k is on cpu and q on meta; move them together",
    ),
}


@each
@pytest.mark.parametrize("misfit", MISFITS)
def test_a_misfit_is_refused(name, misfit):
    change, words = MISFITS[misfit]
    mechanism = build(name, heads=HEADS, head_dim=WIDTH)
    given = inputs() | change
    with pytest.raises(ShapeError, match=words):
        mechanism(**given)
    with pytest.raises(ShapeError, match=words):
        mechanism.explain(**given)


@each
def test_keep_of_another_shape_or_kind_is_refused(name):
    mechanism = build(name, heads=HEADS, head_dim=WIDTH)
    for keep, words in (
        (torch.ones(2, 4, dtype=torch.bool), r"keep has shape \(2, 4\).*\(2, 5\)"),
        (torch.ones(2, 5, 5, dtype=torch.bool), "nothing per query"),
        (torch.ones(2, 5), r"keep is torch.float32; give booleans.*keep > 0"),
    ):
        with pytest.raises(ShapeError, match=words):
            mechanism(**inputs(), keep=keep)
        with pytest.raises(ShapeError, match=words):
            mechanism.weights(zeros(2, 5, HEADS, WIDTH), zeros(2, 5, HEADS, WIDTH), keep=keep)


@each
def test_other_sizes_than_it_was_built_for_work_or_are_refused_by_name(name):
    """A mechanism with parameters of its own for each head must say so; the others take any sizes."""
    mechanism = build(name, heads=HEADS, head_dim=WIDTH)
    for heads, width in ((2, WIDTH), (HEADS, 3)):
        try:
            assert mechanism(*(zeros(2, 5, heads, width) for _ in range(3))).shape == (2, 5, heads, width)
        except ShapeError as why:
            assert any(words in str(why) for words in ("heads is 2", "head_dim is 3")), why
            assert "build it with" in str(why)


@each
def test_an_unknown_setting_names_those_there_are(name):
    with pytest.raises(UnknownName, match=f"no setting of {name} named 'flavour'"):
        build(name, heads=HEADS, head_dim=WIDTH, flavour=3)


@each
def test_no_setting_may_be_zero_or_negative_unless_that_means_something(name):
    """Whole-number settings: what is refused is refused by name, what is taken gives finite answers."""
    settings = inspect.signature(MECHANISMS[name]).parameters
    for setting, parameter in settings.items():
        if type(parameter.default) is not int:
            continue
        for value in (0, -1):
            try:
                mechanism = build(name, heads=HEADS, head_dim=WIDTH, **{setting: value})
            except NhinError as why:
                assert setting in str(why), f"{setting}={value}: {why}"
                assert str(value) in str(why)
            else:
                assert mechanism(**inputs()).isfinite().all(), f"{setting}={value} is taken"


@pytest.mark.parametrize("name", [n for n, kind in MECHANISMS.items() if "decode" in kind.facts.abilities])
def test_a_full_or_impossible_state_is_refused(name):
    mechanism = build(name, heads=HEADS, head_dim=WIDTH)
    with pytest.raises(ShapeError, match="context is -1"):
        mechanism.init_cache(CacheSpec(2, -1, HEADS, WIDTH))
    state = mechanism.init_cache(CacheSpec(2, 3, HEADS, WIDTH))
    x = zeros(2, 4, HEADS, WIDTH)
    with pytest.raises(ShapeError, match="full: 0 of 3 positions taken, 4 more came; build it with a larger"):
        state.prefill(x, x, x)
    with pytest.raises(ShapeError, match=r"k has shape \(2, 1, 2, 6\); this cache takes \(2, 1, 4, 6\)"):
        state.step(x[:, :1], x[:, :1, :2], x[:, :1, :2])
    with pytest.raises((ShapeError, UsageError), match=r"truncate(d)?"):
        state.truncate(2)
    assert state.lengths == (0, 0)
