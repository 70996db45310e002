"""Laws of rotary positions: both conventions, far places, fading, grids."""

import math
from copy import deepcopy

import pytest
import torch
from cases import at_any_length
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

from nhin.attention.position_registry import POSITIONS, build_rotary
from nhin.attention.positions import Rotary, Rotary2d, XPos, permute_heads
from nhin.attention.positions.dynamic_ntk import DynamicNTK
from nhin.attention.positions.interpolation import Interpolation
from nhin.attention.positions.llama3 import Llama3Rotary
from nhin.attention.positions.ntk import NTK
from nhin.attention.positions.rotary import inv_freq
from nhin.attention.positions.rotary_interleaved import rotary_interleaved
from nhin.attention.positions.yarn import YaRN
from nhin.errors import ShapeError, UnknownName, UsageError
from nhin.layers.multihead import MultiHead

ON_HEADS = [name for name, position in POSITIONS.items() if position.where == "heads"]


def turned(x, pairs, angles):
    """Turn pairs of channels by hand: x is L x D, pairs name their channels, angles(place, pair)."""
    out = x.clone()
    for place in range(x.shape[0]):
        for i, (a, b) in enumerate(pairs):
            cos, sin = math.cos(angles(place, i)), math.sin(angles(place, i))
            out[place, a] = x[place, a] * cos - x[place, b] * sin
            out[place, b] = x[place, b] * cos + x[place, a] * sin
    return out


