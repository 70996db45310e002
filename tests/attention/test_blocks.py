"""Sparse patterns show what their papers say, and hand out pieces that compare each such pair just once."""

from collections import Counter
from dataclasses import dataclass

import pytest
import torch

from nhin.attention import tiles as cutting
from nhin.attention.masks import dense_mask
from nhin.attention.sliced_tiles import mask_parts
from nhin.attention.sparse.layouts import (
    BigBirdBlocks,
    BlockDiagonal,
    BlockLayout,
    Columns,
    FixedMask,
    LocalBand,
    PowerOfTwoBlocks,
    StridedMask,
)
from nhin.attention.tiles import TileBuilder, TiledPattern

LAYOUT = ((True, False, False), (True, True, False), (False, True, True))
PATTERNS = [
    *(LocalBand(width) for width in (1, 4)),
    *(Columns(stride) for stride in (1, 3)),
    *(StridedMask(stride) for stride in (1, 2, 4)),
    *(FixedMask(*sizes) for sizes in ((3, 1), (2, 2), (4, 0), (1, 1))),
    *(BlockDiagonal(block) for block in (1, 3)),
    *(BlockLayout(2, layout) for layout in (LAYOUT, ((True, False, True),))),
    *(PowerOfTwoBlocks(block) for block in (1, 2)),
    *(BigBirdBlocks(*sizes) for sizes in ((2, 1, 1, 1), (1, 2, 1, 2), (1, 1, 0, 2), (3, 1, 2, 0))),
]
patterns = pytest.mark.parametrize("pattern", PATTERNS, ids=str)


def compared(pattern, queries, keys, causal):
    """Count how often the pieces of a pattern compare each query with each key, what they mask left out."""
    counts, met, known, cut = Counter(), set(), {}, TileBuilder(queries, keys, causal)
    for piece in pattern.tiles(cut):
        columns = [key for run in piece.keys for key in run]
        open_ = torch.ones(len(piece.rows), len(columns), dtype=torch.bool)
        for part, hidden in mask_parts(piece, cut, torch.device("cpu"), known):
            open_[:, part] &= ~hidden
        counts.update((piece.rows[r], columns[c]) for r, c in open_.nonzero().tolist())
        assert piece.is_continuation or met.isdisjoint(piece.rows), "a row that was answered is begun anew"
        met.update(piece.rows)
    return counts


def shown(pattern, queries, keys, causal):
    return dict.fromkeys(map(tuple, dense_mask(pattern, queries, keys, causal=causal).nonzero().tolist()), 1)


def by_hand(rule, queries, keys, causal):
    """Return the pairs of query and key for which ``rule(place, key, blocks or places there are)`` holds."""
    return {
        (t, s): 1
        for t in range(queries)
        for s in range(keys)
        for p in [keys - queries + t]
        if rule(p, s, p + 1 if causal else keys) and (s <= p or not causal)
    }


RULES = {
    FixedMask(3, 1): lambda p, s, n: p // 3 == s // 3 or s % 3 == 2,
    FixedMask(4, 2): lambda p, s, n: p // 4 == s // 4 or s % 4 in (2, 3),
    BlockDiagonal(3): lambda p, s, n: s in range(p // 3 * 3, p // 3 * 3 + 3),
    BlockLayout(2, LAYOUT): lambda p, s, n: LAYOUT[p // 2 % 3][s // 2 % 3],
    PowerOfTwoBlocks(2): lambda p, s, n: abs(p // 2 - s // 2) in (0, 1, 2, 4, 8, 16),
}
LENGTHS = [(t, s) for t in (0, 1, 2, 5, 8, 13) for s in (0, 1, 3, 7, 8, 13)]


def agrees(pattern, rule, lengths=LENGTHS):
    return all(
        shown(pattern, *length, causal) == by_hand(rule, *length, causal)
        for length in lengths
        for causal in (False, True)
    )


@pytest.mark.parametrize("pattern", RULES, ids=str)
def test_a_pattern_shows_what_its_source_says(pattern):
    assert agrees(pattern, RULES[pattern])


@dataclass(frozen=True)
class SummaryTooEarly(FixedMask):
    def mask(self, p, s, size):
        return super().mask(p, s + 1, size)


@dataclass(frozen=True)
class EdgeTooLate(BlockDiagonal):
    def block_mask(self, i, j, count):
        return i == j

    def mask(self, p, s, size):
        return super().mask(p - 1, s, size)


@pytest.mark.parametrize("fault", [SummaryTooEarly(3, 1), EdgeTooLate(3)], ids=str)
def test_a_pattern_off_by_one_is_not_what_its_source_says(fault):
    (right,) = (p for p in RULES if isinstance(fault, type(p)) and vars(p) == vars(fault))
    assert not agrees(fault, RULES[right])


@pytest.mark.parametrize("size", [(128, 1024), (2, 3)], ids=str)
@patterns
def test_pieces_compare_each_pair_that_is_shown_once_and_no_other(pattern, size, monkeypatch):
    monkeypatch.setattr(cutting, "MAX_TILE_ROWS", size[0])
    monkeypatch.setattr(cutting, "MAX_TILE_KEYS", size[1])
    assert isinstance(pattern, TiledPattern)
    for length in LENGTHS:
        for causal in (False, True):
            assert compared(pattern, *length, causal) == shown(pattern, *length, causal)


@patterns
def test_a_causal_row_is_what_one_query_sees_of_its_prefix(pattern):
    whole = dense_mask(pattern, 13, 13, causal=True)
    for place in range(13):
        assert torch.equal(whole[place, : place + 1], dense_mask(pattern, 1, place + 1)[0])
        assert torch.equal(dense_mask(pattern, 4, 13, causal=True), whole[-4:])
