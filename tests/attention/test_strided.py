"""The strided pattern and its two halves are the sets the paper defines, and two layers join all places."""

from dataclasses import dataclass

import pytest
import torch

from nhin.attention.masks import dense_mask
from nhin.attention.registry import build
from nhin.attention.sparse.layouts import Columns, LocalBand, StridedMask

LENGTHS = [(t, s) for t in (1, 2, 5, 9, 14) for s in (0, 1, 4, 9, 14)]


def rows(pattern, t, s, causal):
    return [set(row.nonzero()[:, 0].tolist()) for row in dense_mask(pattern, t, s, causal=causal)]


def band(i, keys, stride, causal):
    """As the paper has it: from max(0, i - l) to i; place i - l itself belongs to the column."""
    return {j for j in range(keys) if (0 <= i - j < stride if causal else abs(i - j) < stride)}


def column(i, keys, stride, causal):
    return {j for j in range(keys) if (i - j) % stride == 0 and (j <= i or not causal)}


def agrees(pattern, *parts):
    return all(
        rows(pattern, t, s, causal)
        == [set().union(*(part(s - t + x, s, 3, causal) for part in parts)) for x in range(t)]
        for t, s in LENGTHS
        for causal in (False, True)
    )


@pytest.mark.parametrize(
    ("pattern", "parts"),
    [(StridedMask(3), (band, column)), (LocalBand(3), (band,)), (Columns(3), (column,))],
    ids=["strided", "band", "column"],
)
def test_each_place_sees_the_sets_of_the_paper(pattern, parts):
    assert agrees(pattern, *parts)


def test_the_union_is_that_of_the_paper_whose_band_is_one_place_wider():
    for i in range(14):
        wider = {j for j in range(14) if 0 <= i - j <= 3}
        assert wider | column(i, 14, 3, True) == rows(StridedMask(3), 14, 14, True)[i]


@dataclass(frozen=True)
class PhaseOff(Columns):
    def mask(self, p, s, size):
        return (p - s - 1) % self.stride == 0


@dataclass(frozen=True)
class Wider(LocalBand):
    def mask(self, p, s, size):
        return (p - s).abs() <= self.width


@dataclass(frozen=True)
class CountedFromTheFirst(Columns):
    """Every stride-th key of all, not counted from one's own place."""

    def mask(self, p, s, size):
        return (s % self.stride == 0) & (p == p)


@pytest.mark.parametrize(
    ("fault", "part"),
    [(PhaseOff(3), column), (Wider(3), band), (CountedFromTheFirst(3), column)],
    ids=["phase off", "wider", "counted from the first"],
)
def test_a_phase_or_a_width_off_by_one_is_caught(fault, part):
    assert not agrees(fault, part)


def test_layers_take_turns_and_only_their_number_decides():
    patterns = [build("interleaved", stride=4, layer=layer).pattern for layer in range(4)]
    assert patterns == [LocalBand(4), Columns(4), LocalBand(4), Columns(4)]


@pytest.mark.parametrize("name", ["strided", "interleaved"])
def test_two_layers_join_any_place_with_all_before_it(name):
    places = 30
    first, second = (
        dense_mask(build(name, **settings).pattern, places, places, causal=True).double()
        for settings in (
            ({"stride": 5, "layer": 0}, {"stride": 5, "layer": 1})
            if name == "interleaved"
            else ({"stride": 5},) * 2
        )
    )
    assert torch.equal((second @ first) > 0, torch.ones(places, places).tril().bool())


def test_what_a_place_sees_grows_like_the_root_of_the_length():
    for root in (8, 16, 32):
        assert dense_mask(StridedMask(root), 1, root * root).sum() <= 2 * root