def halves(d):
    return [(i, i + d // 2) for i in range(d // 2)]


def neighbours(d):
    return [(2 * i, 2 * i + 1) for i in range(d // 2)]


def close(out, want):
    assert_close(out, want, atol=2e-6, rtol=2e-6)


@pytest.mark.parametrize(("pairs", "channels"), [("half", halves(6)), ("interleaved", neighbours(6))])
def test_a_convention_turns_its_own_pairs(pairs, channels):
    """By hand, channel by channel: the conventions swapped would turn other channels."""
    x = torch.randn(1, 7, 1, 6, dtype=torch.float64)
    want = turned(x[0, :, 0], channels, lambda m, i: m * 10000 ** (-2 * i / 6))
    close(Rotary(6, pairs=pairs)(x)[0, :, 0], want)


def test_one_step_of_the_slowest_and_the_fastest_pair_in_numbers():
    """At place 1 the fastest pair turns by one radian: cos 1, sin 1 in the right channels."""
    x = torch.tensor([1.0, 0.0, 0.0, 0.0]).expand(1, 2, 1, 4)
    half, near = Rotary(4)(x)[0, 1, 0], rotary_interleaved(4)(x)[0, 1, 0]
    close(half, torch.tensor([math.cos(1), 0.0, math.sin(1), 0.0]))
    close(near, torch.tensor([math.cos(1), math.sin(1), 0.0, 0.0]))


@given(half=st.integers(1, 5), heads=st.integers(1, 3), to=st.sampled_from(["half", "interleaved"]))
def test_the_permutation_makes_the_conventions_agree_and_comes_back(half, heads, to):
    d = 2 * half
    other = "interleaved" if to == "half" else "half"
    q, k = torch.randn(2, 1, 5, heads, d, dtype=torch.float64)
    scores = [
        torch.einsum("bthd,bshd->bhts", rotary(a, start=3), rotary(b, start=3))
        for rotary, a, b in (
            (Rotary(d, pairs=other), q, k),
            (Rotary(d, pairs=to), *(permute_heads(x, d, to=to, axis=-1) for x in (q, k))),
        )
    ]
    assert_close(*scores)
    assert torch.equal(permute_heads(permute_heads(q, d, to=to, axis=-1), d, to=other, axis=-1), q)


def test_a_layer_changes_convention_by_its_rows():
    theirs = MultiHead(24, 3, kv_heads=1, rotary="rotary-interleaved", bias=True).double()
    ours = MultiHead(24, 3, kv_heads=1, rotary=True, bias=True).double()
    ours.load_state_dict(theirs.state_dict())
    x = torch.randn(2, 6, 24, dtype=torch.float64)
    assert (ours(x, causal=True) - theirs(x, causal=True)).abs().max() > 1e-4, "swapped must show"
    with torch.no_grad():
        for name in ("weight", "bias"):
            query, both = getattr(ours.query, name), getattr(ours.key_value, name)
            query.copy_(permute_heads(query, 8, to="half"))
            both[:8] = permute_heads(both[:8], 8, to="half")
    assert_close(ours(x, causal=True), theirs(x, causal=True))


def test_the_permutation_refuses_what_holds_no_whole_heads():
    with pytest.raises(ShapeError, match="head_dim is 5"):
        permute_heads(torch.randn(10), 5, to="half")
    with pytest.raises(ShapeError, match="axis 0 of x has 10 channels"):
        permute_heads(torch.randn(10), 4, to="half")
    with pytest.raises(ShapeError, match="axis is 1"):
        permute_heads(torch.randn(8), 4, to="half", axis=1)
    with pytest.raises(UnknownName, match="did you mean half"):
        permute_heads(torch.randn(8), 4, to="halves")
    with pytest.raises(UnknownName, match="did you mean interleaved"):
        Rotary(4, pairs="interleave")


def test_far_places_are_squeezed_as_the_formulas_say():
    x = torch.randn(1, 9, 1, 8, dtype=torch.float64)
    base, d = 10000.0, 8

    def angle_ntk(m, i):
        return m * (base * 4 ** (d / (d - 2))) ** (-2 * i / d)

    def angle_dynamic(m, i):
        stretch = max(1.0, 2 * (m + 1) / 5 - 1)
        return m * (base * stretch ** (d / (d - 2))) ** (-2 * i / d)

    cases = {
        Interpolation(d, factor=4.0): lambda m, i: m / 4 * base ** (-2 * i / d),
        NTK(d, factor=4.0): angle_ntk,
        DynamicNTK(d, trained=5, factor=2.0): angle_dynamic,
    }
    for rotary, angles in cases.items():
        close(rotary(x)[0, :, 0], turned(x[0, :, 0], halves(d), angles))
    both = Interpolation(d, pairs="interleaved", factor=4.0)
    close(both(x)[0, :, 0], turned(x[0, :, 0], neighbours(d), cases[next(iter(cases))]))


def test_ntk_slows_the_slowest_pair_by_its_factor_and_the_fastest_not():
    places = torch.tensor([1.0], dtype=torch.float64)
    plain, slowed = inv_freq(64, 10000.0), NTK(64, factor=8.0).angles(places)[0]
    assert_close(slowed[0], plain[0])
    assert_close(slowed[-1], plain[-1] / 8)


def test_dynamic_ntk_is_plain_up_to_the_trained_length_and_never_turns_the_slowest_further():
    x = torch.randn(1, 40, 2, 8)
    assert torch.equal(DynamicNTK(8, trained=40)(x), Rotary(8)(x))
    angles = DynamicNTK(8, trained=40).angles(torch.arange(1000, dtype=torch.float64))
    assert (angles[1:] >= angles[:-1] - 1e-12).all(), "hands never turn back"
    assert angles[:, -1].max() <= 40 * inv_freq(8, 10000.0)[-1]


def test_llama3_divides_pairs_by_the_turns_they_make_in_the_trained_length():
    speeds = inv_freq(32, 10000.0)
    turns = 100 * speeds / (2 * torch.pi)
    angles = Llama3Rotary(32, factor=8.0, trained=100, fast=4.0, slow=1.0).angles(torch.ones(1).double())[0]
    assert_close(angles[turns >= 4], speeds[turns >= 4])
    assert_close(angles[turns <= 1], speeds[turns <= 1] / 8)
    between = (turns > 1) & (turns < 4)
    assert between.any()
    assert_close(angles[between], speeds[between] * (1 / 8 + 7 / 8 * (turns[between] - 1) / 3))


def test_yarn_leaves_fast_pairs_squeezes_slow_ones_and_lengthens():
    yarn = YaRN(128, factor=8.0, trained=4096)
    places = torch.tensor([1.0], dtype=torch.float64)
    plain, made = inv_freq(128, 10000.0), yarn.angles(places)[0]
    rounds = 4096 * plain / (2 * math.pi)
    assert_close(made[rounds > 40], plain[rounds > 40])
    assert_close(made[rounds < 0.8], plain[rounds < 0.8] / 8)
    shares = (made / plain - 1 / 8) / (1 - 1 / 8)
    assert (shares.diff() <= 1e-12).all()
    assert ((shares > 0.01) & (shares < 0.99)).sum() > 5, "a ramp lies between"
    x = torch.randn(1, 3, 1, 128)
    gain = 0.1 * math.log(8) + 1
    assert_close(YaRN(128, factor=8.0)(x).norm(dim=-1), gain * x.norm(dim=-1))
    assert_close(YaRN(128, factor=8.0, temperature=1.0)(x).norm(dim=-1), x.norm(dim=-1))


@settings(max_examples=20)
@given(m=st.integers(0, 300), gap=st.integers(0, 200), pairs=st.sampled_from(["half", "interleaved"]))
def test_xpos_scores_are_rotary_scores_faded_by_the_distance(m, gap, pairs):
    d, decay = 6, 100.0
    q, k = torch.randn(2, 1, 1, 1, d, dtype=torch.float64)
    xpos, plain = XPos(d, decay=decay, context=400, pairs=pairs), Rotary(d, pairs=pairs)
    got = (xpos(q, start=m + gap) * xpos(k, start=m, key=True)).sum()
    channels = halves(d) if pairs == "half" else neighbours(d)
    a, b = plain(q, start=m + gap)[0, 0, 0], plain(k, start=m)[0, 0, 0]
    want = sum(
        (a[one] * b[one] + a[two] * b[two]) * ((2 * i / d + 0.4) / 1.4) ** (gap / decay)
        for i, (one, two) in enumerate(channels)
    )
    assert_close(got, want, atol=1e-5, rtol=1e-5)


def test_xpos_does_not_move_with_the_length():
    """A key in a cache stays valid: its channels do not depend on what comes later."""
    x = torch.randn(1, 30, 2, 8)
    xpos = XPos(8, context=16)
    early = xpos(x[:, :10], key=True)
    assert torch.equal(xpos(x, key=True)[:, :10], early)


def test_xpos_refuses_places_where_its_factors_would_overflow():
    xpos = XPos(8, context=512)
    for dtype in (torch.float16, torch.bfloat16, torch.float32):
        reach = xpos.max_offset(dtype)
        x = torch.full((1, 1, 1, 8), 10.0, dtype=dtype)
        for key in (False, True):
            assert xpos(x, start=256 + reach, key=key).isfinite().all()
        with pytest.raises(UsageError, match=f"position {257 + reach} is more than {reach}.*larger decay"):
            xpos(x, start=257 + reach)
    assert xpos(torch.zeros(0, 3, 1, 8), start=()).shape == (0, 3, 1, 8)


def test_a_grid_turns_half_of_the_pairs_with_the_row_and_half_with_the_column():
    d, columns = 8, 3
    x = torch.randn(1, 7, 1, d, dtype=torch.float64)

    def angles(place, i):
        stands = place // columns if i < d // 4 else place % columns
        return stands * 10000 ** (-4 * (i % (d // 4)) / d)

    close(Rotary2d(d, columns=columns)(x)[0, :, 0], turned(x[0, :, 0], halves(d), angles))
    with pytest.raises(ShapeError, match=r"head_dim is 6.*multiple of 4"):
        Rotary2d(6)
    with pytest.raises(ShapeError, match="columns is 0"):
        Rotary2d(8, columns=0)


def test_scores_on_a_grid_see_rows_and_columns_between_only():
    rotary = Rotary2d(8, columns=5)
    q, k = torch.randn(2, 1, 1, 1, 8, dtype=torch.float64)

    def score(row, column, down, along):
        there = (row + down) * 5 + column + along
        return (rotary(q, start=row * 5 + column) * rotary(k, start=there)).sum()

    close(score(0, 1, 2, 1), score(4, 3, 2, 1))
    assert (score(0, 1, 0, 1) - score(0, 1, 1, 0)).abs() > 1e-6


@pytest.mark.parametrize("name", ON_HEADS)
def test_places_may_begin_anywhere_and_per_row_and_tables_outlive_casts(name):
    rotary = POSITIONS[name].make(8, context=4)
    x = torch.randn(2, 9, 3, 8)
    whole = rotary(x)
    close(torch.cat([rotary(x[:, :4]), rotary(x[:, 4:], start=4)], 1), whole)
    rows = rotary(torch.stack([x[0, 5:8], x[1, 2:5]]), start=[5, 2])
    close(rows, torch.stack([whole[0, 5:8], whole[1, 2:5]]))
    cast = deepcopy(rotary).to(torch.bfloat16)
    assert all(table.dtype == torch.float32 for table in cast.buffers())
    assert not rotary.state_dict()
    assert_close(cast(x.bfloat16(), start=3000), rotary(x.bfloat16().float(), start=3000).bfloat16())


@pytest.mark.compiled
@pytest.mark.parametrize("name", ON_HEADS)
def test_turning_compiles_at_any_length(name):
    rotary = POSITIONS[name].make(8)
    compiled = at_any_length(rotary)
    for length in (5, 7):
        x = torch.randn(2, length, 3, 8)
        close(compiled(x), rotary(x))


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Interpolation(8, factor=0.5), "factor is 0.5; give at least 1"),
        (lambda: NTK(8, factor=0.0), "factor is 0.0; give at least 1"),
        (lambda: DynamicNTK(8, trained=0), "trained is 0"),
        (lambda: YaRN(8, fast=1.0, slow=2.0), "fast is 1.0 and slow is 2.0; give more turns"),
        (lambda: Llama3Rotary(8, fast=1.0, slow=2.0), "fast is 1.0 and slow is 2.0; give more turns"),
        (lambda: YaRN(8, temperature=0.0), "temperature is 0.0; give more than 0"),
        (lambda: XPos(8, decay=-1.0), "decay is -1.0"),
        (lambda: Rotary(8, base=0.0), "base is 0.0"),
        (lambda: build_rotary("learned", 8), "added to the inputs"),
        (lambda: build_rotary("alibi", 8), "mechanism='alibi'"),
    ],
)
def test_settings_that_make_no_sense_are_refused(make, words):
    with pytest.raises(UsageError, match=words):
        make()


def test_a_position_comes_by_name_with_its_settings():
    x = torch.randn(1, 5, 1, 8)
    close(build_rotary({"name": "interpolation", "factor": 2.0}, 8)(x), Interpolation(8, factor=2.0)(x))
    close(build_rotary({"base": 500.0}, 8)(x), Rotary(8, base=500.0)(x))
    assert build_rotary(False, 8) is None
    with pytest.raises(UnknownName, match="no position named 'yran'; did you mean yarn"):
        build_rotary("yran", 8)
    with pytest.raises(UnknownName, match="no setting of yarn named 'factors'; did you mean factor"):
        build_rotary({"name": "yarn", "factors": 2.0}, 8)


@pytest.mark.parametrize("name", [name for name in ON_HEADS if name not in ("rotary-2d", "xpos")])
@given(
    start=st.integers(0, 40), heads=st.integers(1, 4), dtype=st.sampled_from([torch.float32, torch.bfloat16])
)
@settings(max_examples=10, deadline=None)
def test_one_place_turns_bit_for_bit_as_many_do(name, start, heads, dtype):
    """Reading with a cache and without must give one text."""
    rotary = POSITIONS[name].make(8)
    q, k = torch.randn(2, 1, 2 * heads, 8, dtype=dtype), torch.randn(2, 1, heads, 8, dtype=dtype)
    for got, alone in zip(rotary.rotate_qk(q, k, start=start), (q, k), strict=True):
        assert got.dtype == dtype
        assert_close(got, rotary(alone, start=start), atol=0, rtol=0)
