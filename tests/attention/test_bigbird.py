"""BigBird's lots are drawn alike wherever they are drawn, and its other blocks are those of the paper."""

from dataclasses import dataclass, replace

import laws  # noqa: F401  # enters the laws of answers into the table
import pytest
import state_laws  # noqa: F401  # and those of states
import torch
from cases import LAWS, Sizes, at_any_length
from torch.testing import assert_close

from nhin.attention import tiled_softmax
from nhin.attention.masks import dense_mask
from nhin.attention.sparse.bigbird import BigBird
from nhin.attention.sparse.layouts import BigBirdBlocks, pair_hash
from nhin.attention.tiles import TileBuilder

CASES = [Sizes(t=9, s=9), Sizes(t=4, s=9, group_size=1), Sizes(t=9, s=4)]
TWIN = "the_answer_is_the_values_mixed_with_the_weights_shown"
LENGTHS = [(t, s) for t in (1, 4, 9, 17) for s in (0, 1, 6, 9, 17)]
LOTS = [
    [0, 3594143298182184961, 3780685225474916354],
    [2609402566026461184, 2878940827894153217, 601380642181087234],
    [1894078488034410496, 910052122756644865, 947820675735748610],
]
SETTINGS = [
    BigBirdBlocks(2, 1, 1, 1),
    BigBirdBlocks(2, 2, 1, 2, 7),
    BigBirdBlocks(1, 1, 0, 3),
    BigBirdBlocks(3, 1, 2, 1),
]


def blocks(pattern, i, count):
    """Return the blocks of keys, of ``count``, that queries in block i see, from the paper's definition."""
    near = {j for j in range(count) if abs(i - j) < pattern.window}
    first = {j for j in range(count) if j < pattern.globals}
    everybody = set(range(count)) if 0 <= i < pattern.globals else set()
    free = sorted(
        set(range(count)) - near - first - everybody,
        key=lambda j: int(pair_hash(pattern.seed, torch.tensor([[i]]), torch.tensor([j]))),
    )
    return near | first | everybody | set(free[: pattern.random])


def by_hand(pattern, t, s, causal):
    rows, b = [], pattern.block
    for p in range(s - t, s):
        seen = blocks(pattern, p // b, (p if causal else s - 1) // b + 1)
        rows.append({key for key in range(s) if key // b in seen and (key <= p or not causal)})
    return rows


def rows(pattern, t, s, causal):
    return [set(row.nonzero()[:, 0].tolist()) for row in dense_mask(pattern, t, s, causal=causal)]


def agrees(pattern, right):
    return all(
        rows(pattern, t, s, causal) == by_hand(right, t, s, causal)
        for t, s in LENGTHS
        for causal in (False, True)
    )


@pytest.mark.parametrize("pattern", SETTINGS, ids=str)
def test_each_place_sees_the_window_the_first_blocks_and_the_lots(pattern):
    assert agrees(pattern, pattern)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_as_many_lots_are_drawn_as_asked_for_while_there_are_enough(count):
    with_lots, without = (BigBirdBlocks(1, 1, 1, random) for random in (count, 0))
    more = dense_mask(with_lots, 20, 20, causal=True).sum(1) - dense_mask(without, 20, 20, causal=True).sum(1)
    assert more.tolist() == [min(count, max(0, place - 1)) for place in range(20)]


def test_more_lots_than_there_are_blocks_take_them_all_and_no_memory_of_their_own():
    """A recipe may say any number: 2**40 of eight bytes each could not be allocated."""
    for causal in (False, True):
        assert torch.equal(
            dense_mask(BigBirdBlocks(1, 1, 1, 2**40), 20, 20, causal=causal),
            dense_mask(BigBirdBlocks(1, 1, 1, 20), 20, 20, causal=causal),
        )


def test_the_lots_stay_what_they_are():
    """A model trained with them must find them again: other numbers here would be another model."""
    got = pair_hash(0, torch.arange(3)[:, None], torch.arange(3))
    assert got.dtype == torch.int64
    assert got.tolist() == LOTS


def test_lots_look_random_and_none_are_alike_in_a_row():
    numbers = pair_hash(3, torch.arange(64)[:, None], torch.arange(64))
    assert all(len(set(row)) == 64 for row in numbers.tolist())
    assert (numbers >= 0).all()
    taken = dense_mask(BigBirdBlocks(1, 1, 0, 4), 64, 64).float() - torch.eye(64)
    # 4 of 63 for each: 64 in all expected per diagonal band, and no key is much favoured.
    assert taken.sum(1).eq(4).all()
    assert taken.sum(0).max() <= 14
    assert (taken * taken.T).sum() < 64


def test_another_seed_draws_other_lots_and_the_same_seed_the_same():
    one, same, other = (dense_mask(BigBirdBlocks(1, 1, 0, 2, seed), 30, 30) for seed in (4, 4, 1 << 70))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


def test_no_generator_is_asked():
    q, k, v = (torch.randn(1, 12, 1, 4) for _ in range(3))
    mechanism = BigBird(2, 1, 1, 2)
    before = torch.get_rng_state()
    first = mechanism(q, k, v, causal=True)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(99)
    assert_close(mechanism(q, k, v, causal=True), first)


def test_lots_of_a_query_do_not_change_when_more_is_read():
    pattern = BigBirdBlocks(2, 1, 1, 2)
    long = dense_mask(pattern, 30, 30, causal=True)
    for length in (1, 7, 16, 23):
        assert torch.equal(dense_mask(pattern, length, length, causal=True), long[:length, :length])


def test_a_long_table_of_blocks_is_cut_into_rows_and_stays_the_same():
    pattern = BigBirdBlocks(1, 1, 1, 2)
    keys = {t: set() for t in range(150)}
    for piece in pattern.tiles(TileBuilder(150, 150, True)):
        for t in piece.rows:
            keys[t] |= {s for run in piece.keys for s in run if s <= t}
    assert list(keys.values()) == rows(pattern, 150, 150, True)


@dataclass(frozen=True)
class ForgetsGlobals(BigBirdBlocks):
    def block_mask(self, i, j, count):
        return replace(BigBirdBlocks(*vars(self).values()), globals=0).block_mask(i, j, count)


@dataclass(frozen=True)
class ForgetsThatTheFirstSeeAll(BigBirdBlocks):
    def block_mask(self, i, j, count):
        return super().block_mask(i.masked_fill(i < self.globals, -1), j, count) | (
            (i - j).abs() < self.window
        )


@dataclass(frozen=True)
class DrawsWhatIsSeenAnyway(BigBirdBlocks):
    def random_blocks(self, i, j, free):
        return super().random_blocks(i, j, (j < 1 << 20) & (i == i))


@dataclass(frozen=True)
class DrawsFromTheFuture(BigBirdBlocks):
    """Draws among all blocks, also those a causal query does not have."""

    def block_mask(self, i, j, count):
        return super().block_mask(i, j, count.clamp_min(j.numel()))


@pytest.mark.parametrize(
    "fault", [ForgetsGlobals, ForgetsThatTheFirstSeeAll, DrawsWhatIsSeenAnyway, DrawsFromTheFuture]
)
def test_a_fault_in_the_pattern_is_not_what_the_paper_says(fault):
    assert not agrees(fault(2, 1, 1, 2), BigBirdBlocks(2, 1, 1, 2))


class Reseeded(BigBird):
    """Draws anew at every call."""

    calls = 0

    def _attend(self, q, k, v, causal, keep):
        self.calls += 1
        self.pattern = BigBirdBlocks(1, 1, 0, 1, self.calls)
        return super()._attend(q, k, v, causal, keep)


def broken(law, make):
    count = 0
    for n in CASES:
        try:
            LAWS[law].holds(lambda n, dtype=torch.float64: make().to(dtype), n)
        except AssertionError:
            count += 1
    return count


@pytest.mark.parametrize(
    "law", ["any_length_may_follow_any_other", "all_at_once_in_chunks_and_step_by_step_are_one"]
)
def test_lots_drawn_anew_at_each_call_are_caught(law):
    assert broken(law, Reseeded)
    assert not broken(law, lambda: BigBird(1, 1, 0, 1))


def test_other_lots_in_the_backward_pass_are_caught(monkeypatch):
    right = tiled_softmax.backward

    def reseeded(grad, inputs, out, log, source, **wanted):
        other = replace(source, pattern=BigBirdBlocks(1, 1, 0, 1, 9))
        return right(grad, inputs, out, log, other, **wanted)

    assert not broken(TWIN, lambda: BigBird(1, 1, 0, 1))
    monkeypatch.setattr(tiled_softmax, "backward", reseeded)
    assert broken(TWIN, lambda: BigBird(1, 1, 0, 1))


@pytest.mark.compiled
def test_a_compiler_draws_the_same_lots():
    mechanism = BigBird(2, 1, 1, 1)
    compiled = at_any_length(mechanism)
    for length in (9, 14):
        q, k, v = (torch.randn(1, length, 2, 4) for _ in range(3))
        for causal in (False, True):
            assert_close(compiled(q, k, v, causal=causal), mechanism(q, k, v, causal=causal))
